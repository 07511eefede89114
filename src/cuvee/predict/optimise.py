"""The best mixture of a posterior under bounds and guards, how far it may move at little cost, and tiny shares dropped.

Solved with analytic gradients: once where objective and guards are convex, which is exact; from several starts elsewhere,
and the best of them taken. Predictions without gradients are searched by simulation (`cuvee.predict.simulate`).

Letters: D domains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cuvee.base.errors import InfeasibleError
from cuvee.mixture.feasible import FeasibleSet, Indexes
from cuvee.mixture.weights import Array
from cuvee.predict.question import GuardRule, Question
from cuvee.predict.simulate import simulate, simulated_ranges
from cuvee.predict.solver import solve
from cuvee.predict.task import Constraint, Task

RANGES = 40
"""Most domains whose near-optimal ranges are found: each costs two optimisations."""
How = Literal["exact", "starts", "simulation"]


@dataclass(frozen=True, eq=False)
class Optimum:
    """The mixture found.

    Args:
        value: Its objective, with what aversion and pull add.
        guarded: False when no mixture was found that meets the guards.
        how: `exact`: the problem is convex; `starts`: the best of many; `simulation`: the mean of the best of many draws.
    """

    w_D: Array
    value: float
    guarded: bool
    how: How = "starts"


def minimise(question: Question, starts: Sequence[Array]) -> Optimum:
    """The best mixture from `starts`, which are projected onto the feasible set first.

    When none that meets the guards is found, the mixture where the worst guard has the most room.
    """
    different: dict[bytes, Array] = {}
    for w_D in map(question.feasible.project, starts):
        different.setdefault(np.round(w_D, 9).tobytes(), w_D)
    begins = list(different.values())
    if not question.smooth:
        w_D, guarded = simulate(question, begins)
        return Optimum(w_D, question.value(w_D), guarded, "simulation")
    how: How = "exact" if question.convex else "starts"
    task = Task(question.feasible, question.value, question.slope, _guards(question))
    first = [_best(question, begins)] if question.convex else begins
    ends = [solve(task, w_D) for w_D in first]
    allowed = [w_D for w_D in [*begins, *ends] if question.holds(w_D)]
    if not allowed and question.guards:
        safe = [_safest(question, w_D) for w_D in first]
        refined = [solve(task, w_D) for w_D in safe if question.holds(w_D)]
        allowed = [w_D for w_D in [*safe, *refined] if question.holds(w_D)]
        if not allowed:
            w_D = max([*begins, *ends, *safe], key=lambda w_D: _worst_room(question, w_D))
            return Optimum(w_D, question.value(w_D), False, how)
    w_D = _best(question, allowed)
    return Optimum(w_D, question.value(w_D), True, how)


def _best(question: Question, mixtures: Sequence[Array]) -> Array:
    """The first of those with the least objective, but for rounding: where all are alike, natural stays."""
    values = np.array([question.value(w_D) for w_D in mixtures])
    return mixtures[int(np.flatnonzero(values <= values.min() + 1e-12)[0])]


def near_optimal(question: Question, optimum_D: Array, tolerance: float) -> tuple[Array, Array]:
    """Least and largest share of each domain at `tolerance` bits/byte above the optimum, the others adapting.

    Of more than `RANGES` domains, only those with the largest shares.

    Returns:
        Two arrays of shape D; both contain the optimum, NaN for domains left out.
    """
    size = len(optimum_D)
    which = np.argsort(-optimum_D, kind="stable")[:RANGES] if size > RANGES else np.arange(size)
    left_out = ~np.isin(np.arange(size), which)
    if not question.smooth:
        low_D, high_D = simulated_ranges(question, optimum_D, tolerance)
    else:
        low_D, high_D = _profile(question, optimum_D, which, question.value(optimum_D) + tolerance)
    return np.where(left_out, np.nan, low_D), np.where(left_out, np.nan, high_D)


def _profile(question: Question, optimum_D: Array, which: Indexes, limit: float) -> tuple[Array, Array]:
    """Each share of `which` as far down and up as `limit` lets it.

    Mixtures found on the way to one bound hold for all of them, so each search starts from the one that is furthest so far.
    """
    found = [optimum_D]
    low_D, high_D = optimum_D.copy(), optimum_D.copy()
    for i in which:
        for sign, bounds_D in ((1.0, low_D), (-1.0, high_D)):
            if sign * (optimum_D[i] - (question.feasible.low_D, question.feasible.high_D)[sign < 0][i]) <= 0:
                continue  # it is at its bound already
            end_D = _extreme(question, min(found, key=lambda w_D: sign * w_D[i]), i, sign, limit)
            bounds_D[i] = end_D[i]
            found.append(end_D)
    return low_D, high_D


def simplify(question: Question, w_D: Array, *, tiny: float, step: float, cost: float) -> Array:
    """`w_D` with shares under `tiny` dropped and the rest rounded to `step`, as far as `cost` bits/byte allow.

    Tries both, then dropping alone; `w_D` itself when either costs too much or breaks a bound or a guard. Shares at a bound
    stay there, and the largest of the others takes what the rounding leaves.
    """
    limit, guarded = question.value(w_D) + cost, question.holds(w_D)
    dropped_D = _drop(question.feasible, w_D, tiny)
    for candidate_D in (_round(question.feasible, dropped_D, step), dropped_D):
        feasible = question.feasible.contains(candidate_D, 1e-9)
        if feasible and question.value(candidate_D) <= limit and (question.holds(candidate_D) or not guarded):
            return candidate_D
    return w_D


def _drop(feasible: FeasibleSet, w_D: Array, tiny: float) -> Array:
    """The mixture nearest to `w_D` without its shares under `tiny`; `w_D` where bounds forbid that."""
    none_D = (w_D < tiny) & (w_D < w_D.max()) & (feasible.low_D <= 0)
    try:
        narrowed = replace(feasible, high=tuple(np.where(none_D, 0.0, feasible.high_D).tolist()))
    except InfeasibleError:
        return w_D
    kept_D = np.where(none_D, 0.0, w_D)
    return narrowed.project(kept_D / kept_D.sum())


def _round(feasible: FeasibleSet, w_D: Array, step: float) -> Array:
    """`w_D` with shares rounded to `step`, but for those at a bound and the largest of the others."""
    near = step / 2
    free_D = (w_D > feasible.low_D + near) & (w_D < feasible.high_D - near)
    if not free_D.any():
        return w_D
    rounded_D = np.where(free_D, np.round(w_D / step) * step, w_D)
    rounded_D[np.argmax(np.where(free_D, w_D, -1.0))] += 1.0 - rounded_D.sum()
    return np.asarray(rounded_D, np.float64)


def _extreme(question: Question, start_D: Array, i: int, sign: float, limit: float) -> Array:
    """From `start_D`, the mixture with the least (sign 1) or largest (-1) share of domain `i` at an objective of at most `limit`."""
    unit_D = np.zeros(len(start_D))
    unit_D[i] = sign
    within = Constraint(lambda w_D: limit - question.value(w_D), lambda w_D: -question.slope(w_D))
    # most guards bind nowhere near, and their errors are dear: they are asked for where they turn out to be broken
    for constraints in ([within], [within, *_guards(question)]):
        task = Task(question.feasible, lambda w_D: float(unit_D @ w_D), lambda w_D: unit_D, constraints)
        end_D = solve(task, start_D)
        if question.holds(end_D):
            break
    met = task.violation(end_D) == 0 and question.holds(end_D)
    return end_D if met and unit_D @ end_D < unit_D @ start_D else start_D


def _safest(question: Question, w_D: Array) -> Array:
    """From `w_D` to the most room of the guards: their soft minimum, which is smooth."""

    def weights(w_D: Array) -> Array:
        rooms = np.array([question.room(rule, w_D) for rule in question.guards])
        soft = np.exp(-(rooms - rooms.min()) / 0.002)
        return np.asarray(soft / soft.sum(), np.float64)

    def value(w_D: Array) -> float:
        rooms = np.array([question.room(rule, w_D) for rule in question.guards])
        return float(-rooms.min() + 0.002 * np.log(np.exp(-(rooms - rooms.min()) / 0.002).sum()))

    def slope(w_D: Array) -> Array:
        slopes = np.array([question.room_slope(rule, w_D) for rule in question.guards])
        return np.asarray(-weights(w_D) @ slopes, np.float64)

    return solve(Task(question.feasible, value, slope), w_D)


def _worst_room(question: Question, w_D: Array) -> float:
    return min(question.room(rule, w_D) for rule in question.guards)


def _guards(question: Question) -> list[Constraint]:
    return [_guard(question, rule) for rule in question.guards]


def _guard(question: Question, rule: GuardRule) -> Constraint:
    return Constraint(lambda w_D: question.room(rule, w_D), lambda w_D: question.room_slope(rule, w_D))
