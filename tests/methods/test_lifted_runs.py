"""Runs from before and trees, in the methods that predict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cuvee.methods.auto import Auto
from cuvee.methods.contract import Method
from cuvee.methods.regression import Regression
from cuvee.mixture.edits import Remove
from cuvee.mixture.tree import Tree
from cuvee.plan.past import Past, PastRun
from cuvee.testing.worlds import World, play, world

pytestmark = pytest.mark.slow

METHODS: tuple[Method, ...] = (
    Auto(runs=16, batch=2, predictor="ridge-log"),
    Regression(runs=16, predictor="ridge-log"),
)


def with_past(w: World) -> World:
    trials = play(w, Regression(runs=24, rounds=1, predictor="ridge-log")).trials
    domains, natural = w.problem.domains, tuple(w.problem.natural.shares.tolist())
    past = Past(
        "old", domains, domains, natural, (), tuple(PastRun.of(t, domains) for t in trials if t.status == "done")
    )
    return replace(w, problem=replace(w.problem, past=(past,)))


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_methods_learn_from_runs_from_before(method: Method) -> None:
    w = world("law", 3, domains=4)
    lifted = with_past(w)
    first, plain = (method.propose(x.problem, (), np.random.default_rng(0)) for x in (lifted, w))
    assert len(first) == len(plain)
    assert {p.schedule for p in first} - {p.schedule for p in plain}, "their optimum is tasted"
    choice = play(lifted, method).choice
    assert choice.diagnostics["lifted_runs"] == 24
    assert any("runs of old" in line for line in choice.why)
    assert "lifted_runs" not in play(w, method).choice.diagnostics


def test_experts_say_nothing_of_a_domain_that_is_gone() -> None:
    """N-gram models are of the domains of today, and runs from before had others too."""
    lifted = with_past(world("law", 3, domains=4))
    (past,) = lifted.problem.past
    runs = tuple(replace(r, shares=(*(0.8 * share for share in r.shares), 0.2)) for r in past.runs)
    natural = (*(0.8 * share for share in past.natural), 0.2)
    past = replace(past, domains=(*past.domains, "gone"), natural=natural, edits=(Remove("gone"),), runs=runs)
    method = Auto(runs=16, batch=4, first=1.0, evidence="ngrams")
    found = play(replace(lifted, problem=replace(lifted.problem, past=(past,))), method)
    assert found.choice.diagnostics["lifted_runs"] == 24
    assert any("n-gram model of every domain counts" in line for line in found.choice.why)
    assert lifted.regret(found.choice.schedule.at(0)) < 0.3 * lifted.regret(lifted.problem.natural)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_frozen_groups_stay_in_proportion(method: Method) -> None:
    w = world("law", 3, domains=5)
    tree = Tree((("g",), ("g",), (), (), ()), frozen=("g",))
    found = play(replace(w, problem=replace(w.problem, tree=tree)), method)
    natural_D = w.problem.natural.shares
    for trial in found.trials:
        w_D = trial.plan.schedule.at(0).shares
        assert w_D[0] * natural_D[1] == pytest.approx(w_D[1] * natural_D[0], abs=1e-6)
    later = {t.plan.schedule for t in found.trials if t.plan.schedule.at(0).shares[0] > 0}
    assert len(later) > 4
    assert any("frozen" in line for line in found.choice.why)
