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
from typing import Self

import numpy as np
from scipy.optimize import nnls

from cuvee.mixture.weights import Array
from cuvee.predict.doubts import Rivals, Unsaid, Unseen
from cuvee.predict.posterior import Doubt, Fit, Member, Posterior, replicate, smooth, unseen
from cuvee.predict.power import PowerLaw
from cuvee.predict.process import Process, ProcessFit
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
    return (PowerLaw(), Process(), Process(mean=PowerLaw()))


@dataclass(frozen=True)
class Stack:
    """Members blended per target by how well they foretell left-out runs.

    Args:
        members: Predictors that can be parts of others. What runs leave open is told by the first process among them.
    """

    members: tuple[Member, ...] = field(default_factory=_members)

    def fit(self, table: Table) -> Posterior:
        """The posterior of the table."""
        fulls = self._fit_once(table, None)
        found = replicate(table, self._fit_once, fulls)
        if not found:
            return Posterior.of(Blend.equal(fulls, len(table.targets)), {}, table)
        without = [{group: fits[k] for group, fits in found.items()} for k in range(len(fulls))]
        unseen_KNT = np.array([unseen(fits, table) for fits in without])
        weights_KT = weigh(unseen_KNT, table)
        replicates: dict[int, Fit] = {
            group: Blend(tuple(fits[group] for fits in without), weights_KT) for group in without[0]
        }
        missed_NT = table.centred(table.loss_NT - np.einsum("kt,knt->nt", weights_KT, unseen_KNT))
        doubts: list[Doubt] = [Rivals(fulls, weights_KT)]
        doubts += [doubt(fit, missed_NT) for fit in fulls if isinstance(fit, ProcessFit)][:1]
        return Posterior.of(Blend(fulls, weights_KT), replicates, table, tuple(doubts))

    def _fit_once(self, table: Table, starts: tuple[Fit, ...] | None) -> tuple[Fit, ...]:
        """Each member's fit; one that is another's mean too is fitted once."""
        fits: list[Fit] = []
        for k, member in enumerate(self.members):
            start = starts[k] if starts else None
            known = (
                self.members.index(member.mean) if isinstance(member, Process) and member.mean in self.members else k
            )
            if isinstance(member, Process) and known < k:
                fits.append(member.fit_around(table, start, fits[known]))
            else:
                fits.append(member.fit_once(table, start))
        return tuple(fits)


def doubt(process: ProcessFit, missed_NT: Array) -> Unseen:
    """The process's doubt, scaled by how far `missed_NT` of left-out runs lie beside what it expects of its own."""
    _, error_NT = process.left_out()
    expected_T = np.maximum(np.nanmean(error_NT**2, axis=0), 1e-18)
    scale_T = np.sqrt(np.mean(missed_NT**2, axis=0) / expected_T)
    unit_NT = missed_NT / np.maximum(np.sqrt(np.mean(missed_NT**2, axis=0)), 1e-9)
    together_TT = unit_NT.T @ unit_NT / len(unit_NT)
    # few runs make chance correlations: shrunk towards none
    few = len(scale_T) / (len(scale_T) + len(unit_NT))
    together_TT = (1 - few) * together_TT + few * np.eye(len(scale_T))
    return Unseen(Unsaid(process), scale_T, np.linalg.cholesky(together_TT).T)
