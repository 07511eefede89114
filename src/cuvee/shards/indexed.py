"""Megatron indexed datasets: `.bin` holds the tokens end to end, `.idx` says how long each document is.

Layout of `.idx`, version 1, little-endian: b"MMIDIDX\\0\\0", uint64 version, uint8 dtype code, uint64 S sequences,
uint64 N+1, int32[S] sequence lengths in tokens, int64[S] byte offsets into `.bin`, int64[N+1] first sequence of every
document. Ours have one sequence a document; others' may have several, which are read as one document.
"""

from __future__ import annotations

import hashlib
import os
import struct
import uuid
from array import array
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.base.files import explained, replace
from cuvee.shards.blobs import Blob, LocalBlob, sampled

Tokens = NDArray[Any]
"""Token ids in the dtype of their shard."""
MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")
CODES: dict[int, np.dtype[Any]] = {
    code: np.dtype(name)
    for code, name in {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 8: "uint16"}.items()
}


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The dtype Megatron gives a vocabulary of that size: uint16 below 65,500 entries, else int32."""
    return np.dtype(np.uint16 if vocab_size < 65500 else np.int32)


def data_path(prefix: Path) -> Path:
    """The file with the tokens."""
    return prefix.with_name(prefix.name + ".bin")


def index_path(prefix: Path) -> Path:
    """The file with the lengths."""
    return prefix.with_name(prefix.name + ".idx")


def hash_shard(prefix: Path) -> str:
    """blake2b-128 of the bytes of `.bin`, then `.idx`: what `IndexedWriter.hash` is after `close`."""
    digest = hashlib.blake2b(digest_size=16)
    for path in (data_path(prefix), index_path(prefix)):
        with open(path, "rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


class IndexedWriter:
    """Writes one shard, a document at a time; nothing is visible at `prefix` before `close`.

    As a context manager it closes at the end, and leaves nothing behind when the block raises. After `close`, `hash`
    is the shard's content hash.
    """

    def __init__(self, prefix: Path, dtype: np.dtype[Any] | type[np.integer[Any]]) -> None:
        self.prefix, self.dtype = prefix, np.dtype(dtype)
        codes = [code for code, known in CODES.items() if known == self.dtype]
        if not codes:
            raise DataError(f"tokens cannot be stored as {self.dtype}", wanted=", ".join(map(str, CODES.values())))
        self._code, self._lengths, self._digest = codes[0], array("i"), hashlib.blake2b(digest_size=16)
        self.tokens, self.hash = 0, ""
        self._temporary = prefix.parent / f".{prefix.name}.bin.{uuid.uuid4().hex}.tmp"
        with explained(self._temporary):
            prefix.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._temporary, "wb")  # noqa: SIM115 closed by close or abort

    @property
    def documents(self) -> int:
        """Documents added so far."""
        return len(self._lengths)

    def add(self, tokens: NDArray[np.integer[Any]] | Tokens) -> None:
        """Append one document.

        Raises:
            DataError: not a row of whole numbers, empty, or ids that the dtype cannot hold.
            PartialError: the disk is full.
        """
        row = np.asarray(tokens)
        if row.ndim != 1 or row.size == 0 or row.dtype.kind not in "iu":
            raise DataError(
                f"got a document of shape {row.shape} and type {row.dtype}", wanted="a non-empty row of integers"
            )
        low, high, limits = int(row.min()), int(row.max()), np.iinfo(self.dtype)
        if low < limits.min or high > limits.max:
            raise DataError(
                f"token ids {low} to {high} do not fit {self.dtype}",
                wanted=f"{limits.min} to {limits.max}",
                fix="use int32",
            )
        data = np.ascontiguousarray(row, self.dtype.newbyteorder("<")).data
        with explained(self._temporary):
            self._file.write(data)
        self._digest.update(data)
        self._lengths.append(row.size)
        self.tokens += row.size

    def close(self) -> None:
        """Publish `.bin`, then `.idx`: a reader that sees the index sees all of the data."""
        with explained(self._temporary):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        lengths = np.array(self._lengths, "<i4")
        ends = np.cumsum(lengths, dtype=np.int64) * self.dtype.itemsize
        offsets = np.concatenate([np.zeros(1, np.int64), ends])[: lengths.size].astype("<i8")
        firsts = np.arange(lengths.size + 1, dtype="<i8")
        header = HEADER.pack(MAGIC, 1, self._code, lengths.size, firsts.size)
        index = b"".join([header, lengths.tobytes(), offsets.tobytes(), firsts.tobytes()])
        self._digest.update(index)
        with explained(data_path(self.prefix)):
            os.replace(self._temporary, data_path(self.prefix))
        replace(index_path(self.prefix), index)
        self.hash = self._digest.hexdigest()

    def abort(self) -> None:
        """Throw away what was added."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
            return
        try:
            self.close()
        except BaseException:
            self.abort()
            raise


class IndexedDataset:
    """One shard. Opening reads the ends of the index, whatever the number of documents; the whole index is read and
    checked when `lengths` or `ends` are first asked for. Arrays it returns are read-only views of the file.

    Args:
        prefix: Path without `.bin` and `.idx`.

    Raises:
        DataError: a file is missing, is no such index, or index and data do not fit each other.
    """

    indexed = True

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self._open(LocalBlob(index_path(prefix), "shard index"), LocalBlob(data_path(prefix), "shard"))

    @classmethod
    def of(cls, index: Blob, data: Blob) -> Self:
        """The shard whose index and data are these bytes, wherever they lie."""
        shard = cls.__new__(cls)
        shard.prefix = Path(data.name.removesuffix(".bin"))
        shard._open(index, data)
        return shard

    def __reduce__(self) -> tuple[Any, tuple[Blob, Blob]]:
        return type(self).of, (self._index, self._data)  # a worker process maps the file anew

    def _open(self, index: Blob, data: Blob) -> None:
        self._index, self._data, self.name = index, data, data.name
        self.dtype, self._sequences, firsts = _read_header(index)
        self._stored = self.dtype.newbyteorder("<")
        self.documents = firsts - 1
        self.tokens = data.size // self.dtype.itemsize
        self._check_ends()

    def _lengths_at(self, start: int, stop: int) -> NDArray[np.int32]:
        return self._index.read(HEADER.size + 4 * start, HEADER.size + 4 * stop).view("<i4")

    def _offsets_at(self, start: int, stop: int) -> NDArray[np.int64]:
        base = HEADER.size + 4 * self._sequences
        return self._index.read(base + 8 * start, base + 8 * stop).view("<i8")

    def _firsts_at(self, start: int, stop: int) -> NDArray[np.int64]:
        base = HEADER.size + 12 * self._sequences
        return self._index.read(base + 8 * start, base + 8 * stop).view("<i8")

    def _check_ends(self) -> None:
        """What shows without reading all of the index: where its first and last entries lead."""
        count = self._sequences
        bounds = (int(self._firsts_at(0, 1)[0]), int(self._firsts_at(self.documents, self.documents + 1)[0]))
        if bounds != (0, count):
            raise DataError(
                f"{self._index.name} has documents that do not cover its sequences: {bounds[0]:,} to {bounds[1]:,}",
                wanted=f"starts that rise from 0 to {count:,}",
                fix="restore or remake the index",
            )
        first = int(self._offsets_at(0, 1)[0]) if count else 0
        end = int(self._offsets_at(count - 1, count)[0]) if count else 0
        end += int(self._lengths_at(count - 1, count)[0]) * self.dtype.itemsize if count else 0
        if first != 0:
            raise DataError(
                f"{self._index.name} does not describe documents laid end to end", wanted="a first offset of 0"
            )
        if end != self._data.size:
            raise DataError(
                f"{self._data.name} has {self._data.size:,} bytes",
                wanted=f"{end:,} bytes, as its index says ({end // self.dtype.itemsize:,} tokens of {self.dtype})",
                fix="restore the shard, or run `cuvee prepare` again",
            )

    def stamp(self) -> bytes:
        """Number of documents, and samples of the index."""
        stop = HEADER.size + 12 * self._sequences + 8 * (self.documents + 1)
        return f"{self.documents};".encode() + sampled(self._index, HEADER.size, stop)

    @property
    def mapped(self) -> bool:
        """Whether all its tokens can be had as a view of memory."""
        return isinstance(self._data, LocalBlob) and self._data.mapped

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each document, shape N.

        Raises:
            DataError: an index that is damaged inside.
        """
        lengths, count = self._lengths_at(0, self._sequences), self._sequences
        starts = self._firsts_at(0, self.documents + 1)
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
        if count and (
            lengths.min() < 0 or not np.array_equal(self._offsets_at(0, count), ends[:-1] * self.dtype.itemsize)
        ):
            raise DataError(
                f"{self._index.name} does not describe documents laid end to end",
                wanted="offsets that follow from the lengths",
                fix="restore or remake the index",
            )
        if np.any(np.diff(starts) < 0):
            raise DataError(
                f"{self._index.name} has documents that do not cover its sequences", wanted="starts that rise"
            )
        documents = np.diff(ends[starts])
        if documents.size and documents.max() > np.iinfo(np.int32).max:
            raise DataError(
                f"{self._index.name} has a document of {documents.max():,} tokens",
                wanted="at most 2^31 - 1 tokens a document",
            )
        return documents.astype(np.int32)

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Tokens up to and including each document, shape N."""
        return np.cumsum(self.lengths, dtype=np.int64)

    def document(self, i: int) -> Tokens:
        """Tokens of document `i`.

        Raises:
            DataError: its place in the index is not one in the data.
        """
        if not 0 <= i < self.documents:
            raise IndexError(f"document {i} of {self.documents}")
        start, stop = (self._position(int(first)) for first in self._firsts_at(i, i + 2))
        if not 0 <= start <= stop <= self.tokens:
            raise DataError(
                f"{self._index.name} puts document {i:,} at tokens {start:,} to {stop:,}",
                wanted=f"a place among the {self.tokens:,} tokens of {self._data.name}",
                fix="restore or remake the index",
            )
        return self.flat(start, stop)

    def _position(self, sequence: int) -> int:
        """The token at which a sequence begins; -1 for one that the index does not have."""
        if sequence == self._sequences:
            return self.tokens
        return (
            int(self._offsets_at(sequence, sequence + 1)[0]) // self.dtype.itemsize
            if 0 <= sequence < self._sequences
            else -1
        )

    def flat(self, start: int, stop: int) -> Tokens:
        """Tokens `start` to `stop` of the documents laid end to end; those beyond the end are left out."""
        size = self.dtype.itemsize
        return self._data.read(start * size, min(stop, self.tokens) * size).view(self._stored)


def _read_header(index: Blob) -> tuple[np.dtype[Any], int, int]:
    """The tokens' dtype, the number of sequences and of document starts."""
    head = index.read(0, min(HEADER.size, index.size)).tobytes()
    if len(head) < HEADER.size or not head.startswith(MAGIC):
        raise DataError(
            f"{index.name} is no Megatron index: it begins with {head[:9]!r}", wanted="a file that begins with MMIDIDX"
        )
    _, version, code, sequences, firsts = HEADER.unpack(head)
    if version != 1 or code not in CODES:
        raise DataError(
            f"{index.name} has version {version} and dtype code {code}", wanted=f"version 1, a code in {sorted(CODES)}"
        )
    need = HEADER.size + 12 * sequences + 8 * firsts
    if firsts < 1 or index.size < need:
        raise DataError(
            f"{index.name} is cut short: {index.size:,} bytes for {sequences:,} sequences",
            wanted=f"{need:,} bytes",
            fix="restore or remake it",
        )
    return CODES[code], sequences, firsts
