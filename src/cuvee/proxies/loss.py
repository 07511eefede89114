"""Cross-entropy against a large vocabulary without keeping the logits.

A batch's logits are larger than a core's cache, and composed from library calls (projection, cross-entropy, their
backward passes) they are read and written about ten times, which took half of a step. Here they are made a piece at
a time, in one buffer, and turned into gradients while they are near. They are not even divided by their sum: what has a
row or a column a token (the stream and its gradient) is, being d wide instead of V.

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
"""Tokens of a piece in fp32; twice as many in bf16, which are as many bytes."""
ON_GPU = 1 << 30
"""Bytes of logits that a GPU holds at a time."""


@dataclass(frozen=True)
class Softmax:
    """What is made of logits_KRV, which may be overwritten, and target_KR1.

    Args:
        gradient: Makes nats_KR1, total_KR1 and total * (softmax - one_hot), shape KRV, perhaps in the place of the logits.
        nats: Makes nats_KR1.
    """

    gradient: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    nats: Callable[[Tensor, Tensor], Tensor]


def _exponentials(logits_KRV: Tensor, target_KR1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """exp(logits - max) in fp32, in place unless they are bf16; what the targets' were before exp; their sum."""
    wide_KRV = logits_KRV.float() if logits_KRV.dtype == torch.bfloat16 else logits_KRV
    wide_KRV -= wide_KRV.amax(-1, keepdim=True)
    hit_KR1 = wide_KRV.gather(-1, target_KR1)
    total_KR1 = wide_KRV.exp_().sum(-1, keepdim=True)
    return wide_KRV, hit_KR1, total_KR1


def _gradient(logits_KRV: Tensor, target_KR1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    wide_KRV, hit_KR1, total_KR1 = _exponentials(logits_KRV, target_KR1)
    d_logits_KRV = wide_KRV.to(logits_KRV.dtype)
    d_logits_KRV.scatter_(-1, target_KR1, (hit_KR1.exp() - total_KR1).to(logits_KRV.dtype))
    return total_KR1.log() - hit_KR1, total_KR1, d_logits_KRV


def _nats(logits_KRV: Tensor, target_KR1: Tensor) -> Tensor:
    _, hit_KR1, total_KR1 = _exponentials(logits_KRV, target_KR1)
    return total_KR1.log() - hit_KR1


SOFTMAX = Softmax(_gradient, _nats)


class _CrossEntropy(torch.autograd.Function):
    """Forward holds softmax(logits) - one_hot, the gradient by the logits, so it makes the gradients there and then."""

    @staticmethod
    def forward(ctx: Any, x_KTd: Tensor, table_KVd: Tensor, target_KT: Tensor, softmax: Softmax) -> Tensor:
        loss_K, tokens = table_KVd.new_zeros(x_KTd.shape[0]), x_KTd.shape[1]
        d_x_KTd = torch.empty_like(x_KTd)
        d_table_KdV = table_KVd.new_zeros(
            table_KVd.mT.shape
        )  # this way round its products are three times as fast in bf16
        narrow_KVd = table_KVd.to(x_KTd.dtype)
        buffer_KRV = _buffer(x_KTd, table_KVd, softmax)
        rows = buffer_KRV.shape[1]
        for start in range(0, tokens, rows):
            x_KRd, target_KR1 = x_KTd[:, start : start + rows], target_KT[:, start : start + rows, None]
            logits_KRV = _logits(x_KRd, narrow_KVd, buffer_KRV)
            nats_KR1, total_KR1, d_logits_KRV = softmax.gradient(logits_KRV, target_KR1)
            loss_K += nats_KR1.sum((1, 2))
            total_KR1 *= tokens
            d_x_KTd[:, start : start + rows] = (d_logits_KRV @ narrow_KVd) / total_KR1
            scaled_KdR = (x_KRd / total_KR1).to(x_KTd.dtype).mT
            if x_KTd.dtype == table_KVd.dtype:
                d_table_KdV.baddbmm_(scaled_KdR, d_logits_KRV)
            else:  # bf16 products, added up in fp32
                d_table_KdV += scaled_KdR @ d_logits_KRV
            del d_logits_KRV  # else it would lie beside the next piece's
        ctx.save_for_backward(d_x_KTd, d_table_KdV)
        return loss_K / tokens

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        d_x_KTd, d_table_KdV = ctx.saved_tensors
        scale_K11 = grads[0][:, None, None]
        return d_x_KTd * scale_K11.to(d_x_KTd.dtype), d_table_KdV.mT.contiguous().mul_(scale_K11), None, None


def _buffer(x_KTd: Tensor, table_KVd: Tensor, softmax: Softmax) -> Tensor:
    """For the logits of a piece, shape KRV."""
    members, tokens, vocab = x_KTd.shape[0], x_KTd.shape[1], table_KVd.shape[1]
    rows = 2 * PIECE if x_KTd.dtype == torch.bfloat16 else PIECE
    if x_KTd.device.type != "cpu":
        rows = rows_on_gpu(members, tokens, vocab, x_KTd.itemsize)
    elif softmax is not SOFTMAX:  # pieces alike, as every shape is compiled for itself
        rows = max(r for r in range(1, min(rows, tokens) + 1) if tokens % r == 0)
    return x_KTd.new_empty(members, rows, vocab)


def rows_on_gpu(members: int, tokens: int, vocab: int, itemsize: int) -> int:
    """R there, for logits of so many bytes each."""
    return min(tokens, max(PIECE, ON_GPU // (members * vocab * itemsize)))


def _logits(x_KRd: Tensor, table_KVd: Tensor, buffer_KRV: Tensor) -> Tensor:
    """Of a piece, in the buffer."""
    return torch.bmm(x_KRd, table_KVd.transpose(1, 2), out=buffer_KRV[:, : x_KRd.shape[1]])


def cross_entropy(x_KTd: Tensor, table_KVd: Tensor, target_KT: Tensor, softmax: Softmax = SOFTMAX) -> Tensor:
    """Mean nats per token of `target_KT` under softmax(x table^T), shape K; differentiable once by x and table.

    Products are in the precision of x.
    """
    result: Tensor = _CrossEntropy.apply(x_KTd, table_KVd, target_KT, softmax)  # type: ignore[no-untyped-call]
    return result


@torch.no_grad()
def token_nats(x_KTd: Tensor, table_KVd: Tensor, target_KT: Tensor, softmax: Softmax = SOFTMAX) -> Tensor:
    """Nats of every token of `target_KT`, shape KT, without gradients."""
    buffer_KRV, narrow_KVd = _buffer(x_KTd, table_KVd, softmax), table_KVd.to(x_KTd.dtype)
    rows = buffer_KRV.shape[1]
    pieces = [
        softmax.nats(_logits(x_KTd[:, i : i + rows], narrow_KVd, buffer_KRV), target_KT[:, i : i + rows, None])
        for i in range(0, x_KTd.shape[1], rows)
    ]
    return torch.cat(pieces, 1)[..., 0]
