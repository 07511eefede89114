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
from cuvee.plan.sizes import HELD_OUT_TOKENS
from cuvee.plan.trial import Split
from cuvee.proxies.model import Decoder
from cuvee.shards.corpus import Corpus

WINDOWS = 16
"""Windows scored at one time."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """One target's sample: windows in which tokens 1 to L are predicted from those before them.

    Args:
        tokens_WL1: int64; windows share no predicted token.
        counts_WL: False where the split's last window was filled up.
        bytes_per_token: Of the whole split, which the sample is spread evenly over.
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
    """Windows spread evenly over the whole split, the same in every run, study and seed.

    Not whole documents: 16,384 tokens of those were two or three long files in code and encyclopedia, and the loss was
    theirs (off by more than the differences between mixtures). Spread out, every document counts by its length.

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
    predicted = source.tokens - 1
    windows = -(-predicted // seq_len)
    count = min(windows, max(1, HELD_OUT_TOKENS // seq_len))
    tokens_WL1 = np.zeros((count, seq_len + 1), np.int64)
    counts_WL = np.zeros((count, seq_len), np.bool_)
    for i in range(count):
        start = (2 * i + 1) * windows // (2 * count) * seq_len
        found = source.flat(start, min(start + seq_len + 1, source.tokens))
        tokens_WL1[i, : len(found)] = found
        counts_WL[i, : len(found) - 1] = True
    ratio = corpus.bytes_per_token(target, split)
    return HeldOut(target, torch.from_numpy(tokens_WL1), torch.from_numpy(counts_WL), ratio)


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
