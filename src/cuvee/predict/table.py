"""The table that predictors learn from: realised shares, losses per target, block of every run that is done.

Letters: N runs, D domains, T targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Array
from cuvee.plan.experts import mixtures
from cuvee.plan.problem import Problem, Target
from cuvee.plan.trial import Trial

Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Table:
    """What was measured.

    Args:
        domains, targets: Names of the columns of `shares_ND` and `loss_NT`.
        shares_ND: Realised shares of tokens, rows summing to 1.
        loss_NT: Final losses in bits/byte.
        block_N: The block of every run.
        ids: Trial ids.
        mixture_N: Runs of one planned mixture share a number; natural's, the reference of every block, is 0.
        start_T: Losses of the checkpoint that all runs start from, before training; None where they start from scratch.
        left_out: Runs without finite losses on every target (failed, diverged), not in the table.
    """

    domains: tuple[str, ...]
    targets: tuple[str, ...]
    shares_ND: Array
    loss_NT: Array
    block_N: Integers
    ids: tuple[str, ...]
    mixture_N: Integers
    left_out: int = 0
    start_T: Array | None = None

    @classmethod
    def from_trials(cls, problem: Problem, trials: Sequence[Trial]) -> Self:
        """The done runs of mixtures, sorted by id, so that sums do not depend on the order in which runs ended."""
        ordered = sorted(mixtures(trials), key=lambda trial: trial.id)
        done = [t for t in ordered if t.status == "done" and np.isfinite([t.loss(s) for s in problem.scored]).all()]
        numbers = {Schedule.constant(problem.natural): 0}
        counts_ND = np.array([t.realised for t in done], np.float64).reshape(len(done), len(problem.domains))
        return cls(
            domains=problem.domains,
            targets=problem.scored,
            shares_ND=counts_ND / counts_ND.sum(1, keepdims=True),
            loss_NT=np.array([[t.loss(s) for s in problem.scored] for t in done]).reshape(
                len(done), len(problem.scored)
            ),
            block_N=np.array([t.plan.block for t in done], np.int64),
            ids=tuple(t.id for t in done),
            mixture_N=np.array([numbers.setdefault(t.plan.schedule, len(numbers)) for t in done], np.int64),
            left_out=len(ordered) - len(done),
            start_T=np.array([done[0].start_loss(s) for s in problem.scored]) if problem.proxy.start and done else None,
        )

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that have rows, ascending."""
        return tuple(int(b) for b in np.unique(self.block_N))

    @property
    def natural_N(self) -> Bools:
        """Which runs are natural's."""
        return np.asarray(self.mixture_N == 0)

    def rows(self, which_N: Bools | Integers) -> Table:
        """The rows where `which_N` is true, or those at its positions, in that order."""
        return replace(
            self,
            shares_ND=self.shares_ND[which_N],
            loss_NT=self.loss_NT[which_N],
            block_N=self.block_N[which_N],
            ids=tuple(self.ids[i] for i in np.arange(len(self.ids))[which_N]),
            mixture_N=self.mixture_N[which_N],
        )

    def centred(self, values: Array) -> Array:
        """`values` (N rows) minus their means within blocks: what is left once every block has an offset of its own."""
        order_N, first_B, count_B, rank_N = self._grouped
        sum_B = np.add.reduceat(np.asarray(values, np.float64)[order_N], first_B)
        mean_B = sum_B / count_B.reshape(-1, *[1] * (sum_B.ndim - 1))
        return np.asarray(values - mean_B[rank_N], np.float64)

    @cached_property
    def _grouped(self) -> tuple[Integers, Integers, Integers, Integers]:
        """Rows in the order of their blocks, where each block begins there, its rows, and each row's block by rank."""
        _, rank_N, count_B = np.unique(self.block_N, return_inverse=True, return_counts=True)
        return np.argsort(rank_N, kind="stable"), np.cumsum(count_B) - count_B, count_B, rank_N

    def paired(self, values_N: Array) -> Array:
        """`values_N` minus the mean of natural's in the same block; NaN in blocks without natural. Shape N."""
        out = np.full(len(values_N), np.nan)
        for block in self.blocks:
            inside = self.block_N == block
            reference = inside & self.natural_N
            if reference.any():
                out[inside] = values_N[inside] - values_N[reference].mean()
        return out


def mean_weights(mean: Sequence[Target], targets: Sequence[str]) -> Array:
    """The weights of a weighted mean over targets, shape T, summing to 1; a target named twice counts twice."""
    a_T = np.zeros(len(targets))
    for target in mean:
        a_T[list(targets).index(target.name)] += target.weight
    return np.asarray(a_T / a_T.sum(), np.float64)
