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

    def find(self, bucket: int, piece: int) -> tuple[int, int, bool]:
        """(document, where in the source the piece begins, whether it goes on with its document) of a piece of a bucket."""
        before_M, power, ends = self.before_KM[bucket], self.low + bucket, self.source.ends
        block = int(np.searchsorted(before_M, piece, side="right")) - 1
        first = block * _BLOCK
        stops = ends[first : first + _BLOCK]
        begin = int(ends[first - 1]) if first else 0
        lengths = np.diff(stops, prepend=begin)
        held = np.cumsum(self.pieces(lengths, bucket))
        place = piece - int(before_M[block])
        within = int(np.searchsorted(held, place, side="right"))
        start = int(stops[within - 1]) if within else begin
        if power == self.high:
            at = (place - (int(held[within - 1]) if within else 0)) << power
        else:
            at = int(lengths[within]) >> (power + 1) << (power + 1)
        return first + within, start + at, at > 0


class Bucket:
    """The endless items of one domain and length: `packing.Items` of single pieces."""

    fill = 1.0

    def __init__(self, decomposed: Decomposed, bucket: int, seed: int) -> None:
        self.decomposed, self.bucket, self.seed = decomposed, bucket, seed
        self.size = 1 << (decomposed.low + bucket)
        self.count = int(decomposed.counts[bucket])

    def places(self, items_N: Ints) -> Ints:
        """Which piece of the bucket each item is, shape N."""
        return permuted(f"length/{self.size}/{self.decomposed.name}", self.count, self.seed, 0, items_N)

    def read(self, place: int, row_S1: Ints) -> None:
        """Write the tokens of the piece after the one that precedes them; before the source's first comes its last."""
        source, (_, start, _) = self.decomposed.source, self.decomposed.find(self.bucket, place)
        if start:
            row_S1[:] = source.flat(start - 1, start + self.size)
        else:
            row_S1[:1] = source.flat(source.tokens - 1, source.tokens)
            row_S1[1:] = source.flat(0, self.size)

    def documents(self, place: int, row_S1: NDArray[np.int32]) -> None:
        """Write the piece's document; -1 for context of another one."""
        document, _, goes_on = self.decomposed.find(self.bucket, place)
        row_S1[:] = document
        if not goes_on:
            row_S1[0] = -1
