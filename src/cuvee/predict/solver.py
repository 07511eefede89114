"""Minimisation over a feasible set with smooth constraints: sequential quadratic programming (SLSQP of scipy), projected
gradients where domains are many (`cuvee.predict.descent`).

From far away SLSQP may end outside a curved constraint, such as a guard with its error, and stay there. So a run that does
not end inside is done again in steps, each within a small box around the last point.

Letters: D domains.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy.optimize import Bounds, minimize

from cuvee.mixture.weights import Array
from cuvee.predict.descent import descend
from cuvee.predict.task import Task

MANY = 60
"""Domains above which projected gradients take the place of SLSQP, whose steps cost D^3."""
RADIUS, LEAST_RADIUS, MOST_STEPS = 0.05, 1e-4, 40


def solve(task: Task, start_D: Array) -> Array:
    """A local solution from `start_D`, the global one where the task is convex; always in the feasible set."""
    if len(start_D) > MANY:
        return descend(task, start_D)
    end_D, converged = _slsqp(task, start_D, 1.0)
    if converged and task.violation(end_D) == 0:
        return end_D
    return _in_steps(task, start_D)


def _in_steps(task: Task, start_D: Array) -> Array:
    """Steps that lessen the violation, or the value at no violation, within boxes that shrink when there is none."""
    here_D, radius = start_D, RADIUS
    rank = (task.violation(here_D), task.value(here_D))
    for _ in range(MOST_STEPS):
        there_D, _ = _slsqp(task, here_D, radius)
        reached = (task.violation(there_D), task.value(there_D))
        if reached[0] < rank[0] or (reached[0] == rank[0] and reached[1] < rank[1] - 1e-8):
            here_D, rank = there_D, reached
        else:
            radius *= 0.3
        if radius < LEAST_RADIUS:
            break
    return here_D


def _slsqp(task: Task, start_D: Array, radius: float) -> tuple[Array, bool]:
    """One run within `radius` of the start in every share: where it ended, projected, and whether it converged."""
    feasible = task.feasible
    bounds = Bounds(np.maximum(feasible.low_D, start_D - radius), np.minimum(feasible.high_D, start_D + radius))
    constraints: list[Any] = [{"type": "eq", "fun": lambda w_D: w_D.sum() - 1.0, "jac": np.ones_like}]
    normal_MD, bound_M = feasible.halfspaces
    if len(bound_M):
        bounded = {"type": "ineq", "fun": lambda w_D: normal_MD @ w_D - bound_M, "jac": lambda w_D: normal_MD}
        constraints.append(bounded)
    constraints += [{"type": "ineq", "fun": c.value, "jac": c.slope} for c in task.constraints]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        # a step may leave the bounds by rounding; scipy clips it and says so
        warnings.simplefilter("ignore", RuntimeWarning)
        result = minimize(
            task.value, start_D, jac=task.slope, method="SLSQP", bounds=bounds, constraints=constraints,
            options={"maxiter": 100, "ftol": 1e-10},
        )  # fmt: skip
    end_D = np.asarray(result.x, np.float64)
    if not np.all(np.isfinite(end_D)):
        return start_D, False
    return feasible.project(end_D), bool(result.success)
