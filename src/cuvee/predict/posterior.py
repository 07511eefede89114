"""What a fit says of mixtures, and how sure: one fit to all blocks and one without each block.

A block's seed bends all its runs together, which no number of runs in the block averages out, so the blocks are the
sample: the error of a difference is the delete-one-block jackknife of the whole fit (Shao & Tu 1995, The Jackknife and
Bootstrap, section 2.3). With one block there is no interval (NaN).

Few blocks make a poor variance: with four there are mixtures where all replicates agree by chance, and an optimiser under
a guard finds them. So half of the variance is pooled: how much further than usual the replicates part at this mixture, on
average over all targets, times the usual variance of the target (or mean of targets) asked for.

An interval differs from a guard's error in two ways. Its variance is a quadratic form in all targets' replicates, so it has
more degrees of freedom than the B - 1 of one target, by how little targets move together (Satterthwaite 1946; Box 1954,
theorem 3.1). And blocks do not tell what the model misses in all of them: the spread between the models that were
candidates, weighted by how well they predict unseen blocks, is added (Buckland, Burnham & Augustin 1997, Model selection:
an integral part of inference; weights by stacking, Breiman 1996). Guards keep the jackknife alone with t on B - 1.

Letters: N mixtures, D domains, T targets, B blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self

import numpy as np
from scipy.special import stdtr, stdtrit

from cuvee.mixture.weights import Array
from cuvee.predict.table import Table

LEVEL = 0.90
"""Nominal coverage of every interval."""
FEW = 4
"""With fewer blocks covariances between targets are no ground for more than B - 1 degrees of freedom."""
MOST_FREEDOM = 1000


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


class Part(Protocol):
    """A predictor that can be a part of another."""

    def fit_once(self, table: Table, start: Fit | None) -> Fit:
        """One fit to all rows of the table, from `start` when given."""


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
class Rivals:
    """Two models of the same runs, and how well each predicts the blocks that it did not see.

    Args:
        one, other: Their fits to all blocks.
        parted_TT: Products of targets of what `other` predicts of unseen blocks minus what `one` does, summed over runs.
        crossed_TT: The same of that difference (rows) with the error of `one` (columns).
    """

    one: Fit
    other: Fit
    parted_TT: Array
    crossed_TT: Array

    def share(self, a_T: Array) -> float:
        """The weight of `other` in the mean of both that best predicts unseen blocks, from 0 to 1 (stacking)."""
        parted = float(a_T @ self.parted_TT @ a_T)
        return float(np.clip(-(a_T @ self.crossed_TT @ a_T) / parted, 0.0, 1.0)) if parted > 0 else 0.0

    def spread(self, value: float, w_D: Array, base_D: Array, a_T: Array) -> float:
        """Mean squared distance of the models' differences from the reported `value`, (bits/byte) squared."""
        share = self.share(a_T)
        one, other = (_difference(fit, w_D, base_D, a_T) - value for fit in (self.one, self.other))
        return (1 - share) * one**2 + share * other**2


@dataclass(frozen=True, eq=False)
class Posterior:
    """Predictions over mixtures and targets jointly.

    Args:
        full: The fit to all blocks.
        replicates: Block -> the fit to all other blocks; empty when there is one block.
        usual_TT: The jackknife's covariance between targets, the mean over the table's runs.
        rivals: The models that were candidates; None where there was one.
    """

    full: Fit
    replicates: dict[int, Fit]
    usual_TT: Array
    rivals: Rivals | None = None

    @classmethod
    def of(cls, full: Fit, replicates: dict[int, Fit], shares_ND: Array) -> Self:
        """The posterior of fits to runs at `shares_ND`."""
        size = full.loss(shares_ND[:1]).shape[1]
        usual_TT = np.zeros((size, size))
        if len(replicates) > 1:
            loss_BNT = np.array([fit.loss(shares_ND) for fit in replicates.values()])
            loss_BNT -= loss_BNT.mean(1, keepdims=True)
            loss_BNT -= loss_BNT.mean(0)
            usual_TT = _scale(len(replicates)) * np.einsum("bnt,bnu->tu", loss_BNT, loss_BNT) / len(shares_ND)
        return cls(full, replicates, usual_TT)

    @property
    def freedom(self) -> int:
        """Degrees of freedom of one target's jackknife, B - 1; 0 with one block."""
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
        """The standard error of `value`: jackknife and pooled variance in equal parts; NaN with fewer than two blocks."""
        if self.freedom == 0:
            return math.nan
        return float(np.sqrt(self._variance(self._parted(w_D, base_D), a_T)))

    def error_slope(self, w_D: Array, base_D: Array, a_T: Array) -> Array:
        """Derivatives of `error` by the shares of `w_D`, shape D."""
        parted_BT = self._parted(w_D, base_D)
        slopes_BTD = np.array([fit.gradient(w_D) for fit in self.replicates.values()])
        own_D = (parted_BT @ a_T) @ (a_T @ slopes_BTD)
        pooled_D = np.einsum("bt,btd->d", parted_BT * self._per_usual, slopes_BTD) * float(a_T @ self.usual_TT @ a_T)
        error = max(float(np.sqrt(self._variance(parted_BT, a_T))), 1e-9)
        return np.asarray(_scale(len(parted_BT)) * 0.5 * (own_D + pooled_D) / error, np.float64)

    def difference(self, w_D: Array, base_D: Array, a_T: Array) -> Difference:
        """The weighted mean of targets at `w_D` minus that at `base_D`, with its interval."""
        mean, error = self.value(w_D, base_D, a_T), self.error(w_D, base_D, a_T)
        spread = self.rivals.spread(mean, w_D, base_D, a_T) if self.rivals else 0.0
        total = math.sqrt(error**2 + spread)
        freedom = self.freedom
        if len(self.replicates) >= FEW and error > 0:
            # Satterthwaite's sum of two variances, that between models counting as known
            freedom = math.floor(min(self._own_freedom(a_T) * (total / error) ** 4, MOST_FREEDOM))
        half = float(stdtrit(freedom, 0.5 + LEVEL / 2)) * total if freedom else math.nan
        bare = Difference(mean, total, mean - half, mean + half, math.nan, freedom)
        return Difference(mean, total, bare.low, bare.high, bare.probability_below(0.0), freedom)

    def _own_freedom(self, a_T: Array) -> float:
        """Degrees of freedom of `error` squared: B - 1 where all targets move as one, more the less they do."""
        usual = float(a_T @ self.usual_TT @ a_T)
        form_TT = (np.outer(a_T, a_T) + usual * np.diag(self._per_usual)) @ self.usual_TT
        square = float(np.sum(form_TT * form_TT.T))
        # 1e-9: rounding must not take a whole degree of freedom
        return self.freedom * max(float(np.trace(form_TT)) ** 2 / square, 1.0) + 1e-9 if square > 0 else self.freedom

    def _parted(self, w_D: Array, base_D: Array) -> Array:
        """How the replicates' differences part from their mean, shape B x T."""
        pair_2D = np.stack([w_D, base_D])
        loss_B2T = np.array([fit.loss(pair_2D) for fit in self.replicates.values()])
        difference_BT = loss_B2T[:, 0] - loss_B2T[:, 1]
        return np.asarray(difference_BT - difference_BT.mean(0), np.float64)

    def _variance(self, parted_BT: Array, a_T: Array) -> float:
        own = np.sum((parted_BT @ a_T) ** 2)
        pooled = np.sum(parted_BT**2 * self._per_usual) * (a_T @ self.usual_TT @ a_T)
        return float(_scale(len(parted_BT)) * 0.5 * (own + pooled))

    @cached_property
    def _per_usual(self) -> Array:
        """1 / (T x usual variance) of each target, shape T; 0 for targets that never vary."""
        usual_T = np.diag(self.usual_TT)
        return np.asarray(np.where(usual_T > 1e-18, 1.0 / np.maximum(usual_T, 1e-18), 0.0) / len(usual_T), np.float64)


def jackknife(table: Table, fit: Callable[[Table, Fit | None], Fit]) -> Posterior:
    """The posterior of `fit(table, start)`: to all rows, and from there to all rows but each block's."""
    full = fit(table, None)
    blocks = table.blocks if len(table.blocks) > 1 else ()
    return Posterior.of(full, {block: fit(table.without_block(block), full) for block in blocks}, table.shares_ND)


def _difference(fit: Fit, w_D: Array, base_D: Array, a_T: Array) -> float:
    loss_2T = fit.loss(np.stack([w_D, base_D]))
    return float((loss_2T[0] - loss_2T[1]) @ a_T)


def _scale(blocks: int) -> float:
    """The factor of the delete-one jackknife's sum of squares."""
    return (blocks - 1) / blocks
