"""How far such estimates are off: tokenizers trained at the estimate on half of the samples, inferred with the other half.

A bootstrap over documents of the samples alone is too narrow, because the text that the tokenizer was trained on is a sample
as well: 4 of 16 estimates lay beyond 3.5 of its standard deviations. Here both sides are.

Letters: K simulations, n categories, G blocks, W words, T merges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cuvee.audit.merges import Merges
from cuvee.audit.program import Fit, Program
from cuvee.audit.replay import F64, Layout, Replay
from cuvee.audit.words import BLOCKS, Samples

_FLOOR = 0.02
"""Of a simulated mixture, dealt out evenly: an estimate of nothing is no reason to simulate nothing."""


@dataclass(frozen=True, eq=False)
class Simulated:
    """One simulation: the mixture it was trained on, what was inferred, and the merges it made.

    Args:
        truth_n, found_n: Shares of initial pairs.
        fit: The whole solution.
        texts: The tokens made, as strings of base symbols.
    """

    truth_n: F64
    found_n: F64
    fit: Fit
    texts: frozenset[str]


def simulate(
    samples: Samples, layout: Layout, merges: Merges, share_n: F64, count: int, rng: np.random.Generator
) -> Simulated:
    """Train `count` merges on a random half of the documents, mixed by `share_n`, and infer them from the other half."""
    n = len(samples.categories)
    half_nG = _halves(samples, rng)
    train_Wn, infer_Wn = samples.weights(half_nG), samples.weights(1 - half_nG)
    truth_n = (1 - _FLOOR) * share_n + _FLOOR / n
    length_W = np.bincount(layout.word_N[layout.next_N >= 0], minlength=len(samples.words))
    mixed_W = train_Wn @ (truth_n / np.maximum(length_W @ train_Wn, 1))
    replay = Replay(layout, np.column_stack([infer_Wn, mixed_W]), n)
    texts = list(merges.alphabet)
    for _ in range(count):
        pair = replay.best(n)
        if pair < 0:
            break
        left, right = replay.tokens_of(pair)
        replay.merge(pair)
        texts.append(texts[left] + texts[right])
    counts = replay.counts()
    fit = Program(counts, count).solve(truth_n)
    return Simulated(truth_n, fit.share_n, fit, frozenset(texts[len(merges.alphabet) :]))


def halves_hold_text(samples: Samples) -> bool:
    """Whether every category fills blocks enough for both halves."""
    return bool((_filled(samples).sum(1) >= 2).all())


def _filled(samples: Samples) -> NDArray[np.bool_]:
    filled: NDArray[np.bool_] = np.asarray(samples.count_W_nG.sum(0)).reshape(len(samples.categories), BLOCKS) > 0
    return filled


def _halves(samples: Samples, rng: np.random.Generator) -> F64:
    """1 for the blocks of each category to train on, shape (n, G); both halves hold text where a category allows it."""
    n = len(samples.categories)
    filled_nG = _filled(samples)
    half_nG = np.zeros((n, BLOCKS))
    for i in range(n):
        blocks = rng.permutation(np.flatnonzero(filled_nG[i]))
        half_nG[i, blocks[: max(1, len(blocks) // 2)]] = 1
    return half_nG
