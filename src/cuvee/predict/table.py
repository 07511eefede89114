"""The table that predictors learn from: realised shares, losses per target, block, weight of every run that is done.

Letters: N runs, D columns of shares, T targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cuvee.mixture.edits import weights
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Array
from cuvee.plan.experts import mixtures
from cuvee.plan.past import Past
from cuvee.plan.problem import Problem, Target
from cuvee.plan.trial import Trial
from cuvee.predict.doubt import noises

Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]
PAST = 1_000_000
"""Blocks of runs from before are numbered from here on, those of the k-th earlier study from k times it."""


@dataclass(frozen=True, eq=False)
class Table:
    """What was measured.

    Args:
        domains, targets: Names of the columns of `shares_ND` and `loss_NT`.
        shares_ND: Realised shares of tokens, rows summing to 1.
        loss_NT: Final losses in bits/byte; NaN where a run from before was not scored on a target of today.
        block_N: The block of every run; from `PAST` on, of runs from before.
        ids: Trial ids.
        mixture_N: Runs of one planned mixture share a number; natural's, the reference of every block, is 0.
        start_T: Losses of the checkpoint that all runs start from, before training; None where they start from scratch.
        left_out: Runs without finite losses on every target (failed, diverged), not in the table.
        weight_N: What a run counts: 1 a run of today, less a noisier one, whose noise variance is that of a run of today
            divided by it. All 1 when left out.
        gone: How many of the last domains are no longer there: runs from before have shares of them, mixtures of today none.
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
    weight_N: Array = field(default_factory=lambda: np.ones(0))
    gone: int = 0

    def __post_init__(self) -> None:
        if self.weight_N.shape != (len(self.ids),):
            object.__setattr__(self, "weight_N", np.ones(len(self.ids)))

    @classmethod
    def from_trials(cls, problem: Problem, trials: Sequence[Trial]) -> Self:
        """The done runs of mixtures, sorted by id, so that sums do not depend on the order in which runs ended; then the
        runs from before that the problem carries, lifted onto its domains."""
        ordered = sorted(mixtures(trials), key=lambda trial: trial.id)
        done = [t for t in ordered if t.status == "done" and np.isfinite([t.loss(s) for s in problem.scored]).all()]
        numbers = {Schedule.constant(problem.natural): 0}
        counts_ND = np.array([t.realised for t in done], np.float64).reshape(len(done), len(problem.domains))
        own = cls(
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
        return own.after(problem.past)

    def after(self, pasts: Sequence[Past]) -> Self:
        """This table with the runs of earlier studies below it."""
        table = self
        for number, past in enumerate(pasts, 1):
            table = table._joined(past, PAST * number)
        return table

    def _joined(self, past: Past, first: int) -> Self:
        """This table with the runs of `past` that were scored on any of its targets; their blocks count from `first`."""
        lift = past.lift()
        w_ND = np.array([run.shares for run in past.runs], np.float64).reshape(len(past.runs), len(past.domains))
        columns = (*self.domains, *(d for d in lift.gone if d not in self.domains))
        lifted_ND = np.zeros((len(w_ND), len(columns)))
        lifted_ND[:, [columns.index(d) for d in lift.columns]] = lift.shares(w_ND)
        loss_NT = np.full((len(w_ND), len(self.targets)), np.nan)
        for t, target in enumerate(self.targets):
            before = lift.same.get(target, None if target in self.domains else target)
            if before in past.targets:
                loss_NT[:, t] = [run.losses[past.targets.index(before)] for run in past.runs]
        keep_N = np.isfinite(loss_NT).any(1)
        _, mixture_N = np.unique(np.round(w_ND, 9), axis=0, return_inverse=True)
        own_ND = np.pad(self.shares_ND, ((0, 0), (0, len(columns) - len(self.domains))))
        block_N = np.array([first + run.block for run in past.runs], np.int64)
        first_mixture = max(self.mixture_N, default=0) + 1
        joined = replace(
            self,
            domains=columns,
            shares_ND=np.vstack([own_ND, lifted_ND[keep_N]]),
            loss_NT=np.vstack([self.loss_NT, loss_NT[keep_N]]),
            block_N=np.concatenate([self.block_N, block_N[keep_N]]),
            ids=(*self.ids, *(run.id for run, keep in zip(past.runs, keep_N, strict=True) if keep)),
            mixture_N=np.concatenate([self.mixture_N, mixture_N.reshape(-1)[keep_N] + first_mixture]),
            weight_N=np.concatenate([self.weight_N, np.ones(keep_N.sum())]),
            gone=self.gone + len(columns) - len(self.domains),
        )
        noise_K = noises(joined, lift.doubts, np.asarray(joined.block_N >= first))
        believed_N = weights([doubt.exposure(w_ND[keep_N]) for doubt in lift.doubts], noise_K)
        return replace(joined, weight_N=np.concatenate([self.weight_N, np.broadcast_to(believed_N, keep_N.sum())]))

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that have rows, ascending."""
        return tuple(int(b) for b in np.unique(self.block_N))

    @property
    def natural_N(self) -> Bools:
        """Which runs are natural's."""
        return np.asarray(self.mixture_N == 0)

    @property
    def today_N(self) -> Bools:
        """Which runs are of today, not lifted from before."""
        return np.asarray(self.block_N < PAST)

    @property
    def in_parts(self) -> bool:
        """Whether no study has runs in two blocks, so that parts of all runs are left out in the place of blocks."""
        return len(self.blocks) == len(np.unique(self.block_N // PAST))

    @property
    def judged_N(self) -> Bools:
        """The runs that predictors are judged by: those of today where some of them are left out, not all, else all runs."""
        today = len(set(self.block_N[self.today_N].tolist()))
        return self.today_N if today > 1 or (today and self.in_parts) else np.ones(len(self.ids), bool)

    @property
    def root_N(self) -> Array:
        """Roots of the weights: least squares over rows times these count each row by its weight."""
        return np.asarray(np.sqrt(self.weight_N), np.float64)

    @property
    def judged(self) -> Self:
        """The rows that predictors are judged by."""
        return self.rows(self.judged_N)

    def missed(self, predicted_NT: Array) -> Array:
        """`predicted_NT`, of all rows, minus the losses of those that are judged, up to an offset per block and in units of
        the noise of a run of today; 0 where a run was not scored. Shape of `judged.loss_NT`."""
        judged = self.judged
        away_NT = judged.centred(predicted_NT[self.judged_N] - judged.loss_NT)
        return np.nan_to_num(judged.root_N[:, None] * away_NT)

    @property
    def today(self) -> Self:
        """The runs of today alone, over the domains of today."""
        table = self.rows(self.today_N)
        size = len(self.domains) - self.gone
        return replace(table, domains=table.domains[:size], shares_ND=table.shares_ND[:, :size], gone=0)

    @property
    def usual_ND(self) -> Array:
        """Mixtures that are asked about: those of the runs of today, or of all where there are none."""
        return self.shares_ND if self.today_N.all() or not self.today_N.any() else self.shares_ND[self.today_N]

    def rows(self, which_N: Bools | Integers) -> Self:
        """The rows where `which_N` is true, or those at its positions, in that order."""
        return replace(
            self,
            shares_ND=self.shares_ND[which_N],
            loss_NT=self.loss_NT[which_N],
            block_N=self.block_N[which_N],
            ids=tuple(self.ids[i] for i in np.arange(len(self.ids))[which_N]),
            mixture_N=self.mixture_N[which_N],
            weight_N=self.weight_N[which_N],
        )

    def known(self, targets: Sequence[int]) -> Self:
        """Those targets alone, of the runs that were scored on all of them."""
        at = list(targets)
        start_T = None if self.start_T is None else self.start_T[at]
        narrow = replace(self, targets=tuple(self.targets[t] for t in at), loss_NT=self.loss_NT[:, at], start_T=start_T)
        return narrow.rows(np.asarray(np.isfinite(narrow.loss_NT).all(axis=1), bool))

    def mean(self, values: Array) -> Array:
        """The weighted mean over rows of `values` (N rows)."""
        return np.asarray(np.average(values, axis=0, weights=self.weight_N), np.float64)

    def centred(self, values: Array) -> Array:
        """`values` (N rows) minus their weighted means within blocks: what is left once every block has an offset of its own."""
        order_N, first_B, weight_B, rank_N = self._grouped
        ones = [1] * (np.ndim(values) - 1)
        sum_B = np.add.reduceat((values * self.weight_N.reshape(-1, *ones))[order_N], first_B)
        mean_B = sum_B / weight_B.reshape(-1, *ones)
        return np.asarray(values - mean_B[rank_N], np.float64)

    @cached_property
    def _grouped(self) -> tuple[Integers, Integers, Array, Integers]:
        """Rows in the order of their blocks, where each block begins there, its weight, and each row's block by rank."""
        _, rank_N, count_B = np.unique(self.block_N, return_inverse=True, return_counts=True)
        order_N, first_B = np.argsort(rank_N, kind="stable"), np.cumsum(count_B) - count_B
        return order_N, first_B, np.add.reduceat(self.weight_N[order_N], first_B), rank_N

    @property
    def level_blocks(self) -> tuple[int, ...]:
        """The blocks whose mean is the level: those of today, as blocks from before have offsets of another corpus; without
        any of today, all."""
        return tuple(b for b in self.blocks if b < PAST) or self.blocks

    def level(self, rest_NT: Array) -> Array:
        """The mean over `level_blocks` of what a fit leaves, `rest_NT`, weighted within blocks; shape T."""
        inside_BN = [np.asarray(self.block_N == b) for b in self.level_blocks]
        means_BT = [np.average(rest_NT[inside_N], axis=0, weights=self.weight_N[inside_N]) for inside_N in inside_BN]
        return np.asarray(np.mean(means_BT, axis=0), np.float64)

    def objective(self, a_T: Array) -> Array:
        """The mean of targets with weights `a_T`, shape N; NaN in runs that lack a target with weight."""
        counts = a_T != 0
        return np.asarray(np.where(counts, self.loss_NT, 0.0) @ a_T, np.float64)

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
