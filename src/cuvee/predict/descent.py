"""Minimisation over a feasible set of many domains, where a quadratic programme at every step would cost D^3.

Spectral projected gradient with a non-monotone line search (Birgin, Martinez & Raydan 2000, Nonmonotone spectral projected
gradient methods on convex sets); smooth constraints by an augmented Lagrangian around it (Nocedal & Wright 2006, Numerical
Optimization, section 17.4), and what is still missed by going back towards a start that meets them.

Letters: D domains, C constraints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cuvee.mixture.weights import Array
from cuvee.predict.question import ROOM
from cuvee.predict.task import Task

STEPS, OUTER = 300, 15
MEMORY = 8
SETTLED = 1e-9
"""Bits/byte that the best of `PATIENCE` steps must gain."""
PATIENCE = 15

Value = Callable[[Array], float]
Slope = Callable[[Array], Array]


def descend(task: Task, start_D: Array) -> Array:
    """A local solution from `start_D`, the global one where the task is convex; always in the feasible set."""
    if not task.constraints:
        return _gradient(task, task.value, task.slope, start_D)
    here_D, price_C, weight = start_D, np.zeros(len(task.constraints)), 10.0
    missed = np.inf
    for _ in range(OUTER):
        here_D = _gradient(task, *_lagrangian(task, price_C, weight), here_D)
        room_C = np.array([c.value(here_D) for c in task.constraints])
        price_C = np.maximum(price_C - weight * room_C, 0.0)
        now = max(float(-room_C.min()), float(np.max(np.minimum(room_C, price_C / weight), initial=0.0)))
        if now < ROOM:
            break
        weight *= 5.0 if now > 0.3 * missed else 1.0
        missed = now
    return _back(task, here_D, start_D)


def _lagrangian(task: Task, price_C: Array, weight: float) -> tuple[Value, Slope]:
    def pressure(w_D: Array) -> Array:
        room_C = np.array([c.value(w_D) for c in task.constraints])
        return np.maximum(price_C - weight * room_C, 0.0)

    def value(w_D: Array) -> float:
        return task.value(w_D) + float(np.sum(pressure(w_D) ** 2)) / (2 * weight)

    def slope(w_D: Array) -> Array:
        pushes: Sequence[Array] = [
            push * c.slope(w_D) for push, c in zip(pressure(w_D), task.constraints, strict=True) if push > 0
        ]
        return np.asarray(task.slope(w_D) - sum(pushes, np.zeros(len(w_D))), np.float64)

    return value, slope


def _gradient(task: Task, value: Value, slope: Slope, start_D: Array) -> Array:
    """Spectral projected gradient; the best mixture that it came by."""
    project = task.feasible.project
    here_D, slope_D = start_D, slope(start_D)
    values = [value(start_D)]
    best_D, best, since = here_D, values[0], 0
    pace = 0.1 / max(float(np.abs(slope_D - slope_D.mean()).max()), 1e-12)
    for _ in range(STEPS):
        move_D = project(here_D - pace * slope_D) - here_D
        descent = float(slope_D @ move_D)
        if descent > -1e-12:
            break
        step, top = 1.0, max(values[-MEMORY:])
        there = value(here_D + move_D)
        while there > top + 1e-4 * step * descent and step > 1e-6:
            bent = -0.5 * step**2 * descent / (there - values[-1] - step * descent)
            step = bent if 0.1 * step <= bent <= 0.9 * step else 0.5 * step
            there = value(here_D + step * move_D)
        there_D = here_D + step * move_D
        new_D = slope(there_D)
        moved_D, turned_D = there_D - here_D, new_D - slope_D
        curve = float(moved_D @ turned_D)
        pace = float(np.clip(moved_D @ moved_D / curve, 1e-6, 1e6)) if curve > 0 else 10 * pace
        here_D, slope_D = there_D, new_D
        values.append(there)
        since = 0 if there < best - SETTLED else since + 1
        if there < best:
            best_D, best = here_D, there
        if since >= PATIENCE:
            break
    return best_D


def _back(task: Task, end_D: Array, start_D: Array) -> Array:
    """The point nearest to `end_D` on the way to `start_D` that meets the constraints; `end_D` where neither does."""
    if task.violation(end_D) == 0 or task.violation(start_D) > 0:
        return end_D
    inside, outside = 1.0, 0.0
    for _ in range(20):
        middle = 0.5 * (inside + outside)
        met = task.violation(end_D + middle * (start_D - end_D)) == 0
        inside, outside = (middle, outside) if met else (inside, middle)
    return np.asarray(end_D + inside * (start_D - end_D), np.float64)
