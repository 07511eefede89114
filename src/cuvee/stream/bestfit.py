"""Best-fit packing: whole documents side by side in sequences, cut only where one is longer than a sequence.

Best-fit decreasing (Ding et al. 2024, Fewer Truncations Improve Language Modeling): from the longest piece to the shortest,
each goes where it leaves the least room. A document of n tokens is n // L whole sequences and a rest of n % L; rests are
packed. What a sequence is made of follows from the count of rests of each length alone, so the packing is found once for a
domain from that histogram. Which documents of those lengths it is made of changes with every pass, and so does the order.

A row holds L + 1 tokens: one of context and L targets. Every token of every document is a target exactly once in a pass. The
context is the token that precedes the first piece in the source (for the first document, the source's last token); a
piece that goes on with a document stands first in its row, so that its context is its own.
Letters: L sequence length, N items asked for, P rests, R runs of equal bins.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.base.permutation import mixed
from cuvee.base.rng import key64
from cuvee.shards.sources import Source
from cuvee.stream.packing import Items, permuted

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class BestFit:
    """Documents kept whole and packed best-fit, padding where nothing fits.

    Args:
        pad: Token to write where padding; `Batch.documents` says where that is, as -1.
    """

    pad: int = 0

    def items(self, name: str, source: Source, seq_len: int, seed: int, block: int) -> Items:
        """The packed sequences of the domain.

        Raises:
            DataError: the source would not fill one sequence.
        """
        return Packed(name, source, seq_len, seed, block, self.pad)


class Run(NamedTuple):
    """`each` pieces of one length in every one of `bins` bins from `first` on."""

    length: int
    first: int
    bins: int
    each: int


def best_fit(counts_L: Ints, seq_len: int) -> tuple[list[Run], int]:
    """Pack `counts_L[n]` pieces of n tokens, 1 <= n < L, into bins of L; (runs, longest pieces first; number of bins).

    Bins of one room are interchangeable, so they are filled many at a time. Every step ends a length or a room: at most
    (lengths x rooms), and never more than pieces, each at the logarithm of the number of rooms.
    """
    rooms: dict[int, list[tuple[int, int]]] = {}  # tokens left -> ranges of bins
    free: list[int] = []  # the keys of `rooms`, rising
    runs, bins = [], 0

    def put(room: int, first: int, stop: int) -> None:
        if room and first < stop:
            if room not in rooms:
                rooms[room] = []
                insort(free, room)
            rooms[room].append((first, stop))

    for length in np.flatnonzero(counts_L)[::-1].tolist():
        left = int(counts_L[length])
        while left:
            place = bisect_left(free, length)
            if place == len(free):
                more = -(-left // (seq_len // length))
                put(seq_len, bins, bins + more)
                bins += more
            room = free[place]
            first, stop = rooms[room].pop()
            if not rooms[room]:
                del rooms[room], free[place]
            # a bin that a piece left with room for the next one is the best fit for it: `each` go into one bin
            each = min(room // length, left)
            taken = min(stop - first, left // each)
            runs.append(Run(length, first, taken, each))
            put(room - each * length, first, first + taken)
            put(room, first + taken, stop)
            left -= taken * each
    return runs, bins


class Piece(NamedTuple):
    """Tokens `start` to `start + size` of the source, of one document; `goes_on` if not its first."""

    start: int
    size: int
    document: int
    goes_on: bool


@dataclass(frozen=True, eq=False)
class _Rests:
    """Which rests stand in which bin. Ranks number rests from the longest down; 4 bytes a document each for two arrays.

    Args:
        document_P: Rank -> document.
        rank_P: Bins one after the other -> ranks.
        ends: Bin -> where it ends in `rank_P`.
        first_L: Length -> the lowest rank of that length.
    """

    document_P: NDArray[np.int32]
    rank_P: NDArray[np.int32]
    ends: Ints
    first_L: Ints


class Packed:
    """BestFit's items of one domain: whole sequences of long documents, then bins of rests.

    Lengths are read once when `count` or `fill` is asked for, the bins are laid out when the first item is read.

    Raises:
        DataError: the source would not fill one sequence.
    """

    def __init__(self, name: str, source: Source, seq_len: int, seed: int, block: int, pad: int) -> None:
        if source.tokens < seq_len:
            raise DataError(
                f"domain {name!r} has {source.tokens:,} tokens, less than one sequence",
                wanted=f"at least {seq_len:,} tokens",
                fix="give the domain more text, use a shorter seq_len, or set its weight to 0",
            )
        self.name, self.source, self.seq_len, self.seed, self.block, self.pad = name, source, seq_len, seed, block, pad
        self._passes: dict[int, tuple[Ints, Ints]] = {}

    @cached_property
    def _plan(self) -> tuple[Ints, list[Run], int]:
        """(rests of each length, shape L; their runs; their bins)."""
        rests = np.diff(self.source.ends, prepend=0) % self.seq_len
        counts_L = np.bincount(rests, minlength=self.seq_len)
        counts_L[0] = 0
        return counts_L, *best_fit(counts_L, self.seq_len)

    @cached_property
    def _whole(self) -> tuple[Ints, Ints]:
        """(documents of at least L tokens; whole sequences up to and including each)."""
        whole = np.diff(self.source.ends, prepend=0) // self.seq_len
        documents = np.flatnonzero(whole)
        return documents, np.cumsum(whole[documents])

    @cached_property
    def _rests(self) -> _Rests:
        counts_L, runs, bins = self._plan
        rests = np.diff(self.source.ends, prepend=0) % self.seq_len
        documents = np.flatnonzero(rests).astype(np.int32)
        depth = (self.seq_len - rests[documents]).astype(np.uint16 if self.seq_len < 1 << 16 else np.int64)
        document_P = documents[np.argsort(depth, kind="stable")]
        _, first_R, bins_R, each_R = np.array(runs, np.int64).reshape(-1, 4).T
        sizes_R = bins_R * each_R
        within_P = np.arange(document_P.size) - np.repeat(np.cumsum(sizes_R) - sizes_R, sizes_R)
        bin_P = np.repeat(first_R, sizes_R) + within_P // np.repeat(each_R, sizes_R)
        first_L = np.cumsum(counts_L[::-1])[::-1] - counts_L
        rank_P = np.argsort(bin_P, kind="stable").astype(np.int32)
        return _Rests(document_P, rank_P, np.cumsum(np.bincount(bin_P, minlength=bins)), first_L)

    @cached_property
    def count(self) -> int:
        """Sequences of one pass."""
        whole = self._whole[1]
        return self._plan[2] + (int(whole[-1]) if whole.size else 0)

    @cached_property
    def fill(self) -> float:
        """Share of the targets of a pass that are not padding."""
        return self.source.tokens / (self.count * self.seq_len)

    def places(self, items_N: Ints) -> Ints:
        """Pass x `count` + place in the pass, of each item; shape N."""
        key = f"bestfit/{self.name}"
        return items_N - items_N % self.count + permuted(key, self.count, self.seed, self.block, items_N)

    def read(self, place: int, row_L1: Ints) -> None:
        """Write the L + 1 tokens of the item at `place`."""
        pieces, flat, at = self.pieces(place), self.source.flat, 1
        before = pieces[0].start or self.source.tokens
        row_L1[:1] = flat(before - 1, before)
        for piece in pieces:
            row_L1[at : at + piece.size] = flat(piece.start, piece.start + piece.size)
            at += piece.size
        row_L1[at:] = self.pad

    def documents(self, place: int, row_L1: NDArray[np.int32]) -> None:
        """Write the document of each of its tokens; -1 where padding, and for context of another document."""
        pieces, at = self.pieces(place), 1
        row_L1[0] = pieces[0].document if pieces[0].goes_on else -1
        for piece in pieces:
            row_L1[at : at + piece.size] = piece.document
            at += piece.size
        row_L1[at:] = -1

    def pieces(self, place: int) -> list[Piece]:
        """What the item at `place` is made of, in order."""
        epoch, item = divmod(place, self.count)
        documents, whole = self._whole
        bins = self._plan[2]
        if item >= bins:
            long = int(np.searchsorted(whole, item - bins, side="right"))
            turn = item - bins - (int(whole[long - 1]) if long else 0)
            document = int(documents[long])
            start = self._start(document) + turn * self.seq_len
            return [Piece(start, self.seq_len, document, turn > 0)]
        found = [self._rest(document) for document in self._packed(epoch, item).tolist()]
        return sorted(found, key=lambda piece: not piece.goes_on)

    def _start(self, document: int) -> int:
        return int(self.source.ends[document - 1]) if document else 0

    def _rest(self, document: int) -> Piece:
        start, end = self._start(document), int(self.source.ends[document])
        size = (end - start) % self.seq_len
        return Piece(end - size, size, document, end - start > size)

    def _packed(self, epoch: int, bin: int) -> NDArray[np.int32]:
        """The documents whose rests are in the bin in that pass, longest first."""
        rests, counts_L = self._rests, self._plan[0]
        rank = rests.rank_P[rests.ends[bin - 1] if bin else 0 : rests.ends[bin]].astype(np.int64)
        sizes = self._sizes(rests.document_P[rank])
        factor_L, shift_L = self._pass(epoch)
        first = rests.first_L[sizes]
        turned = (factor_L[sizes] * (rank - first) + shift_L[sizes]) % counts_L[sizes]
        return rests.document_P[first + turned]

    def _sizes(self, documents: NDArray[np.int32]) -> Ints:
        ends = self.source.ends
        starts = np.where(documents > 0, ends[documents - 1], 0)
        return (ends[documents] - starts) % self.seq_len

    def _pass(self, epoch: int) -> tuple[Ints, Ints]:
        """A pass's permutation of the rests of each length: rank r to (factor r + shift) modulo their number. Shape L both.

        A stored format, like every order. Two passes are kept, since a batch may reach over the end of one.
        """
        if epoch not in self._passes:
            if len(self._passes) > 1:
                self._passes.pop(next(iter(self._passes)))
            counts_L = np.maximum(self._plan[0], 1)
            key = key64(self.seed, f"bestfit/rests/{self.name}", self.block, epoch)
            words_2L = mixed(np.arange(2 * self.seq_len, dtype=np.uint64) + np.uint64(key))
            factor_L, shift_L = (words_2L.reshape(2, -1) >> np.uint64(1)).astype(np.int64) % counts_L
            while (shared := np.gcd(factor_L, counts_L) > 1).any():
                factor_L[shared] = (factor_L[shared] + 1) % counts_L[shared]
            self._passes[epoch] = factor_L, shift_L
        return self._passes[epoch]
