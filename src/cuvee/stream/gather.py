"""Rows of tokens from one source, many short ones at once.

Where the source's tokens lie in memory or in mapped files, rows are taken from a view of all windows of their length, with one
call for all; otherwise one after the other.
Letters: N rows wanted, R rows of a batch, L tokens of a sequence, S of a piece, whose row has one more before it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from cuvee.shards.indexed import IndexedDataset, Tokens
from cuvee.shards.pools import Pool
from cuvee.shards.raw import RawShard
from cuvee.shards.sources import Source, TokenSource

Ints = NDArray[np.int64]
_LONG = 1 << 11
"""Tokens from which on copying costs so much more than calls that rows are read one by one."""


class Gather:
    """Reads pieces of one source with the token before each; before the source's first comes its last."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._views: dict[tuple[int, int], Tokens] = {}

    def __reduce__(self) -> tuple[Any, tuple[Source]]:
        return Gather, (self.source,)  # another process maps the files anew

    @cached_property
    def _parts(self) -> list[tuple[int, Tokens]]:
        """(first token, tokens) of what lies in memory, in order; empty where not all does."""
        if isinstance(self.source, Pool):
            return [(0, self.source.data)]
        if not isinstance(self.source, TokenSource):
            return []
        parts, first = list[tuple[int, Tokens]](), 0
        for shard in self.source.shards:
            if not (isinstance(shard, IndexedDataset | RawShard) and shard.mapped):
                return []
            parts.append((first, shard.flat(0, shard.tokens)))
            first += shard.tokens
        return parts

    @cached_property
    def _whole(self) -> Tokens | None:
        """All tokens, where they lie in one piece; several shards are not touched, which would map them all."""
        several = isinstance(self.source, TokenSource) and len(self.source.shards) > 1
        return self._parts[0][1] if not several and self._parts else None

    @cached_property
    def _firsts(self) -> Ints:
        return np.array([first for first, _ in self._parts])

    def run(self, start: int, row_L1: Ints) -> None:
        """Write the tokens from `start` on."""
        whole, stop = self._whole, start + len(row_L1)
        row_L1[:] = whole[start:stop] if whole is not None else self.source.flat(start, stop)

    def one(self, place: int, row_S1: Ints) -> None:
        """Write the piece that begins at `place` and the token before it."""
        if place:
            self.run(place - 1, row_S1)
        else:
            row_S1[:1] = self.source.flat(self.source.tokens - 1, self.source.tokens)
            row_S1[1:] = self.source.flat(0, row_S1.size - 1)

    def write(self, places_N: Ints, at_N: Ints, rows_RS1: Ints) -> None:
        """Write the piece at each place and the token before it into the row at `at`."""
        size, done_N = rows_RS1.shape[1], np.zeros(places_N.size, bool)
        part_N = np.searchsorted(self._firsts, places_N, side="right") - 1 if len(self._parts) > 1 else None
        touched = range(len(self._parts)) if part_N is None else np.flatnonzero(np.bincount(part_N)).tolist()
        for part in touched if size <= _LONG else ():
            first, windows = self._parts[part][0], self._windows(part, size)
            # the token before a part's first lies in another
            mine_N = (places_N > first) if part_N is None else (part_N == part) & (places_N > first)
            rows_RS1[at_N[mine_N]] = windows[places_N[mine_N] - (first + 1)]
            done_N |= mine_N
        for n in np.flatnonzero(~done_N).tolist():
            self.one(int(places_N[n]), rows_RS1[at_N[n]])

    def _windows(self, part: int, size: int) -> Tokens:
        """All runs of `size` tokens of a part, a view."""
        if (part, size) not in self._views:
            tokens = self._parts[part][1]
            shape = (max(tokens.size - size + 1, 0), size)
            self._views[part, size] = as_strided(tokens, shape, tokens.strides * 2, writeable=False)
        return self._views[part, size]
