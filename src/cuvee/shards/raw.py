"""Token arrays without an index: tokens end to end in one file, at most behind a header (nanoGPT's `.bin`, OLMo's `.npy`).

Where documents end is said by the end-of-text id, or by a file of uint64 ends beside it (datatrove's `.ds.index`).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.shards.blobs import Blob, LocalBlob, sampled
from cuvee.shards.indexed import Tokens

_SCAN = 1 << 22


class RawShard:
    """One token array. Opening reads nothing; `documents` and `ends` read all tokens once unless a file says the ends.

    Args:
        blob: The file.
        dtype: Of its tokens, little-endian.
        eos: Id of the token that ends a document; None: the array is one document.
        header: Bytes before the first token.
        ends_blob: uint64 per document: tokens up to and including it.

    Raises:
        DataError: not a whole number of tokens, or the file of ends does not fit the array.
    """

    def __init__(
        self,
        blob: Blob,
        dtype: np.dtype[Any],
        eos: int | None = None,
        *,
        header: int = 0,
        ends_blob: Blob | None = None,
    ) -> None:
        self.blob, self.dtype, self.eos, self.header, self._ends_blob = blob, dtype, eos, header, ends_blob
        self.name, self.indexed = blob.name, ends_blob is not None
        self._stored = dtype.newbyteorder("<")
        self.tokens, rest = divmod(blob.size - header, dtype.itemsize)
        if blob.size < header or rest:
            raise DataError(
                f"{blob.name} has {blob.size:,} bytes, which is no whole number of {dtype} tokens",
                wanted=f"a multiple of {dtype.itemsize} bytes" + (f" after {header} bytes of header" if header else ""),
                fix="check the dtype; if it is right the file was cut short: restore it",
            )
        if ends_blob is not None and self.tokens:
            last = int(ends_blob.read(ends_blob.size - 8, ends_blob.size).view("<u8")[0]) if ends_blob.size >= 8 else 0
            if ends_blob.size % 8 or last != self.tokens:
                raise DataError(
                    f"{ends_blob.name} says that the documents end at token {last:,}",
                    wanted=f"{self.tokens:,}, the tokens of {dtype} in {blob.name}",
                    fix="check the dtype, or restore the pair",
                )

    @property
    def mapped(self) -> bool:
        """Whether all its tokens can be had as a view of memory."""
        return isinstance(self.blob, LocalBlob) and self.blob.mapped

    def stamp(self) -> bytes:
        """The id that ends documents, or samples of the file of ends."""
        return (
            sampled(self._ends_blob, 0, self._ends_blob.size)
            if self._ends_blob is not None
            else f"eos {self.eos}".encode()
        )

    @property
    def documents(self) -> int:
        """Documents in all."""
        return self._ends_blob.size // 8 if self._ends_blob is not None else int(self.ends.size)

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Tokens up to and including each document, shape N."""
        if self._ends_blob is not None:
            ends = self._ends_blob.read(0, self._ends_blob.size).view("<u8").astype(np.int64)
            if ends.size and (ends[0] < 0 or np.any(np.diff(ends) < 0)):
                raise DataError(f"{self._ends_blob.name} has ends that go back", wanted="ends that rise")
            return ends
        found = [np.empty(0, np.int64)]
        for start in range(0, self.tokens if self.eos is not None else 0, _SCAN):
            found.append(np.flatnonzero(self.flat(start, start + _SCAN) == self.eos) + start + 1)
        ends = np.concatenate(found)
        if self.tokens and (not ends.size or ends[-1] != self.tokens):
            ends = np.append(ends, self.tokens)
        return ends

    def document(self, i: int) -> Tokens:
        """Tokens of document `i`."""
        return self.flat(int(self.ends[i - 1]) if i else 0, int(self.ends[i]))

    def flat(self, start: int, stop: int) -> Tokens:
        """Tokens `start` to `stop`; those beyond the end are left out."""
        size, stop = self.dtype.itemsize, min(stop, self.tokens)
        return self.blob.read(self.header + start * size, self.header + stop * size).view(self._stored)
