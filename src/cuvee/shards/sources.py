"""The documents of one domain and split as one run of tokens, across shards; nothing is read before it is asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.shards.indexed import Tokens


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


class Shard(Source, Protocol):
    """A source in one file or pair of files, whatever the format."""

    @property
    def name(self) -> str:
        """What errors call it."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its tokens."""

    @property
    def indexed(self) -> bool:
        """Whether a document can be found without reading the tokens before it."""

    def stamp(self) -> bytes:
        """What says where its documents end, sampled: part of the identity of the content."""


class TokenSource:
    """Shards of one dtype, one after the other.

    Raises:
        DataError: shards of different dtypes.
    """

    def __init__(self, shards: Sequence[Shard], dtype: np.dtype[Any]) -> None:
        for shard in shards:
            if shard.dtype != dtype:
                raise DataError(
                    f"{shard.name} holds {shard.dtype} tokens",
                    wanted=f"{dtype}, as the other shards of this corpus",
                    fix="tokenise it with the tokenizer of the others, or give its dtype if that was misread",
                )
        self.shards, self.dtype = tuple(shards), dtype
        self._token_ends = list(accumulate((s.tokens for s in shards), initial=0))[1:]

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return self._token_ends[-1] if self.shards else 0

    @cached_property
    def _document_ends(self) -> list[int]:
        return list(accumulate((s.documents for s in self.shards), initial=0))[1:]

    @property
    def documents(self) -> int:
        """Documents in all."""
        return self._document_ends[-1] if self.shards else 0

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each document, shape N."""
        return np.diff(self.ends, prepend=0).astype(np.int32)

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Tokens up to and including each document, shape N."""
        before = [0, *self._token_ends]
        parts = [np.empty(0, np.int64), *(s.ends + b for s, b in zip(self.shards, before, strict=False))]
        return np.concatenate(parts) if len(self.shards) != 1 else self.shards[0].ends

    def document(self, i: int) -> Tokens:
        """Tokens of document `i`."""
        if not 0 <= i < self.documents:
            raise IndexError(f"document {i} of {self.documents}")
        shard = bisect_right(self._document_ends, i)
        return self.shards[shard].document(i - (self._document_ends[shard - 1] if shard else 0))

    def flat(self, start: int, stop: int) -> Tokens:
        """Tokens `start` to `stop` of the documents laid end to end; a view where one shard holds them all."""
        if not 0 <= start <= stop <= self.tokens:
            raise IndexError(f"tokens {start} to {stop} of {self.tokens}")
        if start == stop:
            return np.empty(0, self.dtype)
        ends = self._token_ends
        shard = bisect_right(ends, start)
        offset = ends[shard - 1] if shard else 0
        if stop <= ends[shard]:
            return self.shards[shard].flat(start - offset, stop - offset)
        pieces = []
        while start < stop:
            upto = min(stop, ends[shard])
            if upto > start:
                pieces.append(self.shards[shard].flat(start - offset, upto - offset))
            start, offset, shard = upto, ends[shard], shard + 1
        return np.concatenate(pieces)
