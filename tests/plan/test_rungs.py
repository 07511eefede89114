"""Rungs: problems of fewer tokens, runs told apart by their length."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cuvee.base.errors import UsageError
from cuvee.plan.rungs import ladder
from cuvee.testing.worlds import world


def test_lengths_kinds_and_the_last_is_the_problem_itself() -> None:
    problem = world("power", 1, domains=4).problem
    rungs = ladder(problem, 3, 0.5)
    assert [r.kind for r in rungs] == ["short", "short", "train"]
    assert rungs[-1].problem == problem
    tokens = [r.problem.proxy.trained_tokens for r in rungs]
    assert [n / tokens[-1] for n in tokens] == pytest.approx([0.25, 0.5, 1.0], rel=0.01)
    for rung in rungs:
        epochs = rung.problem.proxy.trained_tokens / sum(rung.problem.pools)
        assert epochs == pytest.approx(problem.target_tokens / sum(problem.tokens), rel=1e-3), (
            "repeated as often as at R"
        )


def test_a_rung_finds_its_own_runs_only() -> None:
    w = world("power", 1, domains=4)
    rungs = ladder(w.problem, 3, 0.5)
    trials = [w.run(rung.plan(w.problem.natural, block)) for rung in rungs for block in (1, 0)]
    for n, rung in enumerate(rungs):
        own = rung.runs(reversed(trials))
        assert [t.id for t in own] == sorted(t.id for t in trials[2 * n : 2 * n + 2])
        assert {t.plan.kind for t in own} == {"train"}
    stopped = replace(rungs[-1].plan(w.problem.natural, 0), kind="short")
    assert not any(rung.runs([w.run(stopped)]) for rung in rungs), "of no rung's length and kind"


def test_rungs_that_whole_steps_make_equal_are_refused() -> None:
    problem = world("power", 1, domains=4).problem
    huge = replace(problem, proxy=replace(problem.proxy, batch=problem.proxy.tokens // 128))
    with pytest.raises(UsageError, match="rungs of"):
        ladder(huge, 3, 0.5)
