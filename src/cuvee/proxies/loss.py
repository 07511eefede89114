"""Cross-entropy against a large vocabulary without keeping the logits.

A batch's logits are larger than a core's cache, and composed from library calls (projection, cross-entropy, their
backward passes) they are read and written about ten times, which took half of a step. Here they are made 192 tokens at
a time, in one buffer, and turned into gradients while they are near: 41 ms instead of 72 for 1,152 tokens and 4,096
entries on one thread.

Letters: K models trained together, T tokens, R tokens of one piece, d width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

PIECE = 192


class _CrossEntropy(torch.autograd.Function):
    """Forward holds softmax(logits) - one_hot, the gradient by the logits, so it makes the gradients there and then."""

    @staticmethod
    def forward(ctx: Any, x_KTd: Tensor, table_KVd: Tensor, target_KT: Tensor) -> Tensor:
        loss_K, tokens = x_KTd.new_zeros(x_KTd.shape[0]), x_KTd.shape[1]
        d_x_KTd, d_table_KVd = torch.empty_like(x_KTd), torch.zeros_like(table_KVd)
        buffer_KRV = _buffer(x_KTd, table_KVd)
        for start in range(0, tokens, PIECE):
            x_KRd, target_KR1 = x_KTd[:, start : start + PIECE], target_KT[:, start : start + PIECE, None]
            exp_KRV, total_KR1, nats_KR1 = _exponentials(x_KRd, table_KVd, target_KR1, buffer_KRV)
            loss_K += nats_KR1.sum((1, 2))
            d_logits_KRV = exp_KRV.div_(total_KR1)
            d_logits_KRV.scatter_add_(-1, target_KR1, d_logits_KRV.new_tensor(-1.0).expand(target_KR1.shape))
            d_x_KTd[:, start : start + PIECE] = d_logits_KRV @ table_KVd
            d_table_KVd.baddbmm_(d_logits_KRV.transpose(1, 2), x_KRd)
        ctx.save_for_backward(d_x_KTd.div_(tokens), d_table_KVd.div_(tokens))
        return loss_K / tokens

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        d_x_KTd, d_table_KVd = ctx.saved_tensors
        return d_x_KTd * grads[0][:, None, None], d_table_KVd * grads[0][:, None, None], None


def _buffer(x_KTd: Tensor, table_KVd: Tensor) -> Tensor:
    return x_KTd.new_empty(x_KTd.shape[0], PIECE, table_KVd.shape[1])


def _exponentials(
    x_KRd: Tensor, table_KVd: Tensor, target_KR1: Tensor, buffer_KRV: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """exp(logits - max) as exp_KRV in the buffer, its sums as total_KR1, nats_KR1 of the targets."""
    logits_KRV = torch.bmm(x_KRd, table_KVd.transpose(1, 2), out=buffer_KRV[:, : x_KRd.shape[1]])
    logits_KRV -= logits_KRV.amax(-1, keepdim=True)
    hit_KR1 = logits_KRV.gather(-1, target_KR1)
    exp_KRV = logits_KRV.exp_()
    total_KR1 = exp_KRV.sum(-1, keepdim=True)
    return exp_KRV, total_KR1, total_KR1.log() - hit_KR1


def cross_entropy(x_KTd: Tensor, table_KVd: Tensor, target_KT: Tensor) -> Tensor:
    """Mean nats per token of `target_KT` under softmax(x table^T), shape K; differentiable once by x and table."""
    result: Tensor = _CrossEntropy.apply(x_KTd, table_KVd, target_KT)  # type: ignore[no-untyped-call]
    return result


@torch.no_grad()
def token_nats(x_KTd: Tensor, table_KVd: Tensor, target_KT: Tensor) -> Tensor:
    """Nats of every token of `target_KT`, shape KT, without gradients."""
    buffer_KRV = _buffer(x_KTd, table_KVd)
    pieces = [
        _exponentials(x_KTd[:, i : i + PIECE], table_KVd, target_KT[:, i : i + PIECE, None], buffer_KRV)[2]
        for i in range(0, x_KTd.shape[1], PIECE)
    ]
    return torch.cat(pieces, 1)[..., 0]
