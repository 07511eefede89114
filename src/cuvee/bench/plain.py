"""What proxy training is measured against: a LLaMA-like `nn.Module` written as one usually is, alone or under `torch.func.vmap`.

Nothing of `proxies` is in here: `nn.Linear`, logits stored whole, `F.cross_entropy`, `torch.optim.AdamW`, fp32, eager.

Letters: K models, B sequences, L tokens of a sequence, d width, H heads, c width of a head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from cuvee.plan.sizes import Size

RATE = 1e-3


class Norm(nn.Module):
    """RMSNorm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x_BLd: Tensor) -> Tensor:
        """Scaled to a mean square of 1, times the gain."""
        return x_BLd * torch.rsqrt(x_BLd.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


class Block(nn.Module):
    """Attention and SwiGLU."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        d, self.heads = size.dim, size.heads
        self.q, self.k, self.v, self.out = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(d, size.hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(size.hidden, d, bias=False)
        self.attention_norm, self.mlp_norm = Norm(d), Norm(d)

    def forward(self, x_BLd: Tensor, cos_Lc: Tensor, sin_Lc: Tensor) -> Tensor:
        """The stream after it."""
        y_BLd = self.attention_norm(x_BLd)
        q, k, v = (f(y_BLd).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        q, k = (t * cos_Lc + _half_turned(t) * sin_Lc for t in (q, k))
        y_BHLc = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x_BLd = x_BLd + self.out(y_BHLc.transpose(1, 2).flatten(2))
        y_BLd = self.mlp_norm(x_BLd)
        result: Tensor = x_BLd + self.down(F.silu(self.gate(y_BLd)) * self.up(y_BLd))
        return result


def _half_turned(x: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat((-b, a), -1)


class Llama(nn.Module):
    """One decoder of a size for sequences of `seq_len` tokens."""

    def __init__(self, size: Size, vocab: int, seq_len: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, size.dim)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm, self.head = Norm(size.dim), nn.Linear(size.dim, vocab, bias=False)
        rate = size.rotary_base ** (-torch.arange(0, size.head_dim, 2) / size.head_dim)
        angle_Lc = (torch.arange(seq_len)[:, None] * rate).repeat(1, 2)
        self.register_buffer("cos_Lc", angle_Lc.cos())
        self.register_buffer("sin_Lc", angle_Lc.sin())

    def forward(self, tokens_BL1: Tensor) -> Tensor:
        """Mean nats per token of sequences of L + 1 tokens."""
        x_BLd = self.embedding(tokens_BL1[:, :-1])
        for block in self.blocks:
            x_BLd = block(x_BLd, self.cos_Lc, self.sin_Lc)
        logits_BLV = self.head(self.norm(x_BLd))
        return F.cross_entropy(logits_BLV.flatten(0, 1), tokens_BL1[:, 1:].flatten())


Step = Callable[[Tensor], Tensor]
"""Of tokens_KBL1 makes the losses, shape K."""


def alone(size: Size, vocab: int, seq_len: int) -> tuple[Step, Step]:
    """A step of training and a scoring of one model, K = 1."""
    model = Llama(size, vocab, seq_len)
    adam = torch.optim.AdamW(model.parameters(), lr=RATE)

    def step(tokens_KBL1: Tensor) -> Tensor:
        loss: Tensor = model(tokens_KBL1[0])
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        return loss.detach()[None]

    def score(tokens_KBL1: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.as_tensor(model(tokens_KBL1[0]))[None]

    return step, score


def stacked(size: Size, vocab: int, seq_len: int, members: int) -> tuple[Step, Step]:
    """The same of K models by `torch.func.vmap` over their stacked weights; the clip is over all of them."""
    models = [Llama(size, vocab, seq_len) for _ in range(members)]
    weights, buffers = stack_module_state(models)
    leaves = [nn.Parameter(w.detach()) for w in weights.values()]
    adam = torch.optim.AdamW(leaves, lr=RATE)

    def loss(of: dict[str, Tensor], fixed: dict[str, Tensor], tokens_BL1: Tensor) -> Tensor:
        return torch.as_tensor(functional_call(models[0], (of, fixed), (tokens_BL1,)))

    gradients, losses = vmap(grad_and_value(loss)), vmap(loss)

    def named() -> dict[str, Tensor]:
        return {name: leaf.detach() for name, leaf in zip(weights, leaves, strict=True)}

    def step(tokens_KBL1: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):  # the other kernels of a CPU have no rule for vmap
            grads, loss_K = gradients(named(), buffers, tokens_KBL1)
        for leaf, grad in zip(leaves, grads.values(), strict=True):
            leaf.grad = grad
        nn.utils.clip_grad_norm_(leaves, 1.0)
        adam.step()
        return torch.as_tensor(loss_K)

    def score(tokens_KBL1: Tensor) -> Tensor:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            return torch.as_tensor(losses(named(), buffers, tokens_KBL1))

    return step, score
