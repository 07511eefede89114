"""Held-out scoring: nats per token and bits per byte of a domain's text that training never sees.

Letters: K models, W windows of L + 1 tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cuvee.base.errors import DataError
from cuvee.base.rng import key64
from cuvee.plan.trial import Split
from cuvee.proxies.model import Decoder
from cuvee.shards.corpus import Corpus
from cuvee.shards.pools import draw

HELD_OUT_TOKENS = 16_384
"""Tokens of each target that are scored, at most; part of the recipe."""
WINDOWS = 16
"""Windows scored at one time."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """One target's sample, cut into windows: of each, tokens 1 to L are predicted from those before them.

    Args:
        tokens_WL1: int64; neighbours share a token, so that every token but the sample's first is predicted once.
        counts_WL: False where the last window was filled up.
        bytes_per_token: Of the whole split.
    """

    target: str
    tokens_WL1: Tensor
    counts_WL: Tensor
    bytes_per_token: float

    @property
    def tokens(self) -> int:
        """Tokens predicted."""
        return int(self.counts_WL.sum())


def held_out(corpus: Corpus, target: str, split: Split, seq_len: int) -> HeldOut:
    """A sample of whole documents (the last may be cut), the same in every run, study and seed.

    Raises:
        UsageError: no such domain.
        DataError: its split holds less than two tokens.
    """
    source = corpus.source(target, split)
    if source.tokens < 2:
        raise DataError(
            f"domain {target!r} has {source.tokens} tokens in its {split} split",
            wanted="held-out text to score",
            fix="give the domain more documents, or leave it out of the targets",
        )
    pool = draw(source, min(HELD_OUT_TOKENS, source.tokens), key64(0, f"held-out/{split}/{target}"))
    predicted = pool.tokens - 1
    windows = -(-predicted // seq_len)
    flat = np.zeros(windows * seq_len + 1, np.int64)
    flat[: pool.tokens] = pool.flat(0, pool.tokens)
    return HeldOut(
        target,
        torch.from_numpy(flat).unfold(0, seq_len + 1, seq_len),
        (torch.arange(windows * seq_len) < predicted).view(windows, seq_len),
        corpus.bytes_per_token(target, split),
    )


def nats_per_token(model: Decoder, text: HeldOut) -> list[float]:
    """Mean nats per token of each of the K models."""
    total_K = torch.zeros(model.members, dtype=torch.float64)
    for start in range(0, len(text.tokens_WL1), WINDOWS):
        tokens_KWL1 = text.tokens_WL1[start : start + WINDOWS].expand(model.members, -1, -1)
        counts_WL = text.counts_WL[start : start + WINDOWS]
        total_K += (model.nats(tokens_KWL1).double() * counts_WL).sum((1, 2))
    return [float(t) / text.tokens for t in total_K]


def bits_per_byte(nats: float, bytes_per_token: float) -> float:
    """Bits per byte of text from nats per token: comparable between tokenizers."""
    return nats / math.log(2) / bytes_per_token
