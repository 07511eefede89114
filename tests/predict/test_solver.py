from __future__ import annotations

import numpy as np

from cuvee.mixture.feasible import FeasibleSet, Group
from cuvee.predict.solver import solve
from cuvee.predict.task import Constraint, Task

FREE = FeasibleSet(("a", "b", "c"), (0, 0, 0), (1, 1, 1))


def test_a_quadratic_ends_where_the_projection_does() -> None:
    feasible = FeasibleSet(("a", "b", "c"), (0.05, 0, 0), (0.6, 0.3, 1.0), (Group("bc", ("b", "c"), 0.45, 0.9),))
    goal_D = np.array([0.9, 0.4, -0.2])
    task = Task(feasible, lambda w_D: float(np.sum((w_D - goal_D) ** 2)), lambda w_D: 2 * (w_D - goal_D))
    np.testing.assert_allclose(solve(task, np.full(3, 1 / 3)), feasible.project(goal_D), atol=1e-5)


def test_a_curved_constraint_is_met_from_inside_and_from_outside() -> None:
    """The most of `a` within a disc around the centre of the simplex: its rim."""
    centre_D = np.full(3, 1 / 3)
    disc = Constraint(lambda w_D: 0.01 - float(np.sum((w_D - centre_D) ** 2)), lambda w_D: -2 * (w_D - centre_D))
    task = Task(FREE, lambda w_D: -float(w_D[0]), lambda w_D: np.array([-1.0, 0.0, 0.0]), [disc])
    rim_D = centre_D + 0.1 * np.array([2.0, -1.0, -1.0]) / np.sqrt(6)
    for start_D in (centre_D, np.array([0.0, 0.0, 1.0])):
        end_D = solve(task, start_D)
        assert task.violation(end_D) == 0
        np.testing.assert_allclose(end_D, rim_D, atol=1e-3)
