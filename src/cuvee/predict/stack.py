"""The default predictor: laws and processes blended by how well each foretells runs that it did not see.

Few runs favour a law, which knows the shape; many a process, which follows what the law misses; their blend beats both, as their
errors differ (stacked regression, Wolpert 1992; Breiman 1996: weights that are not negative). What a search needs is not the
error but the order of mixtures and the best of them, so three things are fitted at once, all linear in the weights: the losses, their
ranks, and the losses of the best quarter. Left-out runs are those of a block, with one block of a fold, in which all runs
share an offset that does not count.

What runs leave open is told by the process's posterior and by how far the members part, weighted (Buckland, Burnham & Augustin 1997,
Model selection: an integral part of inference). Both are scaled to the errors of left-out runs. The jackknife holds the noise,
which the process's posterior holds too, and, as its replicates have fewer runs, a part of the rest: so of the
variance told by models `COUNTED` is added to it. In worlds with known losses and on published runs (docs/benchmarks.md) this covers
about what it should; the jackknife alone covers too little far from the runs, the whole sum too much.

Few runs tell little of weights: those of a target are drawn to those of all targets together, and these to equal ones, as
if each were drawn around the next with a standard deviation of `LOOSE`.

Letters: N runs, D domains, T targets, K members.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from scipy.optimize import nnls

from cuvee.mixture.weights import Array
from cuvee.predict.corrected import Corrected
from cuvee.predict.doubts import Rivals, Unseen
from cuvee.predict.lifted import completed
from cuvee.predict.pieces import Pieces
from cuvee.predict.posterior import Fit, Member, Posterior, foretold, replicate, smooth
from cuvee.predict.power import PowerLaw
from cuvee.predict.process import Process
from cuvee.predict.table import Table

LOOSE = 0.1
FEWEST = 8
"""With fewer runs the first member stands alone: left-out runs tell nothing, and on published runs the law's prior is best."""
COUNTED = 0.5
"""Of the variance that models tell, beside the jackknife's."""
BEST = 0.25
"""The share of runs, those of least loss, that are the best."""


@dataclass(frozen=True, eq=False)
class Blend:
    """loss = the members' losses, weighted per target.

    Args:
        fits: The members.
        weights_KT: Their weights, columns summing to 1.
    """

    fits: tuple[Fit, ...]
    weights_KT: Array

    @classmethod
    def equal(cls, fits: tuple[Fit, ...], targets: int) -> Self:
        """The plain mean."""
        return cls(fits, np.full((len(fits), targets), 1.0 / len(fits)))

    def loss(self, w_ND: Array) -> Array:
        """Losses in bits/byte, shape N x T."""
        pairs = zip(self.fits, self.weights_KT, strict=True)
        return np.asarray(sum(weight_T * fit.loss(w_ND) for fit, weight_T in pairs if weight_T.any()), np.float64)

    def gradient(self, w_D: Array) -> Array:
        """Derivatives, shape T x D."""
        pairs = zip(self.fits, self.weights_KT, strict=True)
        slopes = (weight_T[:, None] * smooth(fit).gradient(w_D) for fit, weight_T in pairs if weight_T.any())
        return np.asarray(sum(slopes), np.float64)

    def convex(self, a_T: Array) -> bool:
        """Convex where every member that counts is."""
        pairs = zip(self.fits, self.weights_KT, strict=True)
        return all(smooth(fit).convex(a_T * weight_T) for fit, weight_T in pairs if (a_T * weight_T).any())


def weigh(unseen_KNT: Array, table: Table) -> Array:
    """The weights of members that predicted `unseen_KNT` of the runs when they were left out, shape K x T."""
    size, _, targets = unseen_KNT.shape
    grams_TKK, pulls_TK, misfits_T = np.empty((targets, size, size)), np.empty((targets, size)), np.empty(targets)
    centred_KNT = np.array([table.centred(unseen_NT) for unseen_NT in unseen_KNT])
    truth_NT = table.centred(table.loss_NT)
    for t in range(targets):
        known_N = np.isfinite(truth_NT[:, t])
        x_MK, y_M = _questions(centred_KNT[:, known_N, t].T, truth_NT[known_N, t], table.root_N[known_N])
        grams_TKK[t], pulls_TK[t] = x_MK.T @ x_MK, x_MK.T @ y_M
        first_K = _simplex(grams_TKK[t], pulls_TK[t])
        # what even the best blend misses is what the weights are uncertain by; rows of three questions count once
        free = max(int(known_N.sum()) - len(np.unique(table.block_N[known_N])) - size + 1, 1)
        misfits_T[t] = max(float(np.sum((y_M - x_MK @ first_K) ** 2)), 1e-12) / free
    grams_TKK /= misfits_T[:, None, None]
    pulls_TK /= misfits_T[:, None]
    pull = LOOSE**-2
    equal_K = np.full(size, 1.0 / size)
    shared_K = _simplex(grams_TKK.mean(0) + pull * np.eye(size), pulls_TK.mean(0) + pull * equal_K)
    return np.array(
        [
            _simplex(gram + pull * np.eye(size), right + pull * shared_K)
            for gram, right in zip(grams_TKK, pulls_TK, strict=True)
        ]
    ).T


def _questions(x_NK: Array, y_N: Array, root_N: Array) -> tuple[Array, Array]:
    """Members' predictions and the truth in units of its spread: as losses, as ranks, and those of the best runs; times the
    roots of the runs' weights."""
    if not len(y_N):
        return x_NK, y_N
    scale = max(float(np.sqrt(np.mean(y_N**2))), 1e-12)
    order_N = np.sort(y_N)
    ranks_N = (np.arange(len(y_N)) + 0.5) / len(y_N) * np.sqrt(12.0)

    def rank(values: Array) -> Array:
        return np.asarray(np.interp(values, order_N, ranks_N), np.float64)

    best_N = y_N <= np.quantile(y_N, BEST)
    heavy = 1.0 / (scale * np.sqrt(BEST))
    x_MK = np.concatenate([x_NK / scale, rank(x_NK), heavy * x_NK[best_N]])
    y_M = np.concatenate([y_N / scale, rank(y_N), heavy * y_N[best_N]])
    root_M = np.concatenate([root_N, root_N, root_N[best_N]])
    return root_M[:, None] * x_MK / np.sqrt(3.0), root_M * y_M / np.sqrt(3.0)


def _simplex(gram_KK: Array, pull_K: Array) -> Array:
    """Least x' gram x - 2 pull . x over x >= 0 that sum to 1: the sum as a row that outweighs the rest."""
    size = len(gram_KK)
    level = max(float(np.trace(gram_KK)) / size, 1e-12)
    root_KK = np.linalg.cholesky(gram_KK + 1e-9 * level * np.eye(size)).T
    heavy = 1e3 * np.sqrt(level)
    right_K = np.linalg.solve(root_KK.T, pull_K)
    found_K, _ = nnls(np.vstack([root_KK, np.full((1, size), heavy)]), np.append(right_K, heavy))
    return np.asarray(found_K / found_K.sum(), np.float64)


def _members() -> tuple[Member, ...]:
    return (PowerLaw(), Process(), Corrected())


@dataclass(frozen=True)
class Stack:
    """Members blended per target by how well they foretell left-out runs.

    Args:
        members: Predictors that can be parts of others, the first of them the one for very few runs. What runs
            leave open is told by the first process among them, or in them.
    """

    members: tuple[Member, ...] = field(default_factory=_members)

    def fit(self, table: Table) -> Posterior:
        """The posterior of the table."""
        members = self.members if len(table.ids) >= FEWEST else self.members[:1]
        fits_once = [completed(table, member.fit_once) for member in members]
        fulls = tuple(fit_once(table, None) for fit_once in fits_once)
        without = [replicate(table, fit_once, full) for fit_once, full in zip(fits_once, fulls, strict=True)]
        if not without[0]:
            return Posterior.of(Blend.equal(fulls, len(table.targets)), {}, table, None)
        parts = zip(fits_once, fulls, without, strict=True)
        unseen_KNT = np.array([foretold(table, fit_once, full, fits) for fit_once, full, fits in parts])
        weights_KT = weigh(unseen_KNT[:, table.judged_N], table.judged)
        replicates: dict[int, Fit] = {
            group: Blend(tuple(fits[group] for fits in without), weights_KT) for group in without[0]
        }
        unseen_NT = np.einsum("kt,knt->nt", weights_KT, unseen_KNT)
        posterior = Posterior.of(Blend(fulls, weights_KT), replicates, table, unseen_NT)
        process = next((pieces for pieces in map(Pieces.of, fulls) if pieces), None)
        return (
            posterior if process is None else _doubted(posterior, process, Blend(fulls, weights_KT), unseen_KNT, table)
        )


def _doubted(posterior: Posterior, process: Pieces, blend: Blend, unseen_KNT: Array, table: Table) -> Posterior:
    """`posterior` with the doubts of the process and between the members, and the process's noise.

    Both are scaled by one factor per target, so that their sum is the mean squared error of left-out runs.
    """
    judged = table.judged
    scored_T = np.maximum(np.isfinite(judged.loss_NT).sum(0), 1)
    parted_KNT = np.array([table.missed(unseen_NT) for unseen_NT in unseen_KNT])
    missed_NT = np.einsum("kt,knt->nt", blend.weights_KT, parted_KNT)
    spread_T = np.einsum("kt,knt->t", blend.weights_KT, (parted_KNT - missed_NT) ** 2) / scored_T
    error_NT = judged.root_N[:, None] * process.left_out_errors(table)[table.judged_N]
    # a run that is alone in its block has no error of its own
    expected_T = np.nansum(error_NT**2, axis=0) / np.maximum(np.sum(np.isfinite(error_NT), axis=0), 1) + spread_T
    square_T = np.sum(missed_NT**2, axis=0) / scored_T
    # a few runs may be expected to miss by nothing, which tells nothing
    factor_T = np.sqrt(square_T / np.maximum(expected_T, np.maximum(0.01 * square_T, 1e-18)))
    scale_T = np.sqrt(COUNTED) * factor_T
    doubts = (Unseen(process, scale_T, _together(missed_NT)), Rivals(blend.fits, blend.weights_KT, scale_T))
    return replace(posterior, doubts=doubts, noise_T=factor_T * process.noise_T)


def _together(missed_NT: Array) -> Array:
    """A, shape T x T, with A' A the targets' correlation in `missed_NT`, shrunk towards none where runs are few."""
    runs, targets = missed_NT.shape
    unit_NT = missed_NT / np.maximum(np.sqrt(np.mean(missed_NT**2, axis=0)), 1e-12)
    chance = targets / (targets + runs)
    together_TT = (1 - chance) * unit_NT.T @ unit_NT / runs
    # constant targets miss by nothing, and have no correlation
    np.fill_diagonal(together_TT, 1.0)
    return np.asarray(np.linalg.cholesky(together_TT).T, np.float64)
