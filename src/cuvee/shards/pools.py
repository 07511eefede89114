"""Pools: the part of a domain that a proxy run may read, so that it repeats as often as the domain will at full size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import UsageError
from cuvee.base.permutation import permute
from cuvee.base.rng import key64
from cuvee.shards.corpus import Corpus
from cuvee.shards.indexed import Tokens
from cuvee.shards.sources import Source

_STEP = 1024


@dataclass(frozen=True, eq=False)
class Pool:
    """Documents in memory, laid end to end; reads like a `TokenSource`.

    Args:
        data: Tokens, in the source's dtype.
        ends: Tokens up to and including each document, shape N; the last document may be cut.
    """

    data: Tokens
    ends: NDArray[np.int64]

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return int(self.data.size)

    @property
    def documents(self) -> int:
        """Documents in all."""
        return int(self.ends.size)

    def document(self, i: int) -> Tokens:
        """Tokens of document `i`."""
        return self.data[int(self.ends[i - 1]) if i else 0 : int(self.ends[i])]

    def flat(self, start: int, stop: int) -> Tokens:
        """Tokens `start` to `stop` of the documents laid end to end."""
        return self.data[start:stop]


def pool_of(corpus: Corpus, domain: str, tokens: int, *, seed: int, block: int) -> Pool:
    """The pool of a domain in a block of a study: the same for every trainer that reads it.

    Raises:
        UsageError: no such domain, or more tokens than it has.
    """
    return draw(corpus.source(domain, "train"), tokens, key64(seed, f"pool/{domain}", block))


def draw(source: Source, tokens: int, key: int) -> Pool:
    """`tokens` tokens of `source`: whole documents in the order of the 64-bit `key`, only the last one cut.

    Nested: of two pools by one key, the smaller is the beginning of the larger (design section 4.4).

    Raises:
        UsageError: more tokens than the source has.
    """
    if not 0 <= tokens <= source.tokens:
        raise UsageError(f"a pool of {tokens:,} tokens from {source.tokens:,}", wanted="at most what the domain has")
    pieces: list[Tokens] = []
    missing, drawn = tokens, 0
    while missing:
        block = np.arange(drawn, min(drawn + _STEP, source.documents), dtype=np.int64)
        for i in permute(key, source.documents, block).tolist():
            piece = source.document(i)[:missing]
            pieces.append(piece)
            missing -= piece.size
            if not missing:
                break
        drawn += block.size
    data = np.concatenate(pieces) if pieces else source.flat(0, 0).copy()
    return Pool(data, np.cumsum([p.size for p in pieces], dtype=np.int64))
