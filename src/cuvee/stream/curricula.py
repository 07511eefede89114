"""Length curricula: which share of the tokens each (domain, length) has at each time of training.

A curriculum gives a table q_DK whose rows sum to the mixture's shares, so domain shares hold at all times whatever the lengths do.
`Natural` takes every domain's lengths as they come. `Odds` goes through them from short to long and ends every cycle at
natural, after the curricula of Pouransari et al. 2024. `Shares` states the share of each length, fitted to both margins by
iterative proportional fitting (Deming and Stephan 1940): of all tables with these margins, the one nearest to natural.
Letters: D domains, K lengths from the shortest to the longest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import InfeasibleError, UsageError

Array = NDArray[np.float64]
_ROUNDS = 5000
_CLOSE = 1e-10


class Curriculum(Protocol):
    """A frozen dataclass of its settings, which its `repr` tells whole: lengths over the tokens of training."""

    @property
    def starts(self) -> tuple[int, ...]:
        """Where the wanted shares of lengths jump; none if every mixture has a table, so that none need be checked."""

    def check(self, lengths: int) -> None:
        """Refuse to be used with so many lengths.

        Raises:
            UsageError: its settings are for another number.
        """

    def joint(self, tokens: int, w_D: Array, natural_DK: Array) -> Array:
        """The share of all tokens of each domain and length after `tokens` tokens of training, shape (D, K).

        Args:
            w_D: Shares of the domains, summing to 1; those of the result's rows.
            natural_DK: Share of each domain's tokens that each length holds; rows sum to 1, or to 0 where w_D is 0.

        Raises:
            InfeasibleError: no table has the margins wanted.
        """

    def steady(self, tokens: int) -> int | None:
        """The first position after `tokens` at which the table may be another; None if it stays."""


@dataclass(frozen=True)
class Natural:
    """Every domain's lengths in the proportion in which it has them."""

    starts: ClassVar[tuple[int, ...]] = ()

    def check(self, lengths: int) -> None:
        """Any number of lengths will do."""

    def joint(self, tokens: int, w_D: Array, natural_DK: Array) -> Array:
        """Shares times natural, shape (D, K)."""
        return w_D[:, None] * natural_DK

    def steady(self, tokens: int) -> int | None:
        """None: it never changes."""
        return None


@dataclass(frozen=True)
class Odds:
    """Lengths picked at `odds` from what is left of them: a cycle begins at the odds and ends with what they left over.

    In a cycle each domain gives every length in proportion to what it has of it, in an order that the odds make: the mean
    course of algorithm 1 of Pouransari et al., which draws the length of each batch at the odds of those that have something
    left. Here nothing is drawn, and each domain goes through its own lengths. The scripts released with the paper differ: they
    multiply the odds by the tokens that a length has, so that all lengths run out later. No piece is repeated more often than
    the others of its domain.

    Args:
        odds: Of each length, from the shortest to the longest.
        tokens: Of the run; after them it begins again.
        cycles: Times from short to long within the run.
        steps: Pieces of a cycle within which the table stays; each has the exact mean of its time.

    Raises:
        UsageError: an odd that is not positive; tokens, cycles or steps below 1.
    """

    odds: tuple[float, ...]
    tokens: int
    cycles: int = 8
    steps: int = 16
    starts: ClassVar[tuple[int, ...]] = ()

    def __post_init__(self) -> None:
        positive = all(0 < odd < math.inf for odd in self.odds)
        if not positive or min(self.cycles, self.steps) < 1 or self.tokens < self.cycles * self.steps:
            raise UsageError(
                f"got odds {self.odds}, {self.tokens} tokens, {self.cycles} cycles of {self.steps} steps",
                wanted="positive odds, and at least one token for each step of each cycle",
            )

    def check(self, lengths: int) -> None:
        """Refuse another number of lengths.

        Raises:
            UsageError: there is not one odd for each.
        """
        if len(self.odds) != lengths:
            raise UsageError(f"got odds of {len(self.odds)} lengths", wanted=f"{lengths}, one for each length")

    def joint(self, tokens: int, w_D: Array, natural_DK: Array) -> Array:
        """The mean table of the step that `tokens` falls in, shape (D, K)."""
        step = tokens * self.cycles * self.steps // self.tokens % self.steps
        active = np.flatnonzero(w_D)
        odds_K, table_DK = np.array(self.odds), np.zeros_like(natural_DK)
        begin_DK, end_DK = (_given(natural_DK[active], odds_K, (step + n) / self.steps) for n in (0, 1))
        table_DK[active] = w_D[active, None] * np.maximum(end_DK - begin_DK, 0) * self.steps
        return table_DK

    def steady(self, tokens: int) -> int | None:
        """Where the next step begins."""
        steps = self.cycles * self.steps
        step = tokens * steps // self.tokens + 1
        return -(-step * self.tokens // steps)


def _given(natural_DK: Array, odds_K: Array, part: float) -> Array:
    """How much of each length has been given when `part` of a cycle has: min(natural, odds x time), shape (D, K)."""
    if part >= 1:
        return natural_DK
    ends_DK = np.sort(natural_DK / odds_K, axis=1)  # times at which lengths run out
    given_DK = np.minimum(natural_DK[:, None, :], odds_K * ends_DK[:, :, None]).sum(2)
    last_D = np.minimum((given_DK <= part).sum(1), odds_K.size - 1)[:, None]  # the next to run out
    before_D = np.maximum(last_D - 1, 0)
    begun_D = last_D > 0
    time_D, done_D = (np.where(begun_D, np.take_along_axis(x, before_D, 1), 0.0) for x in (ends_DK, given_DK))
    rest_D = np.take_along_axis(given_DK, last_D, 1) - done_D
    span_D = np.take_along_axis(ends_DK, last_D, 1) - time_D
    time_D = time_D + span_D * np.divide(part - done_D, rest_D, out=np.ones_like(rest_D), where=rest_D > 0)
    given: Array = np.minimum(natural_DK, odds_K * time_D)
    return given


def uniform(lengths: int, tokens: int, *, cycles: int = 8) -> Odds:
    """Every length at the same odds; "Uniform" of the paper's table 2."""
    return Odds((1.0,) * lengths, tokens, cycles)


def grow_linear(lengths: int, tokens: int, *, cycles: int = 8) -> Odds:
    """From short to long: odds K, K-1, ... 1; "Grow-Linear" of the paper's table 2."""
    return Odds(tuple(float(lengths - k) for k in range(lengths)), tokens, cycles)


def grow_p2(lengths: int, tokens: int, *, cycles: int = 8) -> Odds:
    """From short to long, faster: every length at half the odds of the one before; "Grow-P2" of the paper's table 2."""
    return Odds(tuple(2.0 ** (lengths - 1 - k) for k in range(lengths)), tokens, cycles)


@dataclass(frozen=True)
class Shares:
    """The share of each length stated: `stages` are (tokens, shares from the shortest to the longest), the first at 0.

    Raises:
        UsageError: no stages, a first start other than 0, starts that do not rise, shares that are negative or all zero.
    """

    stages: tuple[tuple[int, tuple[float, ...]], ...]

    def __post_init__(self) -> None:
        starts = [start for start, _ in self.stages]
        if not starts or starts[0] != 0 or any(b <= a for a, b in pairwise(starts)):
            raise UsageError(f"got stages that start at {starts}", wanted="starts that rise from 0")
        for _, shares in self.stages:
            if not all(0 <= share < math.inf for share in shares) or not sum(shares) > 0:
                raise UsageError(f"got the shares {shares}", wanted="finite, non-negative, not all zero")

    @property
    def starts(self) -> tuple[int, ...]:
        """Where the stages begin."""
        return tuple(start for start, _ in self.stages)

    def check(self, lengths: int) -> None:
        """Refuse another number of lengths.

        Raises:
            UsageError: a stage does not have one share for each.
        """
        for _, shares in self.stages:
            if len(shares) != lengths:
                raise UsageError(f"got shares of {len(shares)} lengths", wanted=f"{lengths}, one for each length")

    def joint(self, tokens: int, w_D: Array, natural_DK: Array) -> Array:
        """The table nearest to natural with both margins, shape (D, K).

        Raises:
            InfeasibleError: there is none.
        """
        shares = next(shares for start, shares in reversed(self.stages) if start <= tokens)
        v_K = np.array(shares) / math.fsum(shares)
        _refuse_short(natural_DK > 0, w_D, v_K)
        return fit(w_D[:, None] * natural_DK, w_D, v_K)

    def steady(self, tokens: int) -> int | None:
        """Where the next stage begins; None in the last."""
        return next((start for start, _ in self.stages if start > tokens), None)


def fit(q_DK: Array, w_D: Array, v_K: Array) -> Array:
    """The table with rows that sum to `w_D` and columns to `v_K`, within 1e-10, that is nearest to `q_DK`; shape (D, K).

    Nearest in relative entropy; a cell that is 0 stays 0. Sums are correctly rounded, so that every machine gets the same.

    Raises:
        InfeasibleError: there is none: some domains have too little of the lengths wanted.
    """
    for _ in range(_ROUNDS):
        q_DK = q_DK * _ratio(v_K, _sums(q_DK.T))[None, :]
        rows_D = _sums(q_DK)
        off_D = np.abs(rows_D - w_D)
        q_DK = q_DK * _ratio(w_D, rows_D)[:, None]
        if max(float(off_D.max()), float(np.abs(_sums(q_DK.T) - v_K).max())) < _CLOSE:
            return q_DK
    raise InfeasibleError(
        f"the shares of lengths {_round(v_K)} do not fit the domain shares {_round(w_D)} and the lengths of their documents",
        wanted="for every set of lengths, no more than the domains that have them are given",
        fix="lengths nearer to natural, or the curriculum `Odds`, which moves each domain within its own lengths",
    )


def _refuse_short(has_DK: NDArray[np.bool_], w_D: Array, v_K: Array) -> None:
    """Hall's condition: no set of lengths may be given less than the domains that have no others.

    Checked for the sets that some domain has. What only fails for a union of them, `fit` finds out by not coming to an end.
    """
    for has_K in np.unique(has_DK[w_D > 0], axis=0):
        only = w_D[~(has_DK & ~has_K).any(1)]
        if math.fsum(only) > math.fsum(v_K[has_K]) + _CLOSE:
            raise InfeasibleError(
                f"domains with {math.fsum(only):.4g} of the tokens have documents for the lengths number "
                f"{(np.flatnonzero(has_K) + 1).tolist()} only; the shares of lengths {_round(v_K)} do not fit that",
                wanted=f"at least that share for these lengths together, not {math.fsum(v_K[has_K]):.4g}",
                fix="lengths nearer to natural, or the curriculum `Odds`, which moves each domain within its own lengths",
            )


def _sums(table: Array) -> Array:
    return np.array([math.fsum(row) for row in table.tolist()])


def _ratio(wanted: Array, found: Array) -> Array:
    return np.divide(wanted, found, out=np.zeros_like(wanted), where=found > 0)


def _round(values: Array) -> list[float]:
    return [round(v, 4) for v in values.tolist()]
