"""What a run records of held-out text besides losses: likelihoods of every example, or of tokens spread evenly over it.

Letters: W windows of L tokens predicted, X examples recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cuvee.plan.trial import Likelihoods, Want
from cuvee.proxies.evaluate import HeldOut, Prompts, enumerate_nats
from cuvee.proxies.model import Decoder

Array = NDArray[Any]
TOKENS = 512
"""Tokens of a target whose likelihoods are recorded, at most. On ten domains and 86 runs, what a mixture of n-gram models
says of the losses correlates with them at 0.977 by 512 tokens, 0.977 by 2,048 and 0.974 by 128 (mean of ten targets)."""


def token_nats(model: Decoder, text: HeldOut | Prompts, k: int) -> Array:
    """Nats of every token of the windows under model `k`, shape WL."""
    pieces = [nats_KWL[k] for _, nats_KWL in enumerate_nats(model, text)]
    return np.asarray(torch.cat(pieces).double().numpy())


def record(wants: Sequence[Want], text: HeldOut | Prompts, nats_WL: Array) -> tuple[Likelihoods, ...]:
    """One record per want; none of a target whose value is a margin between continuations, not a likelihood."""
    if isinstance(text, Prompts) and text.examples.kind == "choice":
        return ()
    return tuple(
        _examples(text, nats_WL) if want == "example_log_likelihoods" else _tokens(text, nats_WL) for want in wants
    )


def _examples(text: HeldOut | Prompts, nats_WL: Array) -> Likelihoods:
    """Windows of held-out text; examples of measures, which may span several windows."""
    counts_WL = text.counts_WL.numpy()
    nats_W = (nats_WL * counts_WL).sum(1)
    if isinstance(text, HeldOut):
        nats_X, sizes_X = nats_W, counts_WL.sum(1) * text.bytes_per_token
    else:
        of = text.examples
        nats_X, sizes_X = np.bincount(of.example_W, nats_W, len(of.gold_E)), of.bytes_EC[:, 0]
    return Likelihoods.of("example_log_likelihoods", text.target, _hash(text, np.arange(len(nats_X))), nats_X, sizes_X)


def _tokens(text: HeldOut | Prompts, nats_WL: Array) -> Likelihoods:
    counts_WL = text.counts_WL.numpy()
    counted_X = np.flatnonzero(counts_WL)
    number = min(TOKENS, len(counted_X))
    chosen_X = counted_X[(2 * np.arange(number) + 1) * len(counted_X) // (2 * number)]
    if isinstance(text, HeldOut):
        sizes_X = np.full(number, text.bytes_per_token)
    else:
        of = text.examples
        tokens_E = np.bincount(of.example_W, counts_WL.sum(1), len(of.gold_E))
        sizes_X = (of.bytes_EC[:, 0] / np.maximum(tokens_E, 1))[of.example_W[chosen_X // counts_WL.shape[1]]]
    return Likelihoods.of(
        "token_log_likelihoods", text.target, _hash(text, chosen_X), nats_WL.ravel()[chosen_X], sizes_X
    )


def _hash(text: HeldOut | Prompts, chosen_X: Array) -> str:
    """blake2b-128 of the tokens read, which of them count, and which examples in which order."""
    digest = hashlib.blake2b(digest_size=16)
    for array, dtype in ((text.tokens_WL1.numpy(), "<i8"), (text.counts_WL.numpy(), "?"), (chosen_X, "<i8")):
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array, dtype).data)
    return digest.hexdigest()
