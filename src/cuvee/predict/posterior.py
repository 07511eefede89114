"""What a fit says of mixtures, and how sure: one fit to all blocks and one without each block.

A block's seed bends all its runs together, which no number of runs in the block averages out, so the blocks are the
sample: the interval of a difference is the delete-one-block jackknife of the whole fit with Student's t on B - 1 degrees
of freedom (Shao & Tu 1995, The Jackknife and Bootstrap, section 2.3). With one block there is no interval (NaN).

Letters: N mixtures, D domains, T targets, B blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import stdtr, stdtrit

from cuvee.mixture.weights import Array
from cuvee.predict.table import Table

LEVEL = 0.90
"""Nominal coverage of every interval."""


class Fit(Protocol):
    """A fitted surface: predicted losses in bits/byte at the mean of the blocks' offsets."""

    def loss(self, w_ND: Array) -> Array:
        """Losses, shape N x T."""

    def gradient(self, w_D: Array) -> Array:
        """Derivatives of the losses by the shares at one mixture, shape T x D."""

    def convex(self, a_T: Array) -> bool:
        """Whether the mean of the targets with weights `a_T` is convex in the shares."""


class Predictor(Protocol):
    """A frozen dataclass of hyperparameters that turns a table into a posterior."""

    def fit(self, table: Table) -> Posterior:
        """The posterior given the table; rows of one block share an unknown offset per target."""


@dataclass(frozen=True)
class Difference:
    """A difference in bits/byte: its mean, standard error, 90 % interval, P(difference < 0), degrees of freedom."""

    mean: float
    error: float
    low: float
    high: float
    p_below: float
    freedom: int

    def probability_below(self, bound: float) -> float:
        """P(difference < bound); NaN without an interval."""
        if math.isnan(self.error):
            return math.nan
        if self.error == 0:
            return float(self.mean < bound) if self.mean != bound else 0.5
        return float(stdtr(self.freedom, (bound - self.mean) / self.error))


@dataclass(frozen=True, eq=False)
class Posterior:
    """Predictions over mixtures and targets jointly.

    Args:
        full: The fit to all blocks.
        replicates: Block -> the fit to all other blocks; empty when there is one block.
    """

    full: Fit
    replicates: dict[int, Fit]

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the intervals, B - 1; 0 with one block."""
        return max(len(self.replicates) - 1, 0)

    def mean(self, w_ND: Array) -> Array:
        """Predicted losses in bits/byte, shape N x T."""
        return self.full.loss(w_ND)

    def value(self, w_D: Array, base_D: Array, a_T: Array) -> float:
        """The mean of targets with weights `a_T` at `w_D` minus that at `base_D`."""
        return _difference(self.full, w_D, base_D, a_T)

    def slope(self, w_D: Array, a_T: Array) -> Array:
        """Derivatives of the weighted mean of targets by the shares, shape D."""
        return np.asarray(a_T @ self.full.gradient(w_D), np.float64)

    def error(self, w_D: Array, base_D: Array, a_T: Array) -> float:
        """The jackknife's standard error of `value`; NaN with fewer than two blocks."""
        if self.freedom == 0:
            return math.nan
        return float(np.sqrt(_variance(self._values(w_D, base_D, a_T))))

    def error_slope(self, w_D: Array, base_D: Array, a_T: Array) -> Array:
        """Derivatives of `error` by the shares of `w_D`, shape D."""
        values_B = self._values(w_D, base_D, a_T)
        slopes_BD = np.array([a_T @ fit.gradient(w_D) for fit in self.replicates.values()])
        error = max(float(np.sqrt(_variance(values_B))), 1e-9)
        count = len(values_B)
        return np.asarray((count - 1) / count * (values_B - values_B.mean()) @ slopes_BD / error, np.float64)

    def difference(self, w_D: Array, base_D: Array, a_T: Array) -> Difference:
        """The weighted mean of targets at `w_D` minus that at `base_D`, with its interval."""
        mean, error, freedom = self.value(w_D, base_D, a_T), self.error(w_D, base_D, a_T), self.freedom
        half = float(stdtrit(freedom, 0.5 + LEVEL / 2)) * error if freedom else math.nan
        bare = Difference(mean, error, mean - half, mean + half, math.nan, freedom)
        return Difference(mean, error, bare.low, bare.high, bare.probability_below(0.0), freedom)

    def _values(self, w_D: Array, base_D: Array, a_T: Array) -> Array:
        return np.array([_difference(fit, w_D, base_D, a_T) for fit in self.replicates.values()])


def jackknife(table: Table, fit: Callable[[Table, Fit | None], Fit]) -> Posterior:
    """The posterior of `fit(table, start)`: to all rows, and from there to all rows but each block's."""
    full = fit(table, None)
    blocks = table.blocks if len(table.blocks) > 1 else ()
    return Posterior(full, {block: fit(table.without_block(block), full) for block in blocks})


def _difference(fit: Fit, w_D: Array, base_D: Array, a_T: Array) -> float:
    loss_2T = fit.loss(np.stack([w_D, base_D]))
    return float((loss_2T[0] - loss_2T[1]) @ a_T)


def _variance(values_B: Array) -> float:
    count = len(values_B)
    return float((count - 1) / count * np.sum((values_B - values_B.mean()) ** 2))
