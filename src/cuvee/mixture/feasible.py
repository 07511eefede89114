"""The feasible set: floors and caps of domains, bounds on sums over groups, linear rows, and the exact projection onto it.

Letters: D domains. `v_D` is any vector, `w_D` a mixture in the set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import InfeasibleError, UsageError
from cuvee.mixture.rows import Clash, Halfspaces, Row, nearest
from cuvee.mixture.weights import Array, Mixture

Indexes = NDArray[np.intp]
Bools = NDArray[np.bool_]
SLACK = 1e-12
"""Bounds that clash by less than this, from rounding of floors and caps, do not clash."""


@dataclass(frozen=True)
class Group:
    """Bounds on the sum of the shares of some domains."""

    name: str
    domains: tuple[str, ...]
    min_share: float = 0.0
    max_share: float = 1.0


@dataclass(frozen=True)
class FeasibleSet:
    """The mixtures with `low <= w <= high`, every group's sum and every row within its bounds, and sum 1.

    Args:
        domains: Names, aligned with `low` and `high`.
        low, high: Floors and caps in shares of tokens.
        groups: Bounds on sums; no domain may be in two groups.
        rows: Any other linear bounds; groups that overlap are rows with coefficients of 1.

    Raises:
        UsageError: groups that overlap, names of unknown domains, bounds that are not numbers.
        InfeasibleError: no mixture meets the bounds; names those that clash and by how much.
    """

    domains: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    groups: tuple[Group, ...] = ()
    rows: tuple[Row, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.domains) == len(self.low) == len(self.high) or np.isnan([*self.low, *self.high]).any():
            raise UsageError(
                f"got {len(self.domains)} domains, floors {list(self.low)}, caps {list(self.high)}",
                wanted="one of each per domain",
            )
        self._check_groups()
        self._check_domain_bounds()
        self._check_group_bounds()
        self._check_sums()
        self._check_rows()

    @cached_property
    def low_D(self) -> Array:
        """Floors, shape D."""
        return np.maximum(np.array(self.low, np.float64), 0.0)

    @cached_property
    def high_D(self) -> Array:
        """Caps, shape D, none above 1."""
        return np.minimum(np.array(self.high, np.float64), 1.0)

    @cached_property
    def group_indexes(self) -> tuple[Indexes, ...]:
        """Positions of each group's domains."""
        return tuple(np.array([self.domains.index(d) for d in g.domains], np.intp) for g in self.groups)

    @cached_property
    def sums(self) -> tuple[Array, Array, Array]:
        """Groups, then rows: their coefficients, shape M x D, least and largest values, shape M; infinite where there is none."""
        position = {d: i for i, d in enumerate(self.domains)}
        sum_MD = np.zeros((len(self.groups) + len(self.rows), len(self.domains)))
        for row_D, index in zip(sum_MD, self.group_indexes, strict=False):
            row_D[index] = 1.0
        for row_D, row in zip(sum_MD[len(self.groups) :], self.rows, strict=True):
            for domain, coefficient in row.coefficients:
                row_D[position[domain]] += coefficient
        least_M = np.array([*(g.min_share for g in self.groups), *(r.low for r in self.rows)], np.float64)
        most_M = np.array([*(g.max_share for g in self.groups), *(r.high for r in self.rows)], np.float64)
        return sum_MD, least_M, most_M

    @cached_property
    def halfspaces(self) -> tuple[Array, Array]:
        """Groups and rows as normal @ w >= bound, shapes M x D and M: bounds from below, then those from above turned round."""
        sum_MD, least_M, most_M = self.sums
        below, above = np.isfinite(least_M), np.isfinite(most_M)
        return np.vstack([sum_MD[below], -sum_MD[above]]), np.concatenate([least_M[below], -most_M[above]])

    def contains(self, w_D: Array, tolerance: float = 1e-6) -> bool:
        """Whether `w_D` meets every bound within `tolerance`."""
        if abs(float(np.sum(w_D)) - 1) > tolerance:
            return False
        if np.any(w_D < self.low_D - tolerance) or np.any(w_D > self.high_D + tolerance):
            return False
        sum_MD, least_M, most_M = self.sums
        sum_M = sum_MD @ w_D
        return bool(np.all(sum_M >= least_M - tolerance) and np.all(sum_M <= most_M + tolerance))

    def project(self, v_D: Array) -> Array:
        """The mixture in the set nearest to `v_D` in Euclidean distance, to about 1e-12.

        The optimality conditions give w_i = clip(v_i - level - m_g, low_i, high_i), m_g = 0 unless a bound of group g
        binds. So one bisection finds the level, counting each group's sum as clipped to its bounds, and a search,
        inside each group that is bound, finds the level of that group. Rows need an active-set method (`mixture.rows`).
        """
        v_D = np.asarray(v_D, np.float64)
        if v_D.shape != (len(self.domains),) or not np.all(np.isfinite(v_D)):
            raise UsageError(f"got {v_D.tolist()} to project", wanted=f"{len(self.domains)} finite numbers")
        if self.rows:
            found = self._nearest(v_D)
            assert not isinstance(found, Clash), "the set is not empty"
            return found
        if not self.groups:
            return _fill(v_D, self.low_D, self.high_D, 1.0)
        parts = self._parts

        def total(level: float) -> float:
            moved_D = _within(v_D - level, self.low_D, self.high_D)
            return float(sum(min(max(moved_D[index].sum(), least), most) for index, least, most in parts))

        level = _bisect(total, 1.0, *_bracket(v_D, self.low_D, self.high_D))
        w_D = np.clip(v_D - level, self.low_D, self.high_D)
        pinned = np.zeros(len(w_D), bool)
        for index, least, most in parts:
            wanted = min(max(w_D[index].sum(), least), most)
            if wanted != w_D[index].sum():
                w_D[index] = _fill(v_D[index], self.low_D[index], self.high_D[index], wanted)
                pinned[index] = True
        return _spread(w_D, 1.0, self.low_D, self.high_D, pinned)

    def project_mixture(self, mixture: Mixture) -> Mixture:
        """The mixture in the set nearest to `mixture`; itself when it is in the set."""
        if self.contains(mixture.shares, 1e-9):
            return mixture
        return Mixture.from_array(self.domains, self.project(mixture.shares))

    @cached_property
    def _parts(self) -> list[tuple[Indexes, float, float]]:
        """Positions, least and most sum of each group, with the domains in no group as a part without bounds."""
        grouped = {d for g in self.groups for d in g.domains}
        rest = np.array([i for i, d in enumerate(self.domains) if d not in grouped], np.intp)
        bounds = [(index, g.min_share, g.max_share) for index, g in zip(self.group_indexes, self.groups, strict=True)]
        return [*bounds, (rest, -np.inf, np.inf)]

    def _check_groups(self) -> None:
        seen: dict[str, str] = {}
        for group in self.groups:
            for domain in group.domains:
                if domain not in self.domains:
                    raise UsageError(
                        f"group {group.name!r}: no domain {domain!r}", wanted=f"one of {', '.join(self.domains)}"
                    )
                if domain in seen:
                    raise UsageError(
                        f"domain {domain!r} is in the groups {seen[domain]!r} and {group.name!r}",
                        wanted="groups that share no domain",
                        fix="write one of them as a row, with a coefficient of 1 for each of its domains",
                    )
                seen[domain] = group.name

    def _check_domain_bounds(self) -> None:
        for domain, low, high in zip(self.domains, self.low, self.high, strict=True):
            if low > 1 + SLACK or high < -SLACK:
                raise InfeasibleError(f"{domain}: floor {low:.4g}, cap {high:.4g}", wanted="a share between 0 and 1")
            if max(low, 0.0) > min(high, 1.0) + SLACK:
                raise InfeasibleError(
                    f"{domain}: its floor {low:.4g} is above its cap {high:.4g} by {low - high:.4g}",
                    wanted="floor <= cap; caps in tokens and epochs count as shares of the target run",
                    fix=f"lower the floor of {domain}, allow more epochs of it, or lower target_tokens",
                )

    def _check_group_bounds(self) -> None:
        for group, index in zip(self.groups, self.group_indexes, strict=True):
            floors, caps = float(self.low_D[index].sum()), float(self.high_D[index].sum())
            if group.min_share > group.max_share + SLACK:
                raise InfeasibleError(
                    f"group {group.name!r}: its floor {group.min_share:.4g} is above its cap {group.max_share:.4g}",
                    wanted="min_share <= max_share",
                )
            clash = ""
            if floors > group.max_share + SLACK:
                clash = f"the floors of its domains sum to {floors:.4g}, above its cap {group.max_share:.4g}"
            if caps < group.min_share - SLACK:
                clash = f"the caps of its domains sum to {caps:.4g}, below its floor {group.min_share:.4g}"
            if clash:
                gap = max(floors - group.max_share, group.min_share - caps)
                raise InfeasibleError(
                    f"group {group.name!r}: {clash} by {gap:.4g}",
                    wanted="bounds of the group that its domains can meet",
                    fix=f"loosen the group or the bounds of {', '.join(group.domains)}",
                )

    def _check_sums(self) -> None:
        least = most = 0.0
        for index, low, high in self._parts:
            least += max(float(self.low_D[index].sum()), low)
            most += min(float(self.high_D[index].sum()), high)
        if most < 1 - 1e-9:
            raise InfeasibleError(
                f"the caps sum to {most:.4g}, {1 - most:.4g} short of 1: {self._largest(self.high_D, self.high_D < 1)}",
                wanted="caps that allow the shares to sum to 1",
                fix=f"allow {1 / most:.3g} times the epochs, or lower target_tokens to {most:.3g} of itself"
                if most > 0
                else "raise caps",
            )
        if least > 1 + 1e-9:
            raise InfeasibleError(
                f"the floors sum to {least:.4g}, {least - 1:.4g} above 1: {self._largest(self.low_D, self.low_D > 0)}",
                wanted="floors that sum to at most 1",
                fix="lower some min_share",
            )

    def _check_rows(self) -> None:
        for row in self.rows:
            unknown = [d for d, _ in row.coefficients if d not in self.domains]
            if unknown:
                raise UsageError(
                    f"row {row.name!r}: no domain {unknown[0]!r}", wanted=f"one of {', '.join(self.domains)}"
                )
            factors = [c for _, c in row.coefficients]
            if not np.all(np.isfinite(factors)) or not np.any(factors) or not row.low <= row.high:
                raise UsageError(
                    f"row {row.name!r}: got coefficients {factors}, bounds {row.low} to {row.high}",
                    wanted="finite coefficients, not all zero, and low <= high",
                )
            if not (row.low < np.inf and row.high > -np.inf) or (row.low == -np.inf and row.high == np.inf):
                raise UsageError(f"row {row.name!r}: got bounds {row.low} to {row.high}", wanted="low, high or both")
        clash = self._nearest(np.full(len(self.domains), 1.0 / len(self.domains))) if self.rows else None
        if isinstance(clash, Clash):
            parts = self._named(clash)
            raise InfeasibleError(
                f"no mixture meets these {len(parts)} bounds together: {'; '.join(parts)}"
                if len(parts) > 1
                else f"no mixture meets {parts[0]}",
                wanted="bounds that some mixture meets; each is said with how far it alone would have to give way",
                fix="loosen one of them by at least that; none of the others has a part in this clash",
            )

    def _nearest(self, v_D: Array) -> Array | Clash:
        """The projection with rows, or what clashes."""
        level = _level(v_D, self.low_D, self.high_D, 1.0)
        return nearest(v_D, level, Halfspaces(*self.halfspaces, self.low_D, self.high_D))

    def _named(self, clash: Clash) -> list[str]:
        """The bounds of a clash, but those that cannot give way: no share is below 0 or above 1."""
        _, least_M, most_M = self.sums
        names = [*(f"the sum of group {g.name!r}" for g in self.groups), *(_formula(r) for r in self.rows)]
        below = [f"{n} >= {x:.4g}" for n, x in zip(names, least_M, strict=True) if np.isfinite(x)]
        above = [f"{n} <= {x:.4g}" for n, x in zip(names, most_M, strict=True) if np.isfinite(x)]
        floors = [f"{d} >= {x:.4g}" for d, x in zip(self.domains, self.low_D, strict=True)]
        caps = [f"{d} <= {x:.4g}" for d, x in zip(self.domains, self.high_D, strict=True)]
        by_D = np.where(self.low_D > 0, clash.low_by_D, np.inf), np.where(self.high_D < 1, clash.high_by_D, np.inf)
        triples = zip([*below, *above, *floors, *caps], np.concatenate([clash.by_M, *by_D]), strict=True)
        return [f"{name} (by {by:.4g})" for name, by in triples if np.isfinite(by)]

    def _largest(self, bounds_D: Array, which_D: Bools, most: int = 8) -> str:
        """The bounds named, the largest first, and those of groups."""
        order: Sequence[int] = [int(i) for i in np.argsort(-bounds_D, kind="stable") if which_D[i]]
        named = [f"{self.domains[i]} {bounds_D[i]:.4g}" for i in order[:most]]
        named += [f"{len(order) - most} more"] if len(order) > most else []
        named += [f"group {g.name} {g.min_share:.4g} to {g.max_share:.4g}" for g in self.groups]
        return ", ".join(named)


def _formula(row: Row) -> str:
    """A row as people write it, with its name."""
    terms = [f"{'-' if c < 0 else '+'} {'' if abs(c) == 1 else f'{abs(c):.4g} '}{d}" for d, c in row.coefficients]
    more = f" and {len(terms) - 6} more" if len(terms) > 6 else ""
    return f"row {row.name!r}: {' '.join(terms[:6]).removeprefix('+ ')}{more}"


def _bracket(v_D: Array, low_D: Array, high_D: Array) -> tuple[float, float]:
    """Levels at which every share is at its cap and at its floor."""
    return float((v_D - high_D).min()) - 1.0, float((v_D - low_D).max()) + 1.0


def _bisect(total: Callable[[float], float], wanted: float, left: float, right: float) -> float:
    """The level where the falling function `total` meets `wanted`."""
    for _ in range(52):  # to the last bit or two of the bracket; `_spread` takes up what is left
        middle = 0.5 * (left + right)
        left, right = (middle, right) if total(middle) > wanted else (left, middle)
    return 0.5 * (left + right)


def _level(v_D: Array, low_D: Array, high_D: Array, wanted: float) -> float:
    """The level where clip(v - level, low, high) sums to `wanted`: the sum is linear between v - high and v - low."""
    point_P = np.concatenate([v_D - high_D, v_D - low_D])
    order_P = np.argsort(point_P, kind="stable")
    point_P = point_P[order_P]
    slope_P = np.cumsum(np.where(order_P < len(v_D), -1.0, 1.0))
    total_P = high_D.sum() + np.concatenate([[0.0], np.cumsum(slope_P[:-1] * np.diff(point_P))])
    k = int(np.clip(np.searchsorted(-total_P, -wanted), 1, len(point_P) - 1))
    fall = total_P[k - 1] - total_P[k]
    part = (total_P[k - 1] - wanted) / fall if fall > 0 else 0.0
    return float(point_P[k - 1] + np.clip(part, 0.0, 1.0) * (point_P[k] - point_P[k - 1]))


def _within(v_D: Array, low_D: Array, high_D: Array) -> Array:
    """`numpy.clip`, which takes four times as long for few numbers."""
    return np.asarray(np.minimum(np.maximum(v_D, low_D), high_D), np.float64)


def _fill(v_D: Array, low_D: Array, high_D: Array, wanted: float) -> Array:
    """clip(v - level, low, high) with the level at which it sums to `wanted`."""
    w_D = _within(v_D - _level(v_D, low_D, high_D, wanted), low_D, high_D)
    return _spread(w_D, wanted, low_D, high_D, np.zeros(len(w_D), bool))


def _spread(w_D: Array, wanted: float, low_D: Array, high_D: Array, pinned: Bools) -> Array:
    """`w_D` with the rounding left of the search for a level spread over shares that are strictly inside their bounds."""
    free = ~pinned & (w_D > low_D) & (w_D < high_D)
    if not free.any():
        return w_D
    moved = w_D.copy()
    moved[free] += (wanted - w_D.sum()) / free.sum()
    moved = np.clip(moved, low_D, high_D)
    return np.where(moved - low_D < 1e-14, low_D, moved)
