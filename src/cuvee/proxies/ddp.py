"""One run trained by many processes together (`torchrun`): each takes its share of every batch, gradients are averaged.

The batch, and so the run, is the plan's whatever the number of processes. Sums come in another order, so losses agree
with those of one process to rounding, not to the bit (`docs/runners.md` has the figures).

Letters: K plans, B sequences of L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cuvee.base.errors import PartialError, UsageError
from cuvee.plan.trial import Plan, Trial
from cuvee.proxies.model import Decoder
from cuvee.proxies.train import Run, finish
from cuvee.proxies.way import way_of
from cuvee.shards.corpus import Corpus


def check(plan: Plan, processes: int) -> None:
    """Refuse a run that several processes cannot share.

    Raises:
        UsageError: more processes than sequences of a batch; a run that is no training, one of several plans, or not on CPUs.
    """
    if processes > plan.batch:
        raise UsageError(
            f"{processes} processes for batches of {plan.batch} sequences",
            wanted="a sequence each at least",
            fix=f"torchrun --nproc-per-node {plan.batch}",
        )
    if plan.kind == "ngram" or plan.together > 1 or plan.device != "cpu":
        raise UsageError(
            f"a run of kind {plan.kind}, {plan.together} together, on {plan.device}, by several processes",
            wanted="a training on its own (together: 1) on CPUs, the only device this was tried on",
            fix="python -m cuvee.study.worker JOB",
        )


class _Loss(nn.Module):
    """The loss as a module's forward, which is what DDP wraps."""

    def __init__(self, model: Decoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens_KBL1: Tensor) -> Tensor:
        return self.model.loss(tokens_KBL1)


class _Shared(Run):
    """A run whose batches are shared out over the processes of the default group."""

    def __init__(self, plans: Sequence[Plan], corpus: Corpus, inputs: Path | None) -> None:
        super().__init__(plans, corpus, inputs, way_of(plans[0]))
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.keeps = self.rank == 0
        self.shared = DistributedDataParallel(_Loss(self.model), gradient_as_bucket_view=True)

    def _agree(self) -> None:
        """Refuse to go on from checkpoints of different steps: a shared folder shows changes late to some machines. And in
        different ways: one machine may have bf16 or a compiler and another not."""
        mine = torch.tensor([self.step, self.way.precision == "bf16", self.way.backend == "compile"])
        most, least = mine.clone(), mine.clone()
        dist.all_reduce(most, dist.ReduceOp.MAX)
        dist.all_reduce(least, dist.ReduceOp.MIN)
        if not torch.equal(most[1:], least[1:]):
            raise PartialError(
                f"process {self.rank} computes in {self.way}, others otherwise",
                wanted="machines that are alike",
                fix="use such machines, or plan with precision: fp32 and backend: eager",
            )
        if most[0] != least[0]:
            raise PartialError(
                f"process {self.rank} would go on from step {self.step}, others from elsewhere",
                wanted="a checkpoint folder that all see alike",
                fix="run the same command again",
            )

    def load(self, checkpoint: Path | None) -> bool:
        found = super().load(checkpoint)
        self._agree()
        return found

    def backward(self, tokens_KBL1: Tensor) -> Tensor:
        batch = tokens_KBL1.shape[1]
        start, stop = (batch * rank // self.world for rank in (self.rank, self.rank + 1))
        share = (stop - start) / batch
        loss_K: Tensor = self.shared(tokens_KBL1[:, start:stop]) * share
        (loss_K.sum() * self.world).backward()  # type: ignore[no-untyped-call]  # DDP divides by the processes
        total_K = loss_K.detach()
        dist.all_reduce(total_K)
        return total_K

    def trials(self) -> tuple[Trial, ...]:
        cpu = torch.tensor(self.spent()[1], dtype=torch.float64)
        dist.all_reduce(cpu)
        return tuple(
            replace(
                trial,
                cost=replace(trial.cost, cpu_seconds=float(cpu)),
                provenance={**trial.provenance, "processes": str(self.world)},
            )
            for trial in super().trials()
        )


def train_together(
    plans: Sequence[Plan],
    corpus: Corpus,
    *,
    checkpoint: Path | None = None,
    inputs: Path | None = None,
    checkpoint_seconds: float = 30.0,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> tuple[Trial, ...]:
    """As `train.train`, called in every process of the default group with the same arguments; all return the same trials.

    Every process scores all targets. The first one keeps the checkpoint, which all must see.

    Raises:
        UsageError: as of `check`.
        PartialError: the processes see different checkpoints, or compute in different ways.
    """
    check(plans[0], dist.get_world_size())
    return finish(_Shared(plans, corpus, inputs), checkpoint, checkpoint_seconds, on_step)
