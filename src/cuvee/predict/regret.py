"""What is at stake in a choice, and which runs would lessen it most: from joint draws of the losses at candidate mixtures.

The expected regret of a mixture is the mean over draws of its value minus the least value over the candidates in that draw
(the expected loss of a decision; Raiffa & Schlaifer 1961). Batches are chosen by the knowledge gradient (Frazier, Powell &
Dayanik 2009, The knowledge-gradient policy for correlated normal beliefs; for batches Wu & Frazier 2016): the run whose
result is expected to lower the least posterior mean most. Every draw in turn is taken for the truth, which gives the results that
a run would have and what would be believed after it, so a batch does not ask the same thing twice.

Letters: M candidates, D domains, T targets, S draws, C candidates that may be chosen in the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import UsageError
from cuvee.mixture.weights import Array
from cuvee.predict.posterior import LEVEL
from cuvee.predict.question import Question

Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]
DRAWS = 256
SCREEN, FINALISTS = 4, 32
"""Runs are judged by every fourth draw, and the best of them by all."""
MOST_CHOICES = 64
"""Candidates that a final choice is imagined among: those with the least mean minus a standard deviation."""


@dataclass(frozen=True, eq=False)
class Stakes:
    """Joint draws at candidates.

    Args:
        shares_MD: The candidates.
        value_SM: The objective at each minus that at the base, bits/byte.
        sure_M: The probability that all guards hold there.
        allowed_M: Whether every guard holds with the probability that it asks for.
        told: Whether anything tells how far predictions err; else draws are all alike, which is no certainty.
    """

    shares_MD: Array
    value_SM: Array
    sure_M: Array
    allowed_M: Bools
    told: bool = True

    @classmethod
    def of(cls, question: Question, shares_MD: Array, rng: np.random.Generator, count: int = DRAWS) -> Stakes:
        """Draws of the question's objective and guards at `shares_MD`.

        Raises:
            UsageError: no candidates.
        """
        if not len(shares_MD):
            raise UsageError("no candidates", wanted="mixtures, one a row")
        loss_SMT = question.posterior.draws(np.vstack([shares_MD, question.base_D]), count, rng)
        rise_SMT = loss_SMT[:, :-1] - loss_SMT[:, -1:]
        allowed_M = np.ones(len(shares_MD), bool)
        held_SM = np.ones(rise_SMT.shape[:2], bool)
        for rule in question.guards:
            limit_S1 = rule.allowed + rule.error * rng.normal(size=(count, 1))
            holds_SM = rise_SMT @ rule.a_T <= limit_S1
            allowed_M &= holds_SM.mean(0) >= rule.probability
            held_SM &= holds_SM
        value_SM = np.asarray(rise_SMT @ question.a_T, np.float64)
        return cls(shares_MD, value_SM, held_SM.mean(0), allowed_M, question.posterior.freedom > 0)

    def regret(self, candidate: int) -> float:
        """The expected regret of one candidate, bits/byte: against what is allowed, or itself; NaN where nothing tells it."""
        if not self.told:
            return math.nan
        rivals_M = self.allowed_M.copy()
        rivals_M[candidate] = True
        least_S = self.value_SM[:, rivals_M].min(1)
        return float(np.mean(self.value_SM[:, candidate] - least_S))

    def best_shares(self) -> tuple[Array, Array]:
        """The 90 % interval over draws of every domain's share in the best allowed candidate, two arrays of shape D.

        Among all candidates when none is allowed; NaN where nothing tells it.
        """
        if not self.told:
            return np.full(self.shares_MD.shape[1], math.nan), np.full(self.shares_MD.shape[1], math.nan)
        choices = np.flatnonzero(self.allowed_M if self.allowed_M.any() else np.ones_like(self.allowed_M))
        best_SD = self.shares_MD[choices][np.argmin(self.value_SM[:, choices], axis=1)]
        low_D, high_D = np.quantile(best_SD, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
        return low_D, high_D


@dataclass(frozen=True)
class Batch:
    """Runs to make: positions of candidates, and the expected regret of the best choice before and after each run."""

    picks: tuple[int, ...]
    regret: tuple[float, ...]


def batch(stakes: Stakes, noise: float, limit_M: Integers, count: int, rng: np.random.Generator) -> Batch:
    """The `count` runs at candidates that lower the expected regret of the final choice most, greedily.

    Args:
        stakes: Draws at the candidates.
        noise: Standard deviation of one run's objective once its block's offset is known, bits/byte.
        limit_M: How many runs of each candidate there may be; fewer runs are returned when these are used up.
        count: Runs wanted.
        rng: Draws the noise of imagined results.

    A run where guards hold with probability p counts p times what it would tell.
    """
    mean_M = stakes.value_SM.mean(0)
    parted_SM = stakes.value_SM - mean_M
    covariance_MM = parted_SM.T @ parted_SM / max(len(parted_SM) - 1, 1)
    choices_C = _promising(stakes, mean_M, covariance_MM)
    least = float(stakes.value_SM[:, choices_C].min(1).mean())
    # what would be believed of every candidate after the runs picked so far, were a draw the truth
    believed_SM = np.tile(mean_M, (len(parted_SM), 1))
    left_M, picks = limit_M.copy(), list[int]()
    regret = [float(mean_M[choices_C].min()) - least]
    for _ in range(min(count, int(limit_M.sum()))):
        sd_M = np.sqrt(np.maximum(np.diag(covariance_MM), 0.0) + noise**2 + 1e-18)
        step_MM = covariance_MM / sd_M[:, None]
        noise_S1 = noise * rng.normal(size=(len(parted_SM), 1))
        surprise_SM = (stakes.value_SM - believed_SM + noise_S1) / sd_M
        believed_SC, step_MC = believed_SM[:, choices_C], step_MM[:, choices_C]
        rough = _gains(
            believed_SC[::SCREEN], surprise_SM[::SCREEN], step_MC, stakes.sure_M, np.flatnonzero(left_M > 0).tolist()
        )
        finalists = sorted(rough, key=rough.__getitem__, reverse=True)[:FINALISTS]
        fine = _gains(believed_SC, surprise_SM, step_MC, stakes.sure_M, finalists)
        pick = max(fine, key=fine.__getitem__)
        believed_SM = believed_SM + surprise_SM[:, pick, None] * step_MM[pick]
        covariance_MM = covariance_MM - np.outer(step_MM[pick], step_MM[pick])
        left_M[pick] -= 1
        picks.append(pick)
        regret.append(min(regret[-1], max(float(believed_SM[:, choices_C].min(1).mean()) - least, 0.0)))
    return Batch(tuple(picks), tuple(regret) if stakes.told else (math.nan,) * len(regret))


def _gains(
    believed_SC: Array, surprise_SM: Array, step_MC: Array, sure_M: Array, candidates: Iterable[int]
) -> dict[int, float]:
    """By how much a run at each of the candidates is expected to lower the least mean, bits/byte."""
    before = float(believed_SC.min(1).mean())
    after = {i: float((believed_SC + surprise_SM[:, i, None] * step_MC[i]).min(1).mean()) for i in candidates}
    return {i: max(before - least, 1e-12) * float(sure_M[i]) for i, least in after.items()}


def _promising(stakes: Stakes, mean_M: Array, covariance_MM: Array) -> Integers:
    """Positions of the candidates that may turn out to be the best choice; those likelier than not to keep the guards."""
    open_M = stakes.allowed_M | (stakes.sure_M >= 0.5)
    if not open_M.any():
        open_M[np.argmax(stakes.sure_M)] = True
    hope_M = np.where(open_M, mean_M - np.sqrt(np.diag(covariance_MM)), np.inf)
    order_M = np.argsort(hope_M, kind="stable")[: int(min(MOST_CHOICES, open_M.sum()))]
    return np.asarray(order_M, np.int64)
