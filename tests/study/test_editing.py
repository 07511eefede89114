from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest

from cuvee.plan.problem import Guard, Limit, Problem, Target
from cuvee.shards.corpus import Corpus
from cuvee.study.editing import EVIDENCE, Changes, changes
from cuvee.study.layout import Config, CorpusRef, MethodRef
from tests.study.fakes import Grid, problem


@pytest.fixture
def config(corpus: Corpus) -> Config:
    return Config(problem(corpus), MethodRef.of(Grid()), CorpusRef(corpus.fingerprint, "../corpus", 256), 1)


def test_where_things_lie_is_no_change(config: Config) -> None:
    moved = replace(config, corpus=replace(config.corpus, path="../../elsewhere"))
    assert changes(config, moved) == Changes((), ())


def test_equal_numbers_are_no_change(config: Config) -> None:
    assert changes(config, replace(config, problem=replace(config.problem, max_epochs=4.0))) == Changes((), ())


def test_every_key_is_of_the_question_or_of_the_evidence(config: Config) -> None:
    question = config.problem
    new = [
        replace(question, limits=(Limit("a", max_share=0.9),)),
        replace(question, max_epochs=3),
        replace(question, target_tokens=39_000),
        replace(question, proxy=replace(question.proxy, batch=8)),
        replace(question, seed=7),
    ]
    found = [changes(config, replace(config, problem=p)) for p in new]
    assert found == [
        Changes(("limits",), ()),
        Changes(("max_epochs",), ()),
        Changes((), ("target_tokens",)),
        Changes((), ("proxy",)),
        Changes((), ("seed",)),
    ]
    assert set(EVIDENCE) <= {f.name for f in dataclasses.fields(Problem)}


def test_methods_corpora_and_recipes(config: Config) -> None:
    assert changes(config, replace(config, method=MethodRef.of(Grid(rounds=3)))) == Changes(("method",), ())
    other = replace(config.corpus, fingerprint="0")
    assert changes(config, replace(config, corpus=other, recipe=2)) == Changes((), ("corpus", "recipe"))


def test_targets_that_an_outside_trainer_was_not_asked_for_are_evidence(config: Config) -> None:
    outside = replace(config.problem, trainer="outside")
    more = replace(outside, objective=(*outside.objective, Target("b")))
    guarded = replace(outside, guards=(Guard("rest", (Target("b"),), 0.01),))
    fewer = replace(outside, objective=outside.objective[:1])

    def found(old: Problem, new: Problem) -> Changes:
        return changes(replace(config, problem=old), replace(config, problem=new))

    assert found(outside, more) == Changes((), ("objective",))
    assert found(outside, guarded) == Changes((), ("guards",))
    assert found(outside, fewer) == found(more, outside) == Changes(("objective",), ())
    proxies = replace(more, trainer="proxies")
    assert found(config.problem, proxies) == Changes(("objective",), ())
