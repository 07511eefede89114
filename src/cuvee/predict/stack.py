"""The default predictor: laws and processes blended by how well each foretells runs that it did not see.

Few runs favour a law, which knows the shape; many a process, which follows what the law misses; their blend beats both, as their
errors differ (stacked regression, Wolpert 1992; Breiman 1996: weights that are not negative). What a search needs is not the
error but the order of mixtures and the best of them, so three things are fitted at once, all linear in the weights: the losses, their
ranks, and the losses of the best quarter. Left-out runs are those of a block, with one block of a fold, in which all runs
share an offset that does not count.

Few runs tell little of weights: those of a target are drawn to those of all targets together, and these to equal ones, as
if each were drawn around the next with a standard deviation of `LOOSE`.

Letters: N runs, D domains, T targets, K members.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import nnls

from cuvee.mixture.weights import Array
from cuvee.predict.corrected import Corrected
from cuvee.predict.doubts import Rivals
from cuvee.predict.posterior import Fit, Member, Posterior, groups, replicate, smooth
from cuvee.predict.power import PowerLaw
from cuvee.predict.table import Table

LOOSE = 0.1
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
        x_MK, y_M = _questions(centred_KNT[:, :, t].T, truth_NT[:, t])
        grams_TKK[t], pulls_TK[t] = x_MK.T @ x_MK, x_MK.T @ y_M
        first_K = _simplex(grams_TKK[t], pulls_TK[t])
        # what even the best blend misses is what the weights are uncertain by; rows of three questions count once
        free = max(len(truth_NT) - len(table.blocks) - size + 1, 1)
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


def _questions(x_NK: Array, y_N: Array) -> tuple[Array, Array]:
    """Members' predictions and the truth in units of its spread: as losses, as ranks, and those of the best runs."""
    scale = max(float(np.sqrt(np.mean(y_N**2))), 1e-12)
    order_N = np.sort(y_N)
    ranks_N = (np.arange(len(y_N)) + 0.5) / len(y_N) * np.sqrt(12.0)

    def rank(values: Array) -> Array:
        return np.asarray(np.interp(values, order_N, ranks_N), np.float64)

    best_N = y_N <= np.quantile(y_N, BEST)
    heavy = 1.0 / (scale * np.sqrt(BEST))
    x_MK = np.concatenate([x_NK / scale, rank(x_NK), heavy * x_NK[best_N]])
    y_M = np.concatenate([y_N / scale, rank(y_N), heavy * y_N[best_N]])
    return x_MK / np.sqrt(3.0), y_M / np.sqrt(3.0)


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
    return (PowerLaw(), Corrected())


@dataclass(frozen=True)
class Stack:
    """Members blended per target by how well they foretell left-out runs.

    Args:
        members: Predictors that can be parts of others; the process whose belief tells what runs leave open comes among them.
    """

    members: tuple[Member, ...] = field(default_factory=_members)

    def fit(self, table: Table) -> Posterior:
        """The posterior of the table."""
        fulls = [member.fit_once(table, None) for member in self.members]
        without = [replicate(table, m.fit_once, full) for m, full in zip(self.members, fulls, strict=True)]
        group_N, unseen_KNT = groups(table), np.empty((len(fulls), *table.loss_NT.shape))
        for fits, unseen_NT in zip(without, unseen_KNT, strict=True):
            for group, fit in fits.items():
                inside = group_N == group
                unseen_NT[inside] = fit.loss(table.shares_ND[inside])
        if not without[0]:
            weights_KT = np.full((len(fulls), len(table.targets)), 1 / len(fulls))
            return Posterior.of(Blend(tuple(fulls), weights_KT), {}, table)
        weights_KT = weigh(unseen_KNT, table)
        replicates: dict[int, Fit] = {
            group: Blend(tuple(fits[group] for fits in without), weights_KT) for group in without[0]
        }
        full, doubts = Blend(tuple(fulls), weights_KT), (Rivals(tuple(fulls), weights_KT),)
        return Posterior.of(full, replicates, table, doubts)
