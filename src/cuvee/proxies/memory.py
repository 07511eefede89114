"""How many plans a GPU trains together: K from its free memory.

By calculation. On a CPU, where it was compared with the real step (`docs/proxies.md`), a member takes what is said here or up to a
tenth less; on a GPU it was not measured.

Letters: K plans, V vocabulary.
"""

from __future__ import annotations

from bisect import bisect_right

import torch

from cuvee.base.errors import UsageError
from cuvee.plan.sizes import Size
from cuvee.plan.trial import Precision
from cuvee.proxies.loss import rows_on_gpu

FREE = 0.8
"""Share of a device's free memory that a training may take."""
LOGIT: dict[Precision, int] = {"fp32": 4, "bf16": 8}
"""Bytes of a logit while a piece of them becomes gradients: in place, or in bf16 twice and once in fp32."""


def members(size: Size, vocab: int, batch_tokens: int, precision: Precision, free_bytes: int) -> int:
    """K: plans of this size that a GPU holds at a time, at least 1.

    A plan takes its weights, gradients and two moments in fp32 (16 bytes a weight), what a step holds of each token and
    layer (4 bytes x (13 dim + 6 hidden): what is kept for the way back, and what the way back needs meanwhile), outside
    the layers (8 dim), and its part of a piece of logits.

    Raises:
        UsageError: not even one fits.
    """
    widths = size.layers * (13 * size.dim + 6 * size.hidden) + 8 * size.dim
    each = 16 * size.all_parameters(vocab) + 4 * batch_tokens * widths

    def needed(count: int) -> int:
        rows = rows_on_gpu(count, batch_tokens, vocab, 2 if precision == "bf16" else 4)
        return count * (each + LOGIT[precision] * rows * vocab)

    budget = int(FREE * free_bytes)
    found = bisect_right(range(1, budget // each + 1), budget, key=needed)
    if not found:
        raise UsageError(
            f"a model of size {size.name} with {vocab:,} tokens needs about {needed(1) / 1e9:.1f} GB",
            wanted=f"at most {budget / 1e9:.1f} GB, which is {FREE:.0%} of what is free",
            fix="a smaller batch, size or vocabulary",
        )
    return found


def free_memory() -> int:
    """Free bytes of the GPU.

    Raises:
        UsageError: there is none.
    """
    if not torch.cuda.is_available():
        raise UsageError(
            "together: auto, and there is no CUDA device to ask for its free memory",
            wanted="the first run of the study on a machine with the GPU that it is for",
            fix="that, or the number of plans by hand: together: 8",
        )
    return int(torch.cuda.mem_get_info()[0])
