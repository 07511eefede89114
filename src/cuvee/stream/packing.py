"""Packing: how the documents of one domain become sequences of L + 1 tokens, in an order of its own for every pass.

`Concat` lays documents end to end and cuts: sequence j of a source is its flat tokens j L to j L + L + 1, L inputs and,
one further on, L targets. `bestfit.BestFit` keeps documents whole.
Letters: N items asked for, L sequence length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.base.permutation import permute
from cuvee.base.rng import key64
from cuvee.shards.sources import Source

_CHUNK = 256


class Items(Protocol):
    """The endless items of one domain: item k is in pass k // count, and every pass is permuted anew.

    What an item holds follows from its number alone, so any rank may read any item at any time.
    """

    @property
    def count(self) -> int:
        """Items of one pass."""

    @property
    def fill(self) -> float:
        """Mean share of an item's L targets that are tokens to learn; the others are padding."""

    def read(self, items_N: NDArray[np.int64], tokens_NL1: NDArray[np.int64]) -> None:
        """Write the tokens of the items `items_N` into the rows of `tokens_NL1`, of L + 1 tokens each."""

    def documents(self, items_N: NDArray[np.int64], documents_NL1: NDArray[np.int32]) -> None:
        """Write the document of the domain that each token belongs to; -1 where padding."""


class Packing(Protocol):
    """A way of making items of documents: a frozen dataclass of its settings."""

    def items(self, name: str, source: Source, seq_len: int, seed: int, block: int) -> Items:
        """The items of the domain `name`; (seed, name, block) name their order.

        Raises:
            DataError: the source has too little for one item.
        """


@dataclass(frozen=True)
class Concat:
    """Documents laid end to end and cut every L tokens: no padding, and cuts wherever they fall. The default."""

    def items(self, name: str, source: Source, seq_len: int, seed: int, block: int) -> Sequences:
        """The sequences of the domain.

        Raises:
            DataError: the source is shorter than one sequence.
        """
        return Sequences(name, source, seq_len, seed, block)


CONCAT = Concat()


def places(key: str, count: int, seed: int, block: int, items_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where in its pass each of the items stands: item k is at a keyed permutation, pass k // count, of k % count. Shape N.

    A stored format: the order of a run follows from it.
    """
    passes_N, index_N = np.divmod(items_N, count)
    for epoch in np.unique(passes_N).tolist():
        mine_N = passes_N == epoch
        index_N[mine_N] = permute(key64(seed, key, block, epoch), count, index_N[mine_N])
    return index_N


class Sequences:
    """Concat's items of one domain.

    Raises:
        DataError: the source is shorter than one sequence.
    """

    fill = 1.0

    def __init__(self, name: str, source: Source, seq_len: int, seed: int, block: int) -> None:
        if source.tokens < seq_len + 1:
            raise DataError(
                f"domain {name!r} has {source.tokens:,} tokens, less than one sequence",
                wanted=f"at least {seq_len + 1:,} tokens for sequences of {seq_len:,} and their targets",
                fix="give the domain more text, use a shorter seq_len, or set its weight to 0",
            )
        self.name, self.source, self.seq_len, self.seed, self.block = name, source, seq_len, seed, block
        self.count = (source.tokens - 1) // seq_len
        self._chunks: dict[int, NDArray[np.int64]] = {}

    def starts(self, items_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """The flat position at which each item begins, shape N."""
        chunks_N, place_N = np.divmod(items_N, _CHUNK)
        starts_N = np.empty_like(place_N)
        for chunk in set(chunks_N.tolist()):
            mine_N = chunks_N == chunk
            starts_N[mine_N] = self._chunk(chunk)[place_N[mine_N]]
        return starts_N

    def _chunk(self, chunk: int) -> NDArray[np.int64]:
        """Where the items of a chunk begin; two chunks are kept, since items are mostly asked for in order."""
        if chunk not in self._chunks:
            if len(self._chunks) > 1:
                self._chunks.pop(next(iter(self._chunks)))
            items = np.arange(chunk * _CHUNK, (chunk + 1) * _CHUNK)
            self._chunks[chunk] = places(f"epoch/{self.name}", self.count, self.seed, self.block, items) * self.seq_len
        return self._chunks[chunk]

    def read(self, items_N: NDArray[np.int64], tokens_NL1: NDArray[np.int64]) -> None:
        """Write the tokens of the items into the rows of `tokens_NL1`."""
        flat, length = self.source.flat, self.seq_len + 1
        for row, start in enumerate(self.starts(items_N).tolist()):
            tokens_NL1[row] = flat(start, start + length)

    def documents(self, items_N: NDArray[np.int64], documents_NL1: NDArray[np.int32]) -> None:
        """Write the document of each token into the rows of `documents_NL1`."""
        ends, length, starts_N = self.source.ends, self.seq_len + 1, self.starts(items_N)
        first_N, last_N = np.searchsorted(ends, [starts_N, starts_N + self.seq_len], side="right")
        for row, (start, first, last) in enumerate(
            zip(starts_N.tolist(), first_N.tolist(), last_N.tolist(), strict=True)
        ):
            sizes = np.diff(ends[first:last] - start, prepend=0, append=length)
            documents_NL1[row] = np.repeat(np.arange(first, last + 1), sizes)
