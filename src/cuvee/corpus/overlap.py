"""Stage 7, leakage: what share of the held-out 13-word shingles also occurs in the train split of any domain.

Memory is bounded: of each domain and split at most some hundred thousand shingles are kept, chosen by their hash.

Letters: N documents, D domains, S shingles of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cuvee.base.progress import Progress
from cuvee.corpus.documents import Documents
from cuvee.corpus.split import LEFT_OUT, SEARCH, TRAIN, VERIFY
from cuvee.corpus.words import I64, U64

KEPT = 4_000_000
"""Held-out shingles kept in all, shared out to domains and splits."""
_MOST, _LEAST = 200_000, 5_000


class _Sample:
    """At most `limit` shingles: those whose hash is a multiple of a power of two, which doubles when they grow too many."""

    def __init__(self, limit: int) -> None:
        self.limit, self.rate = limit, 1
        self.hashes = np.zeros(0, np.uint64)

    def add(self, hashes: U64) -> None:
        self.hashes = np.concatenate((self.hashes, hashes[hashes % np.uint64(self.rate) == 0]))
        while len(self.hashes) > self.limit:
            self.rate *= 2
            self.hashes = self.hashes[self.hashes % np.uint64(self.rate) == 0]


def measure(documents: Documents, side_N: NDArray[np.uint8], progress: Progress, share: float) -> NDArray[np.float64]:
    """Share of 13-word shingles (counted as often as they occur) of search and verify that occur in train.

    Returns:
        Shape D x 2 (search, verify); NaN where no document has 13 words.
    """
    width = len(documents.domains)
    limit = min(_MOST, max(_LEAST, KEPT // (2 * width)))
    samples = {(domain, side): _Sample(limit) for domain in range(width) for side in (SEARCH, VERIFY)}
    step = share / (2 * max(len(documents.chunks), 1))
    for hashes_S, numbers_S in _shingles(documents):
        key_S = documents.domain_N[numbers_S].astype(np.int64) * 3 + side_N[numbers_S]
        held = np.flatnonzero((side_N[numbers_S] != TRAIN) & (side_N[numbers_S] != LEFT_OUT))
        for key in np.unique(key_S[held]).tolist():
            samples[divmod(key, 3)].add(hashes_S[held[key_S[held] == key]])
        progress.advance(step)
    known = np.unique(np.concatenate([sample.hashes for sample in samples.values()]))
    seen = np.zeros(len(known) + 1, np.bool_)
    for hashes_S, numbers_S in _shingles(documents):
        train = hashes_S[side_N[numbers_S] == TRAIN]
        at = np.searchsorted(known, train)
        found = at < len(known)
        found[found] = known[at[found]] == train[found]
        seen[at[found]] = True
        progress.advance(step)
    result = np.full((width, 2), np.nan)
    for (domain, side), sample in samples.items():
        if len(sample.hashes):
            result[domain, side - 1] = seen[np.searchsorted(known, sample.hashes)].mean()
    return result


def _shingles(documents: Documents) -> Iterator[tuple[U64, I64]]:
    """Of every chunk: shingle hashes and the number of the document each is from."""
    for chunk, first in zip(documents.chunks, documents.first, strict=False):
        hashes_S, ends = chunk.shingles()
        counts = np.diff(ends, prepend=0)
        yield hashes_S, first + np.repeat(np.arange(len(counts)), counts)
