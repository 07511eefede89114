"""Fixed-length sequences of one domain, in an order of its own for every pass.

Sequence j of a source is its flat tokens j L to j L + L + 1, documents laid end to end: L inputs and, one further on, L targets.
Letters: L sequence length.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.base.permutation import permute
from cuvee.base.rng import key64
from cuvee.shards.indexed import Tokens
from cuvee.shards.sources import Source

_CHUNK = 256


class Sequences:
    """The endless sequence of items of one domain: item k is in pass k // count, at a place permuted anew in every pass.

    Raises:
        DataError: the source is shorter than one sequence.
    """

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

    def start(self, k: int) -> int:
        """The flat position at which item `k` begins."""
        chunk, place = divmod(k, _CHUNK)
        if chunk not in self._chunks:
            if len(self._chunks) > 1:
                self._chunks.pop(next(iter(self._chunks)))
            self._chunks[chunk] = self._starts(np.arange(chunk * _CHUNK, (chunk + 1) * _CHUNK))
        return int(self._chunks[chunk][place])

    def _starts(self, k: NDArray[np.int64]) -> NDArray[np.int64]:
        passes, places = np.divmod(k, self.count)
        index = np.empty_like(k)
        for epoch in np.unique(passes).tolist():
            mine = passes == epoch
            key = key64(self.seed, f"epoch/{self.name}", self.block, epoch)
            index[mine] = permute(key, self.count, places[mine])
        return index * self.seq_len

    def item(self, k: int) -> tuple[Tokens, NDArray[np.int64]]:
        """Tokens of item `k` and the number of the document that each belongs to, shape L + 1 both."""
        start = self.start(k)
        stop = start + self.seq_len + 1
        return self.source.flat(start, stop), np.searchsorted(self.source.ends, np.arange(start, stop), side="right")
