"""Named proxy sizes and the rule for their learning rate and batch. Numbers only; the model is in `proxies`.

Letters: N parameters without embeddings, D tokens seen in training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cuvee.base.codec import nearest
from cuvee.base.errors import UsageError

HELD_OUT_TOKENS = 32_768
"""Held-out tokens of each target that are scored, at most; part of the recipe."""


@dataclass(frozen=True)
class Size:
    """The shape of a LLaMA-style decoder.

    Args:
        hidden: Width of the SwiGLU layer.
        kv_heads: Heads of keys and values, each shared by as many heads of queries (Ainslie et al. 2023); None for one each.
        rotary_base: Of the rotary positions.
        epsilon: Added to the mean square in RMSNorm.
        tied: Whether the embedding is the output table too.
    """

    name: str
    layers: int
    dim: int
    heads: int
    hidden: int
    kv_heads: int | None = None
    rotary_base: float = 10_000.0
    epsilon: float = 1e-5
    tied: bool = False

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.dim // self.heads

    @property
    def key_value_heads(self) -> int:
        """Heads of keys and values."""
        return self.kv_heads or self.heads

    @property
    def attention_width(self) -> int:
        """Queries, keys and values of a token together; 3 dim without shared heads."""
        return self.head_dim * (self.heads + 2 * self.key_value_heads)

    @property
    def parameters(self) -> int:
        """Parameters without embeddings: attention 4 dim^2 (fewer with shared heads), SwiGLU 3 dim x hidden, norms."""
        attention = self.dim * (self.attention_width + self.dim)
        return self.layers * (attention + 3 * self.dim * self.hidden + 2 * self.dim) + self.dim

    def all_parameters(self, vocab: int) -> int:
        """Parameters with the embedding and, unless it is the same table, the output projection."""
        return self.parameters + (1 if self.tied else 2) * vocab * self.dim

    def flops_per_token(self, vocab: int, seq_len: int) -> float:
        """Training FLOPs per token: 6 per matrix parameter, the output projection and attention included."""
        return 6.0 * (self.parameters + vocab * self.dim) + 12.0 * self.layers * self.dim * seq_len / 2

    def training_bytes(self, vocab: int, tokens: int) -> int:
        """Memory of a training in fp32: weights, gradients, two moments, and what is kept of `tokens` tokens for the backward
        pass: 12 widths and 4 hidden widths a layer, counted on the model."""
        kept = self.layers * (12 * self.dim + 4 * self.hidden)
        return 16 * self.all_parameters(vocab) + 4 * tokens * kept


SIZES: dict[str, Size] = {
    size.name: size
    for size in (
        Size("0.1M", 2, 64, 2, 176),
        Size("0.3M", 3, 96, 3, 256),
        Size("0.6M", 3, 128, 4, 352),
        Size("1M", 5, 128, 4, 352),
        Size("3M", 7, 192, 6, 512),
        Size("10M", 9, 320, 10, 832),
    )
}


LARGE: dict[str, Size] = {
    size.name: size
    for size in (
        Size("100M", 14, 768, 12, 2048),
        Size("300M", 24, 1024, 16, 2816),
        Size("1B", 20, 2048, 16, 5632),
    )
}
"""Sizes of one large run, trained by many processes together (`proxies.ddp`)."""


def size(name: str) -> Size:
    """The named size.

    Raises:
        UsageError: no such size.
    """
    known = SIZES | LARGE
    if name not in known:
        raise UsageError(f"no proxy size {name!r}", wanted=f"one of {', '.join(known)}", fix=nearest(name, known))
    return known[name]


def learning_rate(parameters: int, tokens: int) -> float:
    """Peak learning rate: half of the Step Law's (Predictable Scale I: 1.79 N^-0.713 D^0.307).

    The published fit starts at 60M parameters. At ours its mean loss is as good as any (0.1M parameters, 200,000 tokens:
    within 0.002 bits/byte of the best of x0.25 to x4), but it lies under a cliff, twice the rate being 0.3 worse, and of
    73 runs at 0.1M and 600,000 tokens one was an outlier by 0.2, which is dear in paired differences. Half the rate is
    as good at 0.1M and 0.006 to 0.015 worse at 0.6M, with twice the room (docs/benchmarks.md, `cuvee bench hparams`).
    """
    return 0.895 * math.pow(parameters, -0.713) * math.pow(tokens, 0.307)


def batch_tokens(tokens: int) -> float:
    """Batch in tokens by the Step Law: 0.58 D^0.571."""
    return 0.58 * math.pow(tokens, 0.571)
