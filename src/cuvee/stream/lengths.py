"""Documents cut into pieces of power-of-two lengths: the buckets of dataset decomposition (Pouransari et al. 2024).

A document of n tokens is n // H pieces of the longest length H = 2^high, and of what is left, one piece for each power of two
in its binary form, longest first; fewer than 2^low tokens remain at its end and are not used. So a piece is of one
document, and no document is cut more than its length asks for.

A row of a bucket of length S holds S + 1 tokens: the token before the piece as context, and the piece as S targets. Pieces are
found from counts kept for every 256 documents: 1/32 byte per document and bucket.
Letters: N items asked for, K buckets from the shortest to the longest, M blocks of documents, S tokens of a piece.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.shards.sources import Source
from cuvee.stream.packing import permuted

Ints = NDArray[np.int64]
_BLOCK = 256
_CHUNK = 128
_AT_ONCE = _BLOCK << 10
"""Documents whose lengths are looked at together when pieces are counted."""


class Decomposed:
    """The pieces of one domain.

    Args:
        low: The shortest pieces have 2^low tokens.
        high: The longest have 2^high.

    Raises:
        DataError: no document is as long as the shortest piece.
    """

    def __init__(self, name: str, source: Source, low: int, high: int) -> None:
        assert 0 <= low <= high, (low, high)
        self.name, self.source, self.low, self.high = name, source, low, high
        self.before_KM = self._count()
        if not self.counts.any():
            raise DataError(
                f"domain {name!r} has no document of {1 << low:,} tokens, the shortest length",
                wanted="a domain with at least one piece",
                fix="a smaller shortest length, or a weight of 0",
            )

    def _count(self) -> Ints:
        """Pieces of each bucket before each block of documents, and in all; shape (K, M + 1)."""
        ends, found = self.source.ends, [np.zeros((self.high - self.low + 1, 1), np.int64)]
        for first in range(0, ends.size, _AT_ONCE):
            lengths = np.diff(ends[first : first + _AT_ONCE], prepend=ends[first - 1] if first else 0)
            blocks = np.arange(0, lengths.size, _BLOCK)
            found.append(np.stack([np.add.reduceat(self.pieces(lengths, k), blocks) for k in range(self.buckets)]))
        return np.cumsum(np.concatenate(found, axis=1), axis=1)

    def pieces(self, lengths: Ints, bucket: int) -> Ints:
        """How many pieces of the bucket documents of these lengths have; same shape."""
        power = self.low + bucket
        return lengths >> power if power == self.high else (lengths >> power) & 1

    @property
    def buckets(self) -> int:
        """K."""
        return self.high - self.low + 1

    @property
    def counts(self) -> Ints:
        """Pieces of each bucket, shape K."""
        return self.before_KM[:, -1]

    @property
    def tokens(self) -> int:
        """Tokens in pieces; those of the source less the ends of documents that are too short for one."""
        return int((self.counts << np.arange(self.low, self.high + 1)).sum())

    @property
    def natural(self) -> NDArray[np.float64]:
        """Share of the tokens in pieces that each bucket holds, shape K."""
        held = (self.counts << np.arange(self.low, self.high + 1)).astype(np.float64)
        return held / self.tokens

    def starts(self, bucket: int, pieces_N: Ints) -> Ints:
        """Where in the source each of the pieces of a bucket begins, shape N."""
        before_M, power, ends = self.before_KM[bucket], self.low + bucket, self.source.ends
        block_N = np.searchsorted(before_M, pieces_N, side="right") - 1
        place_N = pieces_N - before_M[block_N]
        document = np.minimum(block_N[:, None] * _BLOCK + np.arange(-1, _BLOCK), ends.size - 1)
        ends_NB = np.where(document < 0, 0, ends[document])
        lengths_NB = np.diff(ends_NB)
        held_NB = np.cumsum(self.pieces(lengths_NB, bucket), axis=1)
        within_N = (held_NB <= place_N[:, None]).sum(1)
        row_N = np.arange(pieces_N.size)
        if power == self.high:
            earlier_N = np.where(within_N > 0, held_NB[row_N, within_N - 1], 0)
            inside_N = (place_N - earlier_N) << power
        else:
            inside_N = lengths_NB[row_N, within_N] >> (power + 1) << (power + 1)
        starts_N: Ints = ends_NB[row_N, within_N] + inside_N
        return starts_N


class Bucket:
    """The endless items of one domain and length: `packing.Items` of single pieces. A place is where its piece begins."""

    fill = 1.0

    def __init__(self, decomposed: Decomposed, bucket: int, seed: int) -> None:
        self.decomposed, self.bucket, self.seed = decomposed, bucket, seed
        self.size = 1 << (decomposed.low + bucket)
        self.count = int(decomposed.counts[bucket])
        self._chunks: dict[int, Ints] = {}

    def places(self, items_N: Ints) -> Ints:
        """Where in the source each item begins, shape N."""
        if items_N.size >= _CHUNK // 2:
            return self._starts(items_N)
        chunk_N, place_N = np.divmod(items_N, _CHUNK)
        found_N = np.empty_like(place_N)
        for chunk in set(chunk_N.tolist()):
            found_N[chunk_N == chunk] = self._chunk(chunk)[place_N[chunk_N == chunk]]
        return found_N

    def _chunk(self, chunk: int) -> Ints:
        """The items of a chunk; two chunks are kept, since items are asked for a few at a time and in order."""
        if chunk not in self._chunks:
            if len(self._chunks) > 1:
                self._chunks.pop(next(iter(self._chunks)))
            self._chunks[chunk] = self._starts(np.arange(chunk * _CHUNK, (chunk + 1) * _CHUNK))
        return self._chunks[chunk]

    def _starts(self, items_N: Ints) -> Ints:
        key = f"length/{self.size}/{self.decomposed.name}"
        return self.decomposed.starts(self.bucket, permuted(key, self.count, self.seed, 0, items_N))

    def read(self, place: int, row_S1: Ints) -> None:
        """Write the tokens of the piece after the one that precedes them; before the source's first comes its last."""
        source = self.decomposed.source
        if place:
            row_S1[:] = source.flat(place - 1, place + self.size)
        else:
            row_S1[:1] = source.flat(source.tokens - 1, source.tokens)
            row_S1[1:] = source.flat(0, self.size)

    def documents(self, place: int, row_S1: NDArray[np.int32]) -> None:
        """Write the piece's document; -1 for context of another one."""
        ends = self.decomposed.source.ends
        document = int(np.searchsorted(ends, place, side="right"))
        row_S1[:] = document
        if place == (int(ends[document - 1]) if document else 0):
            row_S1[0] = -1
