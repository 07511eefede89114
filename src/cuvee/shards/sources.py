"""The documents of one domain and split as one run of tokens, across shards, memory-mapped."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.shards.indexed import IndexedDataset, Tokens


class Source(Protocol):
    """What the stream reads from: a `TokenSource` or a `Pool`."""

    @property
    def tokens(self) -> int:
        """Tokens in all."""

    @property
    def documents(self) -> int:
        """Documents in all."""

    @property
    def ends(self) -> NDArray[np.int64]:
        """Tokens up to and including each document, shape N."""

    def document(self, i: int) -> Tokens:
        """Tokens of document `i`."""

    def flat(self, start: int, stop: int) -> Tokens:
        """Tokens `start` to `stop` of the documents laid end to end."""


class TokenSource:
    """Shards of one dtype, one after the other.

    Raises:
        DataError: shards of different dtypes.
    """

    def __init__(self, shards: tuple[IndexedDataset, ...], dtype: np.dtype[Any]) -> None:
        for shard in shards:
            if shard.dtype != dtype:
                raise DataError(
                    f"{shard.prefix} holds {shard.dtype} tokens", wanted=f"{dtype}, as the other shards of this corpus"
                )
        self.shards, self.dtype = shards, dtype
        self._token_ends = np.cumsum([s.tokens for s in shards], dtype=np.int64)
        self._document_ends = np.cumsum([s.documents for s in shards], dtype=np.int64)

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return int(self._token_ends[-1]) if self.shards else 0

    @property
    def documents(self) -> int:
        """Documents in all."""
        return int(self._document_ends[-1]) if self.shards else 0

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each document, shape N."""
        return np.concatenate([np.empty(0, np.int32), *(s.lengths for s in self.shards)])

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Tokens up to and including each document, shape N."""
        return np.cumsum(self.lengths, dtype=np.int64)

    def document(self, i: int) -> Tokens:
        """Tokens of document `i`."""
        if not 0 <= i < self.documents:
            raise IndexError(f"document {i} of {self.documents}")
        shard = int(np.searchsorted(self._document_ends, i, side="right"))
        return self.shards[shard].document(i - (int(self._document_ends[shard - 1]) if shard else 0))

    def flat(self, start: int, stop: int) -> Tokens:
        """Tokens `start` to `stop` of the documents laid end to end; a view where one shard holds them all."""
        if not 0 <= start <= stop <= self.tokens:
            raise IndexError(f"tokens {start} to {stop} of {self.tokens}")
        if start == stop:
            return np.empty(0, self.dtype)
        first, last = np.searchsorted(self._token_ends, [start, stop - 1], side="right").tolist()
        pieces = []
        for shard in range(first, last + 1):
            offset = int(self._token_ends[shard - 1]) if shard else 0
            pieces.append(self.shards[shard].flat(max(start - offset, 0), stop - offset))
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
