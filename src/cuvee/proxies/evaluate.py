"""Held-out scoring: bits per byte of a domain's text that training never sees, and of examples of the user's.

Letters: K models, W windows of L + 1 tokens, J documents, E examples of C continuations at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cuvee.base.errors import DataError
from cuvee.plan.sizes import HELD_OUT_TOKENS
from cuvee.plan.trial import Measure, Split
from cuvee.proxies.model import Decoder
from cuvee.shards.corpus import Corpus
from cuvee.shards.examples import Tokenised

WINDOWS = 16
"""Windows scored at one time."""


@dataclass(frozen=True, eq=False)
class Nats:
    """Summed nats of counted tokens: of all windows in the order of scoring, and of each."""

    total_K: Tensor
    window_KW: Tensor


@dataclass(frozen=True)
class Reading:
    """What one model makes of a target: the figure that curves are made of, and its parts by document or example."""

    raw: float
    sums: list[float]
    sizes: list[float]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """One target's sample: windows in which tokens 1 to L are predicted from those before them.

    Args:
        tokens_WL1: int64; windows share no predicted token.
        counts_WL: False where the split's last window was filled up.
        bytes_per_token: Of the whole split, which the sample is spread evenly over.
        document_W: The document that each window begins in.
    """

    target: str
    tokens_WL1: Tensor
    counts_WL: Tensor
    bytes_per_token: float
    document_W: Tensor

    @property
    def tokens(self) -> int:
        """Tokens predicted."""
        return int(self.counts_WL.sum())

    def read(self, nats: Nats) -> list[Reading]:
        """One reading a model: nats per token, and bits over bytes by document."""
        _, of_W = torch.unique(self.document_W, return_inverse=True)
        sizes_J = torch.zeros(int(of_W.max()) + 1, dtype=torch.float64)
        sizes_J.index_add_(0, of_W, self.counts_WL.sum(1).double() * self.bytes_per_token)
        sums_KJ = torch.zeros(len(nats.total_K), len(sizes_J), dtype=torch.float64)
        sums_KJ.index_add_(1, of_W, nats.window_KW / math.log(2))
        return [
            Reading(float(total) / self.tokens, sums_J.tolist(), sizes_J.tolist())
            for total, sums_J in zip(nats.total_K, sums_KJ, strict=True)
        ]

    def value(self, raw: float) -> float:
        """Bits per byte of text from nats per token: comparable between tokenizers."""
        return raw / math.log(2) / self.bytes_per_token

    def nats(self, raw: float) -> float:
        """Nats per token."""
        return raw


@dataclass(frozen=True, eq=False)
class Prompts:
    """A measure: examples of which the continuations are scored.

    Args:
        tokens_WL1, counts_WL: As of `HeldOut`; what is counted are the continuations' tokens.
    """

    target: str
    examples: Tokenised
    tokens_WL1: Tensor
    counts_WL: Tensor

    @property
    def tokens(self) -> int:
        """Tokens that the models read: prompts too."""
        return self.counts_WL.numel()

    def read(self, nats: Nats) -> list[Reading]:
        """One reading a model: bits per byte of the right continuations, or of choices the mean over examples of the right
        one's bits per byte minus the mean of the others'."""
        of, examples = self.examples, len(self.examples.gold_E)
        bytes_EC = torch.from_numpy(of.bytes_EC).double()
        cell_W = torch.from_numpy(of.example_W.astype("int64") * of.bytes_EC.shape[1] + of.choice_W)
        bits_KEC = torch.zeros(len(nats.total_K), bytes_EC.numel(), dtype=torch.float64)
        bits_KEC = bits_KEC.index_add_(1, cell_W, nats.window_KW / math.log(2)).view(-1, *bytes_EC.shape)
        gold_E1 = torch.from_numpy(of.gold_E.astype("int64"))[:, None]
        right_KE = bits_KEC.gather(2, gold_E1.expand(len(bits_KEC), -1, -1))[..., 0]
        sizes_E = bytes_EC.gather(1, gold_E1)[:, 0]
        if of.kind == "choice":
            rate_KEC = torch.where(bytes_EC > 0, bits_KEC / bytes_EC.clamp(min=1), 0.0)
            own_KE = right_KE / sizes_E
            right_KE = own_KE - (rate_KEC.sum(2) - own_KE) / ((bytes_EC > 0).sum(1) - 1)
            sizes_E = torch.ones(examples, dtype=torch.float64)
        return [Reading(float(row_E.sum() / sizes_E.sum()), row_E.tolist(), sizes_E.tolist()) for row_E in right_KE]

    def value(self, raw: float) -> float:
        """Bits per byte, or the margin in them."""
        return raw

    def nats(self, raw: float) -> float:
        """Nats per byte."""
        return raw * math.log(2)


def prompts(measure: Measure, inputs: Path | None, split: Split, seq_len: int) -> Prompts:
    """The examples of one half of a measure.

    Raises:
        DataError: they are not in `inputs`, or were cut for sequences of another length.
    """
    sha = measure.search if split == "search" else measure.verify
    path = (inputs or Path()) / f"{sha}.npz"
    examples = Tokenised.load(path)
    if examples.sha != sha or examples.seq_len != seq_len:
        raise DataError(
            f"{path} holds examples {examples.sha} in windows of {examples.seq_len}",
            wanted=f"those of the target {measure.name!r}: {sha}, windows of {seq_len}",
            fix="remove it, and run the study again from its file",
        )
    tokens_WL1 = torch.from_numpy(examples.tokens_WL1.astype("int64"))
    return Prompts(measure.name, examples, tokens_WL1, torch.from_numpy(examples.counts_WL))


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
    starts_W = (2 * np.arange(count) + 1) * windows // (2 * count) * seq_len
    for i, start in enumerate(starts_W.tolist()):
        found = source.flat(start, min(start + seq_len + 1, source.tokens))
        tokens_WL1[i, : len(found)] = found
        counts_WL[i, : len(found) - 1] = True
    return HeldOut(
        target,
        torch.from_numpy(tokens_WL1),
        torch.from_numpy(counts_WL),
        corpus.bytes_per_token(target, split),
        torch.from_numpy(np.searchsorted(source.ends, starts_W, side="right")),
    )


def score(model: Decoder, text: HeldOut | Prompts) -> list[Reading]:
    """What each of the K models makes of a text."""
    total_K = torch.zeros(model.members, dtype=torch.float64)
    windows = []
    for start, nats_KWL in enumerate_nats(model, text):
        counted_KWL = nats_KWL.double() * text.counts_WL[start : start + WINDOWS]
        total_K += counted_KWL.sum((1, 2))
        windows.append(counted_KWL.sum(2))
    return text.read(Nats(total_K, torch.cat(windows, 1)))


def enumerate_nats(model: Decoder, text: HeldOut | Prompts) -> Iterator[tuple[int, Tensor]]:
    """The first of some windows, and the nats of their tokens under each model, shape KWL, on the CPU; to the last window."""
    for start in range(0, len(text.tokens_WL1), WINDOWS):
        tokens_WL1 = text.tokens_WL1[start : start + WINDOWS]
        windows = len(tokens_WL1)
        if model.way.backend == "compile":  # for one shape only
            tokens_WL1 = torch.cat([tokens_WL1, tokens_WL1[:1].expand(WINDOWS - windows, -1)])
        nats_KWL = model.nats(tokens_WL1.to(model.way.device).expand(model.members, -1, -1))
        yield start, nats_KWL[:, :windows].cpu()
