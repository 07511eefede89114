from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cuvee.base.errors import DataError, UsageError
from cuvee.methods.past import CLEARLY
from cuvee.methods.regression import Regression
from cuvee.mixture.edits import Add, Edit, Remove, Rename, Revise
from cuvee.plan.problem import Problem, Target
from cuvee.plan.trial import Measure
from cuvee.predict.table import Table
from cuvee.shards.corpus import Corpus
from cuvee.study.past import past_of
from cuvee.study.study import Study
from cuvee.testing.corpora import synthetic
from tests.study.fakes import Inline, problem

pytestmark = pytest.mark.slow

METHOD = Regression(runs=16, blocks=4, rounds=1)


@pytest.fixture(scope="module")
def old(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of the domains a, b, c that has searched."""
    folder = tmp_path_factory.mktemp("past") / "old"
    Study.open(folder, problem(corpus), corpus, METHOD).run(runner=Inline())
    return folder


@pytest.fixture(scope="module")
def wider(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The corpus after b was removed and d added."""
    return synthetic(tmp_path_factory.mktemp("past") / "wider", domains=("a", "c", "d"))


EDITS: tuple[Edit, ...] = (Remove("b"), Add("d"))


def question(wider: Corpus, old: Path, edits: tuple[Edit, ...] = EDITS) -> Problem:
    plain = problem(wider)
    return replace(plain, past=(past_of(old, edits, plain.proxy, source="old"),))


def test_runs_are_read_as_they_ended(old: Path, wider: Corpus) -> None:
    past = past_of(old, EDITS, problem(wider).proxy)
    trials = Study.load(old).trials()
    assert [r.id for r in past.runs] == [t.id for t in trials]
    assert (past.source, past.domains, past.targets) == ("old", ("a", "b", "c"), ("a", "b", "c"))
    assert past.runs[3].losses == tuple(trials[3].loss(d) for d in "abc")
    np.testing.assert_allclose(past.runs[3].shares, np.array(trials[3].realised) / sum(trials[3].realised))


def test_a_study_learns_from_lifted_runs_and_says_so(old: Path, wider: Corpus, tmp_path: Path) -> None:
    asked = question(wider, old)
    study = Study.open(tmp_path / "new", asked, wider, METHOD)
    study.run(runner=Inline())
    choice = study.choose()
    table = Table.from_trials(study.problem, study.trials())
    assert len(study.trials()) == 16
    assert len(table.ids) == 16 + len(Study.load(old).trials())
    assert choice.schedule.domains == ("a", "c", "d")
    assert any("16 runs of old (b removed; d added)" in line and "count as 16.0 runs" in line for line in choice.why)
    assert choice.diagnostics["lifted_runs"] == 16
    assert choice.diagnostics["lifted_weight"] == 16
    better = choice.diagnostics["lobo_rmse_with_lifted"] <= CLEARLY * choice.diagnostics["lobo_rmse_without_lifted"]
    assert choice.diagnostics["lifted_used"] == better
    assert (len(choice.evidence) == len(table.ids)) == better
    assert {c.trial for c in choice.checks} <= {t.id for t in study.trials()}
    assert choice.provenance is not None
    assert choice.provenance.runs == 16, "what the runs of this study were; those from before are told apart"


def test_runs_that_mislead_are_left_out(old: Path, wider: Corpus, tmp_path: Path) -> None:
    asked = question(wider, old)
    past = asked.past[0]
    backwards = replace(past, runs=tuple(replace(r, losses=tuple(9 - 4 * x for x in r.losses)) for r in past.runs))
    study = Study.open(tmp_path / "new", replace(asked, past=(backwards,)), wider, METHOD)
    study.run(runner=Inline())
    choice = study.choose()
    assert choice.diagnostics["lifted_used"] == 0
    assert any("they are left out" in line for line in choice.why)
    assert set(choice.evidence) == {t.id for t in study.trials()}


def test_ids_of_runs_do_not_depend_on_the_past(old: Path, wider: Corpus) -> None:
    plain, asked = problem(wider), question(wider, old)
    assert plain.plan(plain.natural, 0).id("x") == asked.plan(asked.natural, 0).id("x")


def test_the_first_round_follows_what_old_runs_found(old: Path, wider: Corpus) -> None:
    asked = question(wider, old)
    plans = METHOD.propose(asked, (), np.random.default_rng(0))
    natural = [p.block for p in plans if p.schedule.at(0) == asked.natural]
    assert natural == [0, 1, 2, 3], "the reference is in every block all the same"
    repeats = [p.schedule for p in plans if sum(q.schedule == p.schedule for q in plans) == 4]
    assert len(set(repeats)) == 2, "so is the centre"
    plain = METHOD.propose(replace(asked, past=()), (), np.random.default_rng(0))
    assert plans[:8] == plain[:8]
    assert plans[8].schedule not in {p.schedule for p in plain}, "then the optimum so far is tasted once"
    assert plans[9] == replace(plain[8], block=plans[9].block), "and the design goes on"


def test_a_past_given_later_keeps_the_runs(old: Path, wider: Corpus, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    Study.open(folder, problem(wider), wider, METHOD).run(runner=Inline())
    study = Study.open(folder, question(wider, old), wider, METHOD)
    assert len(study.trials()) == 16
    assert [change.keys for change in study.history()] == [("past",)]
    assert study.choose().diagnostics["lifted_runs"] == 16
    assert Study.load(folder).problem == question(wider, old)


def test_nothing_is_chosen_from_old_runs_alone(old: Path, wider: Corpus) -> None:
    asked = question(wider, old)
    choice = METHOD.choose(asked, (), np.random.default_rng(0))
    assert choice.schedule.at(0) == asked.feasible().project_mixture(asked.natural)
    assert "Only 0 runs are done" in choice.why[0]
    assert METHOD.predict(asked, (), [asked.natural]) == ((),)


def test_targets_without_losses_before_are_named(old: Path, wider: Corpus, tmp_path: Path) -> None:
    asked = replace(question(wider, old), objective=(Target("a"), Target("d")))
    plain = replace(asked, past=())
    rounds = [METHOD.propose(p, (), np.random.default_rng(0)) for p in (asked, plain)]
    assert rounds[0] == rounds[1], "old runs do not say where to look for a target that they were not scored on"
    study = Study.open(tmp_path / "new", asked, wider, METHOD)
    study.run(runner=Inline())
    assert any("not scored on d: runs of today alone" in line for line in study.choose().why)


def test_other_scales_and_wrong_edits_are_refused(old: Path, wider: Corpus, tmp_path: Path) -> None:
    proxy = problem(wider).proxy
    with pytest.raises(UsageError, match=r"size 0\.1M, not 0\.3M"):
        past_of(old, EDITS, replace(proxy, size="0.3M"))
    with pytest.raises(UsageError, match="4,096 tokens, not 40,960"):
        past_of(old, EDITS, replace(proxy, tokens=40_960))
    with pytest.raises(UsageError, match="the trainer 'proxies', not 'outside'"):
        past_of(old, EDITS, proxy, trainer="outside")
    with pytest.raises(DataError, match="no study"):
        past_of(tmp_path, EDITS, proxy)
    with pytest.raises(UsageError, match="edit 1: no domain 'z'"):
        past_of(old, (Remove("z"),), proxy)
    with pytest.raises(UsageError, match="after its edits, old has a, b, c"):
        question(wider, old, ())
    assert past_of(old, EDITS, proxy, measures=(Measure("m", "text"),)).targets == ("a", "b", "c")


def test_doubtful_runs_count_less(old: Path, wider: Corpus) -> None:
    sure, doubted = (
        Table.from_trials(question(wider, old, (Rename("b", "d"), *edits)), ()) for edits in ((), (Revise("d", 20.0),))
    )
    assert sure.weight_N.min() == 1
    np.testing.assert_allclose(doubted.weight_N, 1 / (1 + (20 * doubted.shares_ND[:, 2]) ** 2))
