"""Projected gradients against SLSQP, closed forms and bounds from below, at many domains."""

from __future__ import annotations

import numpy as np
import pytest

from cuvee.mixture.feasible import FeasibleSet, Group
from cuvee.mixture.rows import Row
from cuvee.mixture.weights import Array
from cuvee.predict import solver
from cuvee.predict.descent import descend
from cuvee.predict.loglinear import LogLinearFit
from cuvee.predict.optimise import RANGES, minimise, near_optimal
from cuvee.predict.posterior import Posterior
from cuvee.predict.question import GuardRule, Question
from cuvee.predict.task import Constraint, Task

pytestmark = pytest.mark.slow


def names(size: int) -> tuple[str, ...]:
    return tuple(f"d{i}" for i in range(size))


def question(size: int, guards: tuple[GuardRule, ...] = ()) -> Question:
    rng = np.random.default_rng(size)
    fit = LogLinearFit(np.ones(5), rng.normal(-1, 1, (size, 5)))
    feasible = FeasibleSet(names(size), (0,) * size, (min(1.0, 10 / size),) * size)
    return Question(
        Posterior(fit, {}, np.zeros((5, 5))), feasible, np.full(size, 1 / size), np.array([1, 1, 1, 1, 0]) / 4, guards
    )


@pytest.mark.parametrize("size", [2, 17, 100, 300])
def test_no_mixture_is_better_than_the_end_by_more_than_rounding(size: int) -> None:
    """A convex objective lies above its tangent, whose least value over the set is found at a corner."""
    asked = question(size)
    end_D = descend(Task(asked.feasible, asked.value, asked.slope), asked.base_D)
    slope_D = asked.slope(end_D)
    corner_D, left = np.zeros(size), 1.0
    for i in np.argsort(slope_D):
        corner_D[i] = min(left, asked.feasible.high_D[i])
        left -= corner_D[i]
    assert asked.feasible.contains(end_D, 1e-9)
    assert slope_D @ (end_D - corner_D) < 2e-6


def test_guards_and_ranges_are_those_of_slsqp(monkeypatch: pytest.MonkeyPatch) -> None:
    loose = minimise(question(6), [np.full(6, 1 / 6)])
    last = np.eye(5)[4]
    rise = question(6).posterior.value(loose.w_D, question(6).base_D, last)
    asked = question(6, (GuardRule("last", last, rise - 0.02, 0.9),))
    found, ranges = [], []
    for many in (1000, 0):
        monkeypatch.setattr(solver, "MANY", many)
        found.append(minimise(asked, [asked.base_D]))
        ranges.append(near_optimal(asked, found[0].w_D, 0.002))
    assert found[0].guarded
    assert found[1].guarded
    assert found[1].value == pytest.approx(found[0].value, abs=2e-6)
    assert found[1].value > loose.value + 2e-5
    np.testing.assert_allclose(ranges[1], ranges[0], atol=1e-3)


def test_a_start_that_meets_a_constraint_ends_meeting_it() -> None:
    size = 80
    centre_D, feasible = np.full(size, 1 / size), FeasibleSet(names(size), (0,) * size, (1,) * size)
    disc = Constraint(lambda w_D: 0.01 - float(np.sum((w_D - centre_D) ** 2)), lambda w_D: -2 * (w_D - centre_D))
    unit_D = np.eye(1, size, 0)[0]
    task = Task(feasible, lambda w_D: -float(w_D[0]), lambda w_D: -unit_D, [disc])
    end_D = descend(task, centre_D)
    assert task.violation(end_D) == 0
    rim = 1 / size + 0.1 * np.sqrt(1 - 1 / size)
    assert end_D[0] == pytest.approx(rim, abs=2e-3)


def test_a_thousand_domains_with_groups_and_rows() -> None:
    size = 1000
    fit = LogLinearFit(np.ones(1), np.random.default_rng(0).normal(-1, 1, (size, 1)))
    rows = (Row("r", tuple((f"d{i}", 1.0 if i % 2 else -1.0) for i in range(200)), 0.0, 0.1),)
    feasible = FeasibleSet(names(size), (0,) * size, (0.01,) * size, (Group("g", names(500), 0.6, 1.0),), rows)
    base_D: Array = feasible.project(np.full(size, 1 / size))
    asked = Question(Posterior(fit, {}, np.zeros((1, 1))), feasible, base_D, np.ones(1))
    found = minimise(asked, [base_D])
    assert feasible.contains(found.w_D, 1e-8)
    far_D = feasible.project(found.w_D - 1e3 * asked.slope(found.w_D))
    assert asked.slope(found.w_D) @ (found.w_D - far_D) < 1e-5, "no corner is below the tangent"


def test_of_many_domains_the_largest_get_ranges() -> None:
    asked = question(70)
    best = minimise(asked, [asked.base_D])
    low_D, high_D = near_optimal(asked, best.w_D, 0.002)
    known = ~np.isnan(low_D)
    assert known.sum() == RANGES
    assert best.w_D[known].min() >= best.w_D[~known].max()
    assert np.all(low_D[known] <= best.w_D[known])
    assert np.all(high_D[known] >= best.w_D[known])
