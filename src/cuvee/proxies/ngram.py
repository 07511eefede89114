"""An n-gram model of one domain: seconds of counting in the place of a training, as evidence about mixtures.

Interpolated absolute discounting (Ney, Essen & Kneser 1994; Chen & Goodman 1999, An empirical study of smoothing
techniques, section 2.7): of every count d is taken off, and what that frees goes to the next shorter context, down to
single tokens and at last to the uniform distribution. d = n1 / (n1 + 2 n2) for each length. Sequences of tokens are told
apart by 64-bit hashes: of some million of them two collide with a probability of about 1e-6.

Letters: N tokens counted, Q tokens predicted, W windows of L tokens predicted from those before them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from cuvee.plan.trial import Cost, Curve, Plan, Trial
from cuvee.proxies.evaluate import HeldOut, Nats, Prompts
from cuvee.proxies.provenance import provenance
from cuvee.proxies.record import record
from cuvee.shards.corpus import Corpus
from cuvee.shards.pools import pool_of

Array = NDArray[Any]
ORDER = 3
"""Tokens of the longest sequence counted. On ten domains 2, 3 and 4 predict the losses of mixtures alike."""
ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Level:
    """Sequences of one length: a context and the token after it. Keys are sorted hashes.

    Args:
        keys, counts: Of the sequences.
        contexts, totals, kinds: Of their contexts: how often one was seen, and how many different tokens came after it.
        discount: Taken off every count.
    """

    keys: Array
    counts: Array
    contexts: Array
    totals: Array
    kinds: Array
    discount: float

    @classmethod
    def of(cls, context_N: Array, token_N: Array) -> Self:
        """The counts of tokens after contexts."""
        keys, first, counts = np.unique(_joined(context_N, token_N), return_index=True, return_counts=True)
        contexts, totals = np.unique(context_N, return_counts=True)
        kinds = np.bincount(np.searchsorted(contexts, context_N[first]), minlength=len(contexts))
        once, twice = int(np.sum(counts == 1)), int(np.sum(counts == 2))
        # all seen once, as in a text of few tokens: nothing tells how much to take off, so half
        discount = once / (once + 2 * twice) if once and twice else 0.5
        return cls(keys, counts, contexts, totals, kinds, discount)

    def refine(self, context_Q: Array, token_Q: Array, p_Q: Array) -> Array:
        """The probabilities of tokens after contexts, given those after shorter ones; the same where a context is new."""
        count_Q = _find(self.keys, self.counts, _joined(context_Q, token_Q))
        total_Q, kinds_Q = (_find(self.contexts, of, context_Q) for of in (self.totals, self.kinds))
        kept_Q = np.maximum(count_Q - self.discount, 0.0) + self.discount * kinds_Q * p_Q
        return np.where(total_Q > 0, kept_Q / np.maximum(total_Q, 1), p_Q)


@dataclass(frozen=True, eq=False)
class NGram:
    """A model of a text. Its probabilities sum to one over the vocabulary after every context.

    Args:
        levels: Of contexts of 0, 1, ... tokens.
        vocab: Tokens that there are.
    """

    levels: tuple[Level, ...]
    vocab: int

    @classmethod
    def of(cls, tokens_N: Array, vocab: int, order: int = ORDER) -> Self:
        """The model that counts the sequences of up to `order` tokens in `tokens_N`."""
        tokens_N = np.asarray(tokens_N).astype(np.uint64)
        lengths = range(min(order, len(tokens_N)))
        return cls(tuple(Level.of(_contexts(tokens_N, k), tokens_N[k:]) for k in lengths), vocab)

    def nats(self, tokens_WL1: Array) -> Array:
        """Nats of every token but the first of each window, from what the window has before it. Shape WL."""
        tokens_WL1 = np.asarray(tokens_WL1).astype(np.uint64)
        width = tokens_WL1.shape[1]
        p_WL1 = np.full(tokens_WL1.shape, 1.0 / self.vocab)
        for k, level in enumerate(self.levels[:width]):
            context_WQ = np.stack([_contexts(row, k) for row in tokens_WL1])
            p_WL1[:, k:] = level.refine(context_WQ, tokens_WL1[:, k:], p_WL1[:, k:])
        return np.asarray(-np.log(p_WL1[:, 1:]), np.float64)


def count(plan: Plan, corpus: Corpus, texts: Sequence[HeldOut | Prompts]) -> Trial:
    """The trial of a plan of kind `ngram`: the pool of its one domain counted, the `texts` scored.

    Raises:
        UsageError: a pool larger than its domain.
    """
    started, cpu = time.monotonic(), time.process_time()
    (i,) = np.flatnonzero(plan.pools)
    pool = pool_of(corpus, plan.schedule.domains[i], plan.pools[i], seed=plan.seed, block=plan.block)
    model = NGram.of(pool.data, corpus.vocab_size)
    nats = [model.nats(text.tokens_WL1.numpy()) for text in texts]
    return Trial(
        id=plan.id(corpus.fingerprint),
        plan=plan,
        status="done",
        curves=tuple(_curve(text, nats_WL, pool.tokens) for text, nats_WL in zip(texts, nats, strict=True)),
        realised=plan.pools,
        cost=Cost(time.monotonic() - started, time.process_time() - cpu, 0.0),
        provenance=provenance(1),
        likelihoods=tuple(
            r for text, nats_WL in zip(texts, nats, strict=True) for r in record(plan.wants, text, nats_WL)
        ),
    )


def _curve(text: HeldOut | Prompts, nats_WL: Array, tokens: int) -> Curve:
    window_1W = torch.from_numpy((nats_WL * text.counts_WL.numpy()).sum(1))[None]
    raw = text.read(Nats(window_1W.sum(1), window_1W))[0].raw
    return Curve(text.target, (tokens,), (text.nats(raw),), (text.value(raw),))


def _contexts(tokens_N: Array, length: int) -> Array:
    """Hash of the `length` tokens before each token that has as many, shape N - length; of none, 0."""
    number = len(tokens_N) - length
    key_N = np.zeros(number, np.uint64)
    for k in range(length):
        key_N = _joined(key_N, tokens_N[k : k + number])
    return key_N


def _joined(context: Array, token: Array) -> Array:
    """Hash of contexts with a token after them; wraps around at 2^64."""
    mixed = (context + token + np.uint64(1)) * ODD
    return np.asarray(mixed ^ (mixed >> np.uint64(29)))


def _find(keys: Array, values: Array, wanted: Array) -> Array:
    """The values of the wanted keys, 0 where there is none."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
