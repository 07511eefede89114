"""Cross-entropy against a large vocabulary without keeping the logits.

A batch's logits are larger than a core's cache, and composed from library calls (projection, cross-entropy, their
backward passes) they are read and written about ten times, which took half of a step. Here they are made 192 tokens at
a time, in one buffer, and turned into gradients while they are near: 41 ms instead of 72 for 1,152 tokens and 4,096
entries on one thread.

On a GPU a piece is as long as memory allows: there launches cost more than passes. In bf16 the factors of products are
rounded; softmax and sums are fp32.

Letters: K models trained together, T tokens, R tokens of one piece, d width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

PIECE = 192
ON_GPU = 1 << 30
"""Bytes of logits that a GPU holds at a time."""
Soften = Callable[[Tensor, Tensor], Tensor]
"""Of logits_KRV, which it may overwrite, and target_KR1, makes nats_KR1."""


@dataclass(frozen=True)
class Softmax:
    """What is made of a piece of logits: `gradient` leaves softmax - one_hot in their place, `nats` what it likes."""

    gradient: Soften
    nats: Soften


def _exponentials(logits_KRV: Tensor, target_KR1: Tensor) -> tuple[Tensor, Tensor]:
    """nats_KR1, and total_KR1 of exp(logits - max), which takes the logits' place."""
    logits_KRV -= logits_KRV.amax(-1, keepdim=True)
    hit_KR1 = logits_KRV.gather(-1, target_KR1)
    total_KR1 = logits_KRV.exp_().sum(-1, keepdim=True)
    return total_KR1.log() - hit_KR1, total_KR1


def _gradient_in_place(logits_KRV: Tensor, target_KR1: Tensor) -> Tensor:
    nats_KR1, total_KR1 = _exponentials(logits_KRV, target_KR1)
    logits_KRV.div_(total_KR1)
    logits_KRV.scatter_add_(-1, target_KR1, logits_KRV.new_tensor(-1.0).expand(target_KR1.shape))
    return nats_KR1


def _nats_in_place(logits_KRV: Tensor, target_KR1: Tensor) -> Tensor:
    return _exponentials(logits_KRV, target_KR1)[0]


IN_PLACE = Softmax(_gradient_in_place, _nats_in_place)
"""One operation after the other."""


def _gradient_fused(logits_KRV: Tensor, target_KR1: Tensor) -> Tensor:
    wide_KRV = logits_KRV.float()
    shifted_KRV = wide_KRV - wide_KRV.amax(-1, keepdim=True)
    exp_KRV = shifted_KRV.exp()
    total_KR1 = exp_KRV.sum(-1, keepdim=True)
    nats_KR1 = total_KR1.log() - shifted_KRV.gather(-1, target_KR1)
    hit_KRV = torch.arange(logits_KRV.shape[-1], device=logits_KRV.device) == target_KR1
    logits_KRV.copy_(exp_KRV / total_KR1 - hit_KRV.float())
    return nats_KR1


def _nats_fused(logits_KRV: Tensor, target_KR1: Tensor) -> Tensor:
    wide_KRV = logits_KRV.float()
    return wide_KRV.logsumexp(-1, keepdim=True) - wide_KRV.gather(-1, target_KR1)


FUSED = Softmax(_gradient_fused, _nats_fused)
"""For a compiler, which makes few passes of it; in fp32 whatever the logits are."""


class _CrossEntropy(torch.autograd.Function):
    """Forward holds softmax(logits) - one_hot, the gradient by the logits, so it makes the gradients there and then."""

    @staticmethod
    def forward(ctx: Any, x_KTd: Tensor, table_KVd: Tensor, target_KT: Tensor, softmax: Softmax) -> Tensor:
        loss_K, tokens = table_KVd.new_zeros(x_KTd.shape[0]), x_KTd.shape[1]
        d_x_KTd, d_table_KVd = torch.empty_like(x_KTd), torch.zeros_like(table_KVd)
        narrow_KVd = table_KVd.to(x_KTd.dtype)
        buffer_KRV = _buffer(x_KTd, table_KVd, softmax)
        rows = buffer_KRV.shape[1]
        for start in range(0, tokens, rows):
            x_KRd, target_KR1 = x_KTd[:, start : start + rows], target_KT[:, start : start + rows, None]
            logits_KRV = _logits(x_KRd, narrow_KVd, buffer_KRV)
            loss_K += softmax.gradient(logits_KRV, target_KR1).sum((1, 2))
            d_x_KTd[:, start : start + rows] = logits_KRV @ narrow_KVd
            if x_KTd.dtype == table_KVd.dtype:
                d_table_KVd.baddbmm_(logits_KRV.transpose(1, 2), x_KRd)
            else:  # bf16 products, added up in fp32
                d_table_KVd += logits_KRV.transpose(1, 2) @ x_KRd
        ctx.save_for_backward(d_x_KTd.div_(tokens), d_table_KVd.div_(tokens))
        return loss_K / tokens

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        d_x_KTd, d_table_KVd = ctx.saved_tensors
        scale_K11 = grads[0][:, None, None]
        return d_x_KTd * scale_K11.to(d_x_KTd.dtype), d_table_KVd * scale_K11, None, None


def _buffer(x_KTd: Tensor, table_KVd: Tensor, softmax: Softmax) -> Tensor:
    """For the logits of a piece, shape KRV."""
    members, tokens, vocab = x_KTd.shape[0], x_KTd.shape[1], table_KVd.shape[1]
    rows = PIECE
    if x_KTd.device.type != "cpu":
        rows = rows_on_gpu(members, tokens, vocab, x_KTd.itemsize)
    elif softmax is not IN_PLACE:  # pieces alike, as every shape is compiled for itself
        rows = max(r for r in range(1, min(PIECE, tokens) + 1) if tokens % r == 0)
    return x_KTd.new_empty(members, rows, vocab)


def rows_on_gpu(members: int, tokens: int, vocab: int, itemsize: int) -> int:
    """R there, for logits of so many bytes each."""
    return min(tokens, max(PIECE, ON_GPU // (members * vocab * itemsize)))


def _logits(x_KRd: Tensor, table_KVd: Tensor, buffer_KRV: Tensor) -> Tensor:
    """Of a piece, in the buffer."""
    return torch.bmm(x_KRd, table_KVd.transpose(1, 2), out=buffer_KRV[:, : x_KRd.shape[1]])


def cross_entropy(x_KTd: Tensor, table_KVd: Tensor, target_KT: Tensor, softmax: Softmax = IN_PLACE) -> Tensor:
    """Mean nats per token of `target_KT` under softmax(x table^T), shape K; differentiable once by x and table.

    Products are in the precision of x.
    """
    result: Tensor = _CrossEntropy.apply(x_KTd, table_KVd, target_KT, softmax)  # type: ignore[no-untyped-call]
    return result


@torch.no_grad()
def token_nats(x_KTd: Tensor, table_KVd: Tensor, target_KT: Tensor, softmax: Softmax = IN_PLACE) -> Tensor:
    """Nats of every token of `target_KT`, shape KT, without gradients."""
    buffer_KRV, narrow_KVd = _buffer(x_KTd, table_KVd, softmax), table_KVd.to(x_KTd.dtype)
    rows = buffer_KRV.shape[1]
    pieces = [
        softmax.nats(_logits(x_KTd[:, i : i + rows], narrow_KVd, buffer_KRV), target_KT[:, i : i + rows, None])
        for i in range(0, x_KTd.shape[1], rows)
    ]
    return torch.cat(pieces, 1)[..., 0]
