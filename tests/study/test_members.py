from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.base.errors import UsageError
from cuvee.plan.problem import Problem
from cuvee.proxies.memory import members
from cuvee.shards.corpus import Corpus
from cuvee.study.editing import config_of
from cuvee.study.members import even, settled
from cuvee.study.store import Store
from cuvee.study.study import Study
from tests.study.fakes import Grid, Inline, problem

METHOD = Grid(per_round=11, rounds=1)
"""Twelve runs in each of two blocks."""


def on_gpu(corpus: Corpus) -> Problem:
    question = problem(corpus)
    return replace(question, proxy=replace(question.proxy, device="cuda", together="auto"))


def room(corpus: Corpus, count: int) -> int:
    """Free bytes for so many members and no more."""
    proxy, free = on_gpu(corpus).proxy, 10**6
    while True:
        try:
            if members(proxy.shape, corpus.vocab_size, 256, "fp32", free) >= count:
                return free
        except UsageError:
            pass
        free += 10**6


@pytest.mark.parametrize(("fit", "together"), [(1, 1), (5, 4), (6, 6), (11, 6), (100, 12)])
def test_as_many_as_fit_and_no_more_copies_than_need_be(fit: int, together: int, corpus: Corpus, folder: Path) -> None:
    free = room(corpus, fit)
    found = settled(Store(folder), on_gpu(corpus), corpus, METHOD, lambda: free)
    assert found.proxy.together == together
    assert found.plan(found.natural, 0).together == together


@given(st.integers(1, 500), st.integers(1, 500))
def test_even_batches(runs: int, fit: int) -> None:
    together = even(runs, fit)
    batches = -(-runs // together)
    assert 1 <= together <= fit
    assert batches == -(-runs // fit)
    assert together * batches - runs < batches


def test_too_little_memory_is_said(corpus: Corpus, folder: Path) -> None:
    with pytest.raises(UsageError, match=r"size 0\.1M with"):
        settled(Store(folder), on_gpu(corpus), corpus, METHOD, lambda: 1000)


def test_a_study_keeps_the_k_that_it_began_with(corpus: Corpus, folder: Path) -> None:
    store, question = Store(folder), on_gpu(corpus)
    began = settled(store, question, corpus, METHOD, lambda: room(corpus, 6))
    store.create(config_of(store, began, corpus, METHOD))
    assert store.config().problem.proxy.together == 6
    assert settled(store, question, corpus, METHOD, lambda: room(corpus, 3)) == began
    longer = replace(question, proxy=replace(question.proxy, eval_points=2))
    assert settled(store, longer, corpus, METHOD, lambda: room(corpus, 3)).proxy.together == 3, "other runs"


def test_on_a_cpu_it_is_one_unless_the_study_has_another(corpus: Corpus, tmp_path: Path) -> None:
    question = problem(corpus)
    auto, three = (replace(question, proxy=replace(question.proxy, together=k)) for k in ("auto", 3))
    study = Study.open(tmp_path / "one", auto, corpus, Grid())
    assert study.problem.proxy.together == 1
    study.run(runner=Inline())
    assert Study.open(tmp_path / "one", question, corpus, Grid()).trials() == study.trials()
    study = Study.open(tmp_path / "three", three, corpus, Grid())
    study.run(runner=Inline())
    again = Study.open(tmp_path / "three", auto, corpus, Grid())
    again.run(runner=Inline())
    assert again.trials() == study.trials()
    assert {trial.plan.together for trial in again.trials()} == {3}
    assert again.history() == ()


def test_before_a_study_it_is_no_number(corpus: Corpus) -> None:
    question = on_gpu(corpus)
    with pytest.raises(UsageError, match="auto is no number yet"):
        question.plan(question.natural, 0)
    with pytest.raises(UsageError, match="together >= 1 or auto"):
        replace(question.proxy, together=0)
