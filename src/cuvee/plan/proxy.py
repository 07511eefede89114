"""The small runs of a problem: how long, how large, and how they are computed.

Letters: r tokens of a run, K runs trained as one model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from cuvee.base.errors import UsageError
from cuvee.plan.sizes import Size, batch_tokens, learning_rate, size
from cuvee.plan.trial import Backend, Device, Precision, Start


@dataclass(frozen=True)
class Proxy:
    """The small runs: r tokens each, `batch` sequences of `seq_len` tokens per step.

    `learning_rate` and `batch` of None follow the Step Law at this size and r (`plan.sizes`). With a `start`, all runs go on
    from that checkpoint, whose shape and size they have. `together` of `auto` is as many as the free memory of the GPU allows
    (1 on a CPU), a number from the moment that a study begins.
    """

    tokens: int
    size: str = "0.6M"
    seq_len: int = 128
    batch: int | None = None
    learning_rate: float | None = None
    precision: Precision = "fp32"
    eval_points: int = 2
    start: Start | None = None
    backend: Backend = "eager"
    device: Device = "cpu"
    together: Literal["auto"] | int = 1

    def __post_init__(self) -> None:
        if self.start is None:
            size(self.size)
        elif self.size != self.start.size.name:
            raise UsageError(
                f"proxies of size {self.size!r} that start from a checkpoint", wanted=f"size {self.start.size.name!r}"
            )
        batch = 1 if self.batch is None else self.batch
        together = 1 if self.together == "auto" else self.together
        if min(self.tokens, self.seq_len - 1, self.eval_points, together, batch) < 1:
            raise UsageError(
                f"got tokens {self.tokens}, seq_len {self.seq_len}, batch {self.batch}, eval_points "
                f"{self.eval_points}, together {self.together}",
                wanted="tokens >= 1, seq_len >= 2, batch >= 1, eval_points >= 1, together >= 1 or auto",
            )
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise UsageError(
                f"learning_rate: got {self.learning_rate}",
                wanted="a number above 0",
                fix="leave it out, for the rule's",
            )

    @property
    def shape(self) -> Size:
        """The shape of the models."""
        return size(self.size) if self.start is None else self.start.size

    @property
    def members(self) -> int:
        """K, the runs of a block that are trained as one model.

        Raises:
            UsageError: `auto`, before a study has settled it.
        """
        if self.together == "auto":
            raise UsageError("together: auto is no number yet", wanted="the problem of a study, which settles it")
        return self.together

    @property
    def sequences_per_step(self) -> int:
        """The batch in sequences, given or by the rule."""
        return self.batch or max(1, round(batch_tokens(self.tokens) / self.seq_len))

    @property
    def steps(self) -> int:
        """Optimiser steps: r rounded up to whole batches."""
        return -(-self.tokens // (self.sequences_per_step * self.seq_len))

    @property
    def trained_tokens(self) -> int:
        """Tokens that a proxy really sees: whole steps."""
        return self.steps * self.sequences_per_step * self.seq_len

    @property
    def peak_learning_rate(self) -> float:
        """The peak learning rate, given or by the rule."""
        return self.learning_rate or learning_rate(self.shape.parameters, self.tokens)
