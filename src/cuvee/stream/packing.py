"""Packing: how the documents of one domain become sequences of L + 1 tokens, in an order of its own for every pass.

`Concat` lays documents end to end and cuts: sequence j of a source is its flat tokens j L to j L + L + 1, L inputs and,
one further on, L targets.
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
from cuvee.stream.gather import Gather


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

    def places(self, items_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where each of the items is, for `read` and `documents`; shape N. Called for many at once."""

    def read(self, place: int, row_L1: NDArray[np.int64]) -> None:
        """Write the L + 1 tokens of the item at `place`."""

    def documents(self, place: int, row_L1: NDArray[np.int32]) -> None:
        """Write the document of the domain that each of its tokens belongs to; -1 where padding."""


class Packing(Protocol):
    """A way of making items of documents: a frozen dataclass of its settings, which its `repr` tells whole."""

    def items(self, name: str, source: Source, seq_len: int, seed: int, block: int) -> Items:
        """The items of the domain `name`; (seed, name, block) name their order.

        Raises:
            DataError: the source has too little for one item.
        """


@dataclass(frozen=True)
class Concat:
    """Documents laid end to end and cut every L tokens: no padding, and cuts wherever they fall. The default."""

    def items(self, name: str, source: Source, seq_len: int, seed: int, block: int) -> Items:
        """The sequences of the domain.

        Raises:
            DataError: the source is shorter than one sequence.
        """
        return Sequences(name, source, seq_len, seed, block)


CONCAT = Concat()


def permuted(key: str, count: int, seed: int, block: int, items_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which of the items of a pass each is: item k is the one at a keyed permutation, of pass k // count, of k % count.

    A stored format: the order of a run follows from it.
    """
    passes_N, index_N = np.divmod(items_N, count)
    for epoch in range(int(passes_N.min()), int(passes_N.max()) + 1) if passes_N.size else ():
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
        self.count, self._gather = (source.tokens - 1) // seq_len, Gather(source)

    def places(self, items_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """The flat position at which each item begins, shape N."""
        return permuted(f"epoch/{self.name}", self.count, self.seed, self.block, items_N) * self.seq_len

    def read(self, place: int, row_L1: NDArray[np.int64]) -> None:
        """Write the tokens of the item that begins at `place`."""
        self._gather.run(place, row_L1)

    def documents(self, place: int, row_L1: NDArray[np.int32]) -> None:
        """Write the document of each of its tokens."""
        ends, stop = self.source.ends, place + self.seq_len + 1
        first, last = np.searchsorted(ends, [place, stop - 1], side="right").tolist()
        sizes = np.diff(ends[first:last] - place, prepend=0, append=stop - place)
        row_L1[:] = np.repeat(np.arange(first, last + 1), sizes)
