"""Documents cut into pieces of power-of-two lengths: the buckets of dataset decomposition (Pouransari et al. 2024).

A document of n tokens is n // H pieces of the longest length H = 2^high, and of what is left, one piece for each power of two
in its binary form, longest first; fewer than 2^low tokens remain at its end and are not used. So a piece is of one
document, and no document is cut more than its length asks for.

Pieces are found from counts kept for every 16 documents, of all domains in one table: what takes one pass over the documents
and memory in proportion to them, 3/4 of a byte per document and bucket.
Letters: N pieces asked for, D domains, K buckets from the shortest to the longest, C cells (domain, bucket) by domain and then
bucket, M blocks of documents, B documents of a block.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.base.permutation import GOLDEN, mixed, permute_each
from cuvee.base.rng import key64
from cuvee.shards.sources import Source
from cuvee.stream.state import Served

Ints = NDArray[np.int64]
_BLOCK = 16
_TOGETHER = 1 << 12
"""Pieces that are looked up together: what that needs fits into a cache."""
_AT_ONCE = _BLOCK << 12
"""Documents whose lengths are looked at together when pieces are counted."""
_LANES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").view(np.uint64).ravel()
"""The bits of a byte, each in a byte of its own: sums of up to 255 of them count all eight bits at once."""


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
        self.name, self.source, self.low, self.high, self.longest = name, source, low, high, 0
        self.held_KM = self._count()
        self.counts: Ints = self.held_KM.sum(1, dtype=np.int64)
        if not self.counts.any():
            raise DataError(
                f"domain {name!r} has no document of {1 << low:,} tokens, the shortest length",
                wanted="a domain with at least one piece",
                fix="a smaller shortest length, or a weight of 0",
            )

    def _count(self) -> NDArray[np.int32]:
        """Pieces of each bucket in each block of documents, shape (K, M)."""
        ends, shorter, start = self.source.ends, self.high - self.low, 0
        held_KM = np.zeros((shorter + 1, -(-ends.size // _BLOCK)), np.int32)
        for first in range(0, ends.size, _AT_ONCE):
            lengths = np.diff(ends[first : first + _AT_ONCE], prepend=start)
            start = ends[min(first + _AT_ONCE, ends.size) - 1]
            self.longest = max(self.longest, int(lengths.max()))
            blocks = np.arange(0, lengths.size, _BLOCK)
            here = held_KM[:, first // _BLOCK : first // _BLOCK + blocks.size]
            for k in range(0, shorter, 8):
                lanes = _LANES[(lengths >> (self.low + k)) & 255]
                counted = np.add.reduceat(lanes, blocks).view(np.uint8).reshape(-1, 8)
                here[k : min(k + 8, shorter)] = counted[:, : shorter - k].T
            here[shorter] = np.add.reduceat(lengths >> self.high, blocks)
        return held_KM

    @property
    def tokens(self) -> int:
        """Tokens in pieces; those of the source less the ends of documents that are too short for one."""
        return int((self.counts << np.arange(self.low, self.high + 1)).sum())

    @property
    def natural(self) -> NDArray[np.float64]:
        """Share of the tokens in pieces that each bucket holds, shape K."""
        held = (self.counts << np.arange(self.low, self.high + 1)).astype(np.float64)
        return held / self.tokens

    def served(self, counts_K: Ints) -> dict[int, Served]:
        """Length of pieces that there are -> what was served of them, when that was so many of each bucket."""
        rows = zip(range(self.low, self.high + 1), self.counts.tolist(), counts_K.tolist(), strict=True)
        return {1 << p: Served(had << p, had / count, max(had - count, 0) << p) for p, count, had in rows if count}

    def documents(self, place: int, row_S1: NDArray[np.int32]) -> None:
        """Write the document of the piece that begins at `place`; -1 for context of another one."""
        ends = self.source.ends
        document = int(np.searchsorted(ends, place, side="right"))
        row_S1[:] = document
        if place == (int(ends[document - 1]) if document else 0):
            row_S1[0] = -1


class Pieces:
    """The endless items of every cell: item n of a cell is in pass n // count, and every pass is permuted anew.

    Args:
        domains: Number of a domain -> its pieces; all cut alike.
        size: D, of which some may be left out.
    """

    def __init__(self, domains: Mapping[int, Decomposed], size: int, seed: int) -> None:
        some = next(iter(domains.values()))
        self.low, self.high = some.low, some.high
        self._ends = {i: found.source.ends for i, found in domains.items()}
        # narrower is faster; a token array without ends of documents is one document of any length
        self._of_lengths = np.dtype(np.int32 if all(d.longest < 1 << 31 for d in domains.values()) else np.int64)
        buckets = self.high - self.low + 1
        counts_DK, blocks_DK = np.zeros((2, size, buckets), np.int64)
        keys_DK = np.zeros((size, buckets), np.uint64)
        powers_K = np.arange(1, buckets + 1, dtype=np.uint64) + np.uint64(self.low)
        for i, found in domains.items():
            counts_DK[i], blocks_DK[i] = found.counts, found.held_KM.shape[1]
            keys_DK[i] = np.uint64(key64(seed, f"pieces/{found.name}"))
        self.counts_C, self._keys_C = counts_DK.ravel(), mixed(keys_DK + powers_K * np.uint64(GOLDEN)).ravel()
        self._pieces_C = np.cumsum(self.counts_C) - self.counts_C
        self._blocks_C = np.cumsum(blocks_DK.ravel()) - blocks_DK.ravel()
        held = np.concatenate([domains[i].held_KM.ravel() for i in sorted(domains)])
        # pieces of all cells before each block
        self._before = np.empty(held.size, np.int64)
        self._before[0] = 0
        np.cumsum(held[:-1], out=self._before[1:])

    def places(self, cells_N: Ints, items_N: Ints) -> Ints:
        """Where in its domain's source each of the items begins, shape N."""
        passes_N, index_N = np.divmod(items_N, self.counts_C[cells_N])
        keys_N = mixed(self._keys_C[cells_N] + (passes_N.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN))
        piece_N = permute_each(keys_N, self.counts_C[cells_N], index_N)
        parts = [slice(a, a + _TOGETHER) for a in range(0, max(cells_N.size, 1), _TOGETHER)]
        return np.concatenate([self.starts(cells_N[part], piece_N[part]) for part in parts])

    def starts(self, cells_N: Ints, pieces_N: Ints) -> Ints:
        """Where in its domain's source each piece begins, pieces of a cell in the order of the documents; shape N."""
        number_N = self._pieces_C[cells_N] + pieces_N
        at_N = np.searchsorted(self._before, number_N, side="right") - 1
        place_N, first_N = number_N - self._before[at_N], (at_N - self._blocks_C[cells_N]) * _BLOCK
        domain_N, bucket_N = np.divmod(cells_N, self.high - self.low + 1)
        ends_NB = self._ends_of(domain_N, first_N)
        kind = self._of_lengths
        lengths_NB, power_N = np.diff(ends_NB).astype(kind), (bucket_N + self.low).astype(kind)
        longest_N = power_N == self.high
        pieces_NB = (lengths_NB >> power_N[:, None]) & np.where(longest_N, -1, 1).astype(kind)[:, None]
        held_NB = np.cumsum(pieces_NB, axis=1, dtype=kind)
        within_N, row_N = np.count_nonzero(held_NB <= place_N[:, None], axis=1), np.arange(cells_N.size)
        earlier_N = held_NB[row_N, within_N] - pieces_NB[row_N, within_N]
        longer_N = lengths_NB[row_N, within_N] >> (power_N + 1) << (power_N + 1)
        inside_N = np.where(longest_N, (place_N - earlier_N) << power_N, longer_N)
        starts_N: Ints = ends_NB[row_N, within_N] + inside_N
        return starts_N

    def _ends_of(self, domain_N: Ints, first_N: Ints) -> Ints:
        """The ends of the documents from the one before each `first` on, the last repeated; shape (N, B + 1)."""
        order_N = np.argsort(domain_N.astype(np.uint16) if len(self._ends) < 1 << 16 else domain_N, kind="stable")
        sorted_N = domain_N[order_N]
        document_NB = first_N[order_N, None] + np.arange(-1, _BLOCK)
        ends_NB = np.empty_like(document_NB)
        edges = [0, *(np.flatnonzero(np.diff(sorted_N)) + 1).tolist(), sorted_N.size]
        for a, b in pairwise(edges):
            if a < b:
                np.take(self._ends[int(sorted_N[a])], document_NB[a:b], mode="clip", out=ends_NB[a:b])
        ends_NB[document_NB[:, 0] < 0, 0] = 0
        found_NB = np.empty_like(ends_NB)
        found_NB[order_N] = ends_NB
        return found_NB
