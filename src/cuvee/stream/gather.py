"""Many short rows of tokens read at once from one source.

Where the source's tokens lie in memory or in mapped files, rows are taken from a view of all windows of their length, with one
call for a group of rows; otherwise one after the other.
Letters: N rows wanted, R rows of a batch, S tokens of a piece, whose row has one more before it.
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
_FEW = 6
"""Rows from which on taking them together costs less than one by one."""
_LONG = 1 << 11
"""Tokens from which on copying costs so much more than calls that rows are read one by one."""


class Gather:
    """Reads pieces of one source with the token before each; before the source's first comes its last."""

    def __init__(self, source: Source) -> None:
        self.source = source

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
    def _firsts(self) -> Ints:
        return np.array([first for first, _ in self._parts])

    def write(self, places_N: Ints, at_N: Ints, rows_RS1: Ints) -> None:
        """Write the piece at each place and the token before it into the row at `at`."""
        size = rows_RS1.shape[1]
        if not self._parts:
            for place, at in zip(places_N.tolist(), at_N.tolist(), strict=True):
                self._alone(place, rows_RS1[at])
            return
        if len(self._parts) == 1:
            groups = [(0, places_N, at_N)]
        else:
            part_N = np.searchsorted(self._firsts, places_N, side="right") - 1
            groups = [(int(p), places_N[part_N == p], at_N[part_N == p]) for p in np.unique(part_N)]
        for part, places, rows in groups:
            first, tokens = self._parts[part]
            starts = places - (first + 1)
            if starts.size < _FEW or size > _LONG or starts.min() < 0:
                for start, at in zip(starts.tolist(), rows.tolist(), strict=True):
                    if start < 0:
                        self._alone(first, rows_RS1[at])
                    else:
                        rows_RS1[at] = tokens[start : start + size]
            else:
                windows = as_strided(tokens, (tokens.size - size + 1, size), tokens.strides * 2, writeable=False)
                rows_RS1[rows] = windows[starts]

    def _alone(self, place: int, row_S1: Ints) -> None:
        source, size = self.source, row_S1.size - 1
        if place:
            row_S1[:] = source.flat(place - 1, place + size)
        else:
            row_S1[:1] = source.flat(source.tokens - 1, source.tokens)
            row_S1[1:] = source.flat(0, size)
