"""What a fit says of mixtures, and how sure: one fit to all runs, one without each group of them, and what no run says.

**Groups.** A block's seed bends all its runs together, which no number of runs in the block averages out, so the blocks are the
sample: the error of a difference by noise is the delete-one-block jackknife of the whole fit (Shao & Tu 1995, The Jackknife and
Bootstrap, section 2.3). With one block the groups are `FOLDS` parts of its runs (Kott 2001, The delete-a-group jackknife): that
holds the noise of runs and nothing of how another seed would bend them.

Few groups make a poor variance: with four there are mixtures where all replicates agree by chance, and an optimiser under
a guard finds them. So half of the variance is pooled: how much further than usual the replicates part at this mixture, on
average over all targets, times the usual variance of the target (or mean of targets) asked for.

**Doubts.** Far from every run all replicates extrapolate alike, so the jackknife sees little error there. What no run says is
added in squares by `doubts`: causes of error that a model tells (`cuvee.predict.doubts`).

An interval is Student's t. The jackknife's variance is a quadratic form in all targets' replicates, so it has more degrees of
freedom than the G - 1 of one target, by how little targets move together (Satterthwaite 1946; Box 1954, theorem 3.1), and the
more the larger the doubts are, which count as known.

Letters: N mixtures, D domains, T targets, G groups of runs, R rows of a factor, S draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from scipy.special import stdtr, stdtrit

from cuvee.base.errors import UsageError
from cuvee.mixture.weights import Array
from cuvee.predict.lifted import completed
from cuvee.predict.table import Integers, Table

LEVEL = 0.90
"""Nominal coverage of every interval."""
FEW = 4
"""With fewer blocks covariances between targets are no ground for more than B - 1 degrees of freedom."""
FOLDS = 8
"""Parts of a table that has one block."""
MOST_FREEDOM = 1000

F = TypeVar("F")
"""A fit, or several."""


class Fit(Protocol):
    """A fitted surface: predicted losses in bits/byte at the mean of the blocks' offsets."""

    def loss(self, w_ND: Array) -> Array:
        """Losses, shape N x T."""


@runtime_checkable
class Smooth(Fit, Protocol):
    """A surface with derivatives."""

    def gradient(self, w_D: Array) -> Array:
        """Derivatives of the losses by the shares at one mixture, shape T x D."""

    def convex(self, a_T: Array) -> bool:
        """Whether the mean of the targets with weights `a_T` is convex in the shares."""


class Predictor(Protocol):
    """A frozen dataclass of hyperparameters that turns a table into a posterior."""

    def fit(self, table: Table) -> Posterior:
        """The posterior given the table; rows of one block share an unknown offset per target."""


class Member(Predictor, Protocol):
    """A predictor that can be a part of others."""

    def fit_once(self, table: Table, start: Fit | None) -> Fit:
        """One fit to all rows; from `start`, an earlier fit to nearly the same rows, when given."""


class Doubt(Protocol):
    """A cause of error beside what the groups show: what it leaves open of differences between mixtures."""

    def factor(self, w_D: Array, base_D: Array) -> Array:
        """F, shape R x T: the covariance between targets of the error of loss(w) - loss(base) is F' F."""

    def factor_slope(self, w_D: Array, base_D: Array) -> Array:
        """Its derivatives by the shares of `w_D`, shape R x T x D."""

    def draws(self, w_ND: Array, count: int, rng: np.random.Generator) -> Array:
        """Joint errors at all mixtures, shape S x N x T; up to a constant per draw and target."""


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
        full: The fit to all runs.
        replicates: Group -> the fit to all other groups: blocks, or with one block folds (`groups`); empty for one run.
        usual_TT: The jackknife's covariance between targets, the mean over the table's runs of today.
        doubts: What else may be wrong.
        noise_T: Standard deviation of one run around the surface, bits/byte, without the offset of its block.
        unseen_NT: Each run's losses as predicted by a fit that did not see it (`foretold`); None where nothing tells.
    """

    full: Fit
    replicates: dict[int, Fit]
    usual_TT: Array
    doubts: tuple[Doubt, ...] = ()
    noise_T: Array | None = None
    unseen_NT: Array | None = None

    @classmethod
    def of(cls, full: Fit, replicates: dict[int, Fit], table: Table, unseen_NT: Array | None) -> Self:
        """The posterior of fits to `table`; the noise is what fits miss of the runs that they did not see, `unseen_NT`."""
        size = table.loss_NT.shape[1]
        if len(replicates) < 2 or unseen_NT is None:
            return cls(full, replicates, np.zeros((size, size)))
        loss_GNT = np.array([fit.loss(table.usual_ND) for fit in replicates.values()])
        loss_GNT -= loss_GNT.mean(1, keepdims=True)
        loss_GNT -= loss_GNT.mean(0)
        usual_TT = _scale(len(replicates)) * np.einsum("gnt,gnu->tu", loss_GNT, loss_GNT) / loss_GNT.shape[1]
        judged, missed_NT = table.judged, table.missed(unseen_NT)
        square_T = np.sum(missed_NT**2, axis=0) / max(len(judged.ids) - len(judged.blocks), 1)
        noise_T = np.sqrt(np.maximum(square_T - np.diag(usual_TT), 0.25 * square_T))
        return cls(full, replicates, usual_TT, noise_T=noise_T, unseen_NT=unseen_NT)

    @property
    def freedom(self) -> int:
        """Degrees of freedom of one target's jackknife, groups - 1; 0 with a single run."""
        return max(len(self.replicates) - 1, 0)

    def mean(self, w_ND: Array) -> Array:
        """Predicted losses in bits/byte, shape N x T."""
        return self.full.loss(w_ND)

    def value(self, w_D: Array, base_D: Array, a_T: Array) -> float:
        """The mean of targets with weights `a_T` at `w_D` minus that at `base_D`."""
        loss_2T = self.full.loss(np.stack([w_D, base_D]))
        return float((loss_2T[0] - loss_2T[1]) @ a_T)

    def slope(self, w_D: Array, a_T: Array) -> Array:
        """Derivatives of the weighted mean of targets by the shares, shape D.

        Raises:
            UsageError: the fit has none.
        """
        return np.asarray(a_T @ smooth(self.full).gradient(w_D), np.float64)

    def error(self, w_D: Array, base_D: Array, a_T: Array) -> float:
        """The standard error of `value`: groups and doubts; NaN where there is nothing to tell it by (one run)."""
        if self.freedom == 0:
            return math.nan
        return float(np.linalg.norm(self._factor(w_D, base_D) @ a_T))

    def error_slope(self, w_D: Array, base_D: Array, a_T: Array) -> Array:
        """Derivatives of `error` by the shares of `w_D`, shape D."""
        value_R = self._factor(w_D, base_D) @ a_T
        own_RTD = self._groups_slope(w_D, base_D)
        slope_RTD = np.concatenate([own_RTD, *(doubt.factor_slope(w_D, base_D) for doubt in self.doubts)])
        slope_D = value_R @ np.einsum("rtd,t->rd", slope_RTD, a_T)
        return np.asarray(slope_D / max(float(np.linalg.norm(value_R)), 1e-9), np.float64)

    def difference(self, w_D: Array, base_D: Array, a_T: Array) -> Difference:
        """The weighted mean of targets at `w_D` minus that at `base_D`, with its interval."""
        mean, error = self.value(w_D, base_D, a_T), self.error(w_D, base_D, a_T)
        freedom = self.freedom
        if len(self.replicates) >= FEW and error > 0:
            # Satterthwaite's sum of two variances, the doubts counting as known
            noise = float(np.linalg.norm(self._groups(w_D, base_D) @ a_T))
            wider = (error / noise) ** 4 if noise > 1e-3 * error else math.inf
            freedom = math.floor(min(self._own_freedom(a_T) * wider, MOST_FREEDOM))
        half = float(stdtrit(freedom, 0.5 + LEVEL / 2)) * error if freedom else math.nan
        bare = Difference(mean, error, mean - half, mean + half, math.nan, freedom)
        return Difference(mean, error, bare.low, bare.high, bare.probability_below(0.0), freedom)

    def draws(self, w_ND: Array, count: int, rng: np.random.Generator) -> Array:
        """Joint draws of the losses at `w_ND` without noise, the mean over blocks, shape S x N x T, in bits/byte.

        Differences between mixtures are normal with `value` as mean and `error` as standard deviation; for several targets
        about so.
        """
        drawn_SNT = np.broadcast_to(self.mean(w_ND), (count, len(w_ND), len(self.usual_TT))).copy()
        for doubt in self.doubts:
            drawn_SNT += doubt.draws(w_ND, count, rng)
        if self.freedom:
            parted_GNT = np.array([fit.loss(w_ND) for fit in self.replicates.values()])
            parted_GNT -= parted_GNT.mean(0)
            half = math.sqrt(0.5 * _scale(len(parted_GNT)))
            drawn_SNT += np.tensordot(half * rng.normal(size=(count, len(parted_GNT))), parted_GNT, axes=1)
            # one field per group and target that parted, each moving all targets by their usual covariance
            fields_FN = half * (parted_GNT * np.sqrt(self._per_usual)).transpose(0, 2, 1).reshape(-1, len(w_ND))
            moved_SFT = rng.normal(size=(count, len(fields_FN), len(self.usual_TT))) @ self._usual_root
            drawn_SNT += np.einsum("fn,sft->snt", fields_FN, moved_SFT, optimize=True)
        return drawn_SNT

    def _factor(self, w_D: Array, base_D: Array) -> Array:
        return np.concatenate([self._groups(w_D, base_D), *(doubt.factor(w_D, base_D) for doubt in self.doubts)])

    def _groups(self, w_D: Array, base_D: Array) -> Array:
        """The factor of the jackknife: own and pooled variance in equal parts, shape (G + T) x T."""
        parted_GT = self._parted(w_D, base_D)
        pooled = math.sqrt(np.sum(parted_GT**2 * self._per_usual))
        return np.asarray(_half(parted_GT) * np.concatenate([parted_GT, pooled * self._usual_root]), np.float64)

    def _groups_slope(self, w_D: Array, base_D: Array) -> Array:
        parted_GT = self._parted(w_D, base_D)
        slopes_GTD = np.array([smooth(fit).gradient(w_D) for fit in self.replicates.values()])
        slopes_GTD -= slopes_GTD.mean(0)
        pooled = max(math.sqrt(np.sum(parted_GT**2 * self._per_usual)), 1e-9)
        pooled_D = np.einsum("gt,gtd->d", parted_GT * self._per_usual, slopes_GTD) / pooled
        return np.asarray(
            _half(parted_GT) * np.concatenate([slopes_GTD, self._usual_root[:, :, None] * pooled_D]), np.float64
        )

    def _own_freedom(self, a_T: Array) -> float:
        """Degrees of freedom of the jackknife's variance: G - 1 where all targets move as one, more the less they do."""
        usual = float(a_T @ self.usual_TT @ a_T)
        form_TT = (np.outer(a_T, a_T) + usual * np.diag(self._per_usual)) @ self.usual_TT
        square = float(np.sum(form_TT * form_TT.T))
        # 1e-9: rounding must not take a whole degree of freedom
        return self.freedom * max(float(np.trace(form_TT)) ** 2 / square, 1.0) + 1e-9 if square > 0 else self.freedom

    def _parted(self, w_D: Array, base_D: Array) -> Array:
        """How the replicates' differences part from their mean, shape G x T."""
        pair_2D = np.stack([w_D, base_D])
        loss_G2T = np.array([fit.loss(pair_2D) for fit in self.replicates.values()])
        difference_GT = loss_G2T[:, 0] - loss_G2T[:, 1]
        return np.asarray(difference_GT - difference_GT.mean(0), np.float64)

    @cached_property
    def _per_usual(self) -> Array:
        """1 / (T x usual variance) of each target, shape T; 0 for targets that never vary."""
        usual_T = np.diag(self.usual_TT)
        return np.asarray(np.where(usual_T > 1e-18, 1.0 / np.maximum(usual_T, 1e-18), 0.0) / len(usual_T), np.float64)

    @cached_property
    def _usual_root(self) -> Array:
        """A, shape T x T, with A' A = `usual_TT`."""
        value_T, vector_TT = np.linalg.eigh(self.usual_TT)
        return np.asarray(np.sqrt(np.maximum(value_T, 0.0))[:, None] * vector_TT.T, np.float64)


def groups(table: Table) -> Integers:
    """The group of every row that a jackknife leaves out together: its block; with one (a study) its part of the mixtures. Shape N."""
    return _parts(table) if table.in_parts else table.block_N


def crossed(table: Table) -> bool:
    """Whether most runs, but natural's, are of mixtures that other blocks hold too: leaving out a block leaves none of them out."""
    judged = table.judged
    pairs_P2 = np.unique(np.stack([judged.mixture_N, judged.block_N], 1), axis=0)
    mixtures, blocks_M = np.unique(pairs_P2[:, 0], return_counts=True)
    repeated_N = np.isin(judged.mixture_N, mixtures[blocks_M > 1]) & ~judged.natural_N
    return bool(len(mixtures) > 1 and 2 * repeated_N.sum() > (~judged.natural_N).sum())


def _parts(table: Table) -> Integers:
    """The part of every row, at most `FOLDS` in all, shape N.

    Parts are drawn with a fixed seed by position, so that tables sorted by shares or losses have parts of all kinds. Runs of one
    mixture are in one part: a mixture whose other run was fitted is not foretold.
    """
    _, first_M, mixture_N = np.unique(table.mixture_N, return_index=True, return_inverse=True)
    part_M = np.random.default_rng(0).permutation(len(first_M)) % min(FOLDS, max(len(first_M), 1))
    return np.asarray(part_M[np.argsort(np.argsort(first_M))][mixture_N], np.int64)


def jackknife(table: Table, fit: Callable[[Table, Fit | None], Fit]) -> Posterior:
    """The posterior of `fit(table, start)`: to all rows, and from there to all rows but each group's."""
    whole = completed(table, fit)
    full = whole(table, None)
    replicates = replicate(table, whole, full)
    return Posterior.of(full, replicates, table, foretold(table, whole, full, replicates))


def replicate(table: Table, fit: Callable[[Table, F | None], F], full: F) -> dict[int, F]:
    """Group -> the fit to the rows of the other groups; empty where there is one group."""
    return _without(groups(table), table, fit, full)


def _without(group_N: Integers, table: Table, fit: Callable[[Table, F | None], F], full: F) -> dict[int, F]:
    found = np.unique(group_N).tolist()
    return {g: fit(table.rows(np.asarray(group_N != g)), full) for g in found} if len(found) > 1 else {}


def foretold(
    table: Table, fit: Callable[[Table, Fit | None], Fit], full: Fit, replicates: Mapping[int, Fit]
) -> Array | None:
    """Each row's losses as predicted without its group, shape N x T, NaN where its group cannot be left out; None for one group.

    In a table whose blocks hold the same mixtures, without any run of its mixture: fits to the other parts of the mixtures tell these.
    """
    group_N, fits = groups(table), replicates
    if crossed(table):
        group_N = _parts(table)
        fits = _without(group_N, table, fit, full)
    if not fits:
        return None
    predicted_NT = np.full(table.loss_NT.shape, np.nan)
    for group, other in fits.items():
        inside = group_N == group
        predicted_NT[inside] = other.loss(table.shares_ND[inside])
    return predicted_NT


def smooth(fit: Fit) -> Smooth:
    """`fit`, which has derivatives.

    Raises:
        UsageError: it has none.
    """
    if not isinstance(fit, Smooth):
        raise UsageError(f"{type(fit).__name__} has no derivatives", wanted="a predictor with a smooth surface")
    return fit


def _half(parted_GT: Array) -> float:
    """The root of the factor of the delete-one jackknife's sum of squares, halved."""
    return math.sqrt(0.5 * _scale(len(parted_GT)))


def _scale(count: int) -> float:
    """The factor of the delete-one jackknife's sum of squares."""
    return (count - 1) / count
