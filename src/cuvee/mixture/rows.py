"""Linear bounds on a mixture, the exact projection under them, and which bounds clash where nothing meets them all.

The projection is the dual active-set method of Goldfarb & Idnani (1983, A numerically stable dual method for solving
strictly convex quadratic programs), started from the projection onto floors, caps and sum 1. Bounds of single domains
are kept out of its equations, which are as many as rows bind. Where it finds nothing, the bound that cannot be met is a
combination of bounds that are linearly independent: together they are a clash from which none can be left out.

Letters: D domains, M one-sided bounds normal @ w >= bound, K of them active.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cuvee.mixture.weights import Array

CLOSE = 1e-13
"""Bounds are met within this, in units of their normal's length."""
SLACK = 1e-10
"""Bounds that clash by less than this do so by rounding: bounds may leave a single point."""
NOTHING = 1e-11
"""Directions shorter than this, of unit normals, are rounding."""


@dataclass(frozen=True)
class Row:
    """`low` <= sum of coefficient x share <= `high`, such as code <= 2 math: {code: 1, math: -2}, high 0."""

    name: str
    coefficients: tuple[tuple[str, float], ...]
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        # 1 and 1.0 are the same row, in files too
        object.__setattr__(self, "coefficients", tuple((domain, float(c)) for domain, c in self.coefficients))


@dataclass(frozen=True, eq=False)
class Halfspaces:
    """normal_MD @ w >= bound_M, beside low_D <= w <= high_D and sum 1."""

    normal_MD: Array
    bound_M: Array
    low_D: Array
    high_D: Array


@dataclass(frozen=True, eq=False)
class Clash:
    """Bounds that no mixture meets together, and by how much each alone has to give way; not finite where it is no part of it."""

    by_M: Array
    low_by_D: Array
    high_by_D: Array


@dataclass
class _State:
    """The nearest mixture under the active bounds. Sides: -1 at the floor, 1 at the cap, 2 floor and cap are one, 0 free."""

    w_D: Array
    side_D: NDArray[np.int8]
    price_D: Array
    rows: list[int] = field(default_factory=list)
    prices: list[float] = field(default_factory=list)


def nearest(v_D: Array, level: float, spaces: Halfspaces) -> Array | Clash:
    """The mixture nearest to `v_D`, or the clash that leaves none; clip(v - `level`, low, high) sums to 1."""
    length_M = np.maximum(np.linalg.norm(spaces.normal_MD, axis=1), 1e-300)
    normal_MD, bound_M = spaces.normal_MD / length_M[:, None], spaces.bound_M / length_M
    state = _start(v_D, level, spaces)
    met = np.zeros((3, max(len(v_D), len(bound_M))), bool)
    for _ in range(50 * (len(v_D) + len(bound_M)) + 100):
        short_M = bound_M - normal_MD @ state.w_D
        short_M[state.rows] = -np.inf
        free_D = state.side_D == 0
        short_D = np.where(free_D, spaces.low_D - state.w_D, -np.inf)
        over_D = np.where(free_D, state.w_D - spaces.high_D, -np.inf)
        missed = [np.where(done[: len(x)], -np.inf, x) for done, x in zip(met, (short_M, short_D, over_D), strict=True)]
        kind = int(np.argmax([x.max(initial=-np.inf) for x in missed]))
        i = int(np.argmax(missed[kind]))
        if missed[kind][i] <= CLOSE:
            break
        clash = _add(state, kind, i, normal_MD, bound_M, spaces)
        if clash is not None and (clash.by_M, clash.low_by_D, clash.high_by_D)[kind][i] > SLACK:
            return Clash(clash.by_M * length_M, clash.low_by_D, clash.high_by_D)
        met[kind, i] = clash is not None
    return _polished(v_D, state, normal_MD, bound_M, spaces)


def _start(v_D: Array, level: float, spaces: Halfspaces) -> _State:
    """The projection onto floors, caps and sum 1; at a corner, one domain whose bound costs nothing counts as free."""
    gone_D = v_D - level
    side_D = np.zeros(len(v_D), np.int8)
    side_D[gone_D <= spaces.low_D] = -1
    side_D[gone_D >= spaces.high_D] = 1
    side_D[spaces.low_D >= spaces.high_D] = 2
    bound_D = np.abs(side_D) == 1
    if not np.any(side_D == 0) and bound_D.any():
        spare_D = np.where(side_D == -1, spaces.low_D - gone_D, gone_D - spaces.high_D)
        i = int(np.argmin(np.where(bound_D, spare_D, np.inf)))
        gone_D = gone_D + (spaces.low_D[i] if side_D[i] == -1 else spaces.high_D[i]) - gone_D[i]
        side_D[i] = 0
    price_D = np.where(side_D == -1, spaces.low_D - gone_D, np.where(side_D == 1, gone_D - spaces.high_D, 0.0))
    return _State(np.clip(gone_D, spaces.low_D, spaces.high_D), side_D, np.maximum(price_D, 0.0))


def _add(state: _State, kind: int, i: int, normal_MD: Array, bound_M: Array, spaces: Halfspaces) -> Clash | None:
    """Makes one bound active (kind 0: a row, 1: a floor, 2: a cap), releasing those that give way to it; a clash when none does."""
    normal_D = normal_MD[i] if kind == 0 else np.eye(1, len(state.w_D), i)[0] * (1.0 if kind == 1 else -1.0)
    bound = float((bound_M, spaces.low_D, -spaces.high_D)[kind][i])
    price = 0.0
    while True:
        free_D = state.side_D == 0
        active_KD = np.vstack([np.ones_like(normal_D), normal_MD[state.rows]])
        mix_K = np.linalg.lstsq(active_KD[:, free_D].T, normal_D[free_D], rcond=None)[0]
        rest_D = normal_D - mix_K @ active_KD
        move_D = np.where(free_D, rest_D, 0.0)
        push_D = np.where(np.abs(state.side_D) == 1, -state.side_D * rest_D, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            row_steps = np.where(mix_K[1:] > NOTHING, np.array(state.prices) / mix_K[1:], np.inf)
            side_steps = np.where(push_D > NOTHING, state.price_D / push_D, np.inf)
        first_row, first_side = row_steps.min(initial=np.inf), side_steps.min(initial=np.inf)
        gap = bound - float(normal_D @ state.w_D)
        moves = float(np.linalg.norm(move_D)) > NOTHING
        step = min(gap / float(move_D @ move_D) if moves else np.inf, first_row, first_side)
        if step == np.inf:
            return _clash(kind, i, gap, mix_K, np.where(free_D, 0.0, rest_D), state.rows, len(bound_M))
        state.w_D = state.w_D + step * move_D
        state.prices = np.maximum(np.array(state.prices) - step * mix_K[1:], 0.0).tolist()
        state.price_D = np.maximum(state.price_D - step * push_D, 0.0)
        price += step
        if step < min(first_row, first_side):
            break
        if first_row <= first_side:
            gone = int(np.argmin(row_steps))
            del state.rows[gone], state.prices[gone]
        else:
            gone = int(np.argmin(side_steps))
            state.side_D[gone], state.price_D[gone] = 0, 0.0
    if kind == 0:
        state.rows.append(i)
        state.prices.append(price)
    else:
        state.side_D[i], state.price_D[i] = (-1 if kind == 1 else 1), price
    return None


def _clash(kind: int, i: int, gap: float, mix_K: Array, rest_D: Array, rows: list[int], count: int) -> Clash:
    """From normal = mix @ active normals + rest: what is missing, shared out to each bound alone."""
    by_M = np.full(count, np.inf)
    with np.errstate(divide="ignore"):
        by_M[rows] = np.where(np.abs(mix_K[1:]) > NOTHING, gap / np.abs(mix_K[1:]), np.inf)
        low_by_D = np.where(rest_D < -NOTHING, gap / np.abs(rest_D), np.inf)
        high_by_D = np.where(rest_D > NOTHING, gap / np.abs(rest_D), np.inf)
    (by_M, low_by_D, high_by_D)[kind][i] = gap
    return Clash(by_M, low_by_D, high_by_D)


def _polished(v_D: Array, state: _State, normal_MD: Array, bound_M: Array, spaces: Halfspaces) -> Array:
    """The same mixture, computed at once from what is active."""
    w_D = np.where(state.side_D == -1, spaces.low_D, np.where(state.side_D >= 1, spaces.high_D, state.w_D))
    free_D = state.side_D == 0
    active_KD = np.vstack([np.ones_like(v_D), normal_MD[state.rows]])
    wanted_K = np.concatenate([[1.0], bound_M[state.rows]]) - active_KD[:, ~free_D] @ w_D[~free_D]
    part_KF = active_KD[:, free_D]
    # the smallest change that meets what is active
    w_D[free_D] = v_D[free_D] - np.linalg.lstsq(part_KF, part_KF @ v_D[free_D] - wanted_K, rcond=None)[0]
    return np.asarray(np.clip(w_D, spaces.low_D, spaces.high_D), np.float64)
