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
    """One shard, its tokens memory-mapped. Arrays it returns are read-only views of the file.

    Raises:
        DataError: a file is missing, is no such index, or index and data do not fit each other.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.dtype, self.lengths = _read_index(prefix)
        self.documents = int(self.lengths.size)
        self.tokens = int(self.lengths.sum(dtype=np.int64))
        self._tokens = _map_data(data_path(prefix), self.dtype, self.tokens)

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.prefix,)  # a worker process maps the file anew instead of receiving its tokens

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Tokens up to and including each document, shape N."""
        return np.cumsum(self.lengths, dtype=np.int64)

    def document(self, i: int) -> Tokens:
        """Tokens of document `i`."""
        end = int(self.ends[i])
        return self._tokens[end - int(self.lengths[i]) : end]

    def flat(self, start: int, stop: int) -> Tokens:
        """Tokens `start` to `stop` of the documents laid end to end."""
        return self._tokens[start:stop]


def _read_index(prefix: Path) -> tuple[np.dtype[Any], NDArray[np.int32]]:
    path = index_path(prefix)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"no such shard index: {path}", fix="restore it, or run `cuvee prepare` again") from None
    if len(data) < HEADER.size or not data.startswith(MAGIC):
        raise DataError(f"{path} is no Megatron index", wanted="a file that begins with MMIDIDX")
    _, version, code, sequences, firsts = HEADER.unpack_from(data)
    if version != 1 or code not in CODES:
        raise DataError(
            f"{path} has version {version} and dtype code {code}", wanted=f"version 1, a code in {sorted(CODES)}"
        )
    if firsts < 1 or len(data) < HEADER.size + 12 * sequences + 8 * firsts:
        raise DataError(
            f"{path} is cut short: {len(data):,} bytes for {sequences:,} sequences", fix="restore or remake it"
        )
    lengths = np.frombuffer(data, "<i4", sequences, HEADER.size)
    offsets = np.frombuffer(data, "<i8", sequences, HEADER.size + 4 * sequences)
    starts = np.frombuffer(data, "<i8", firsts, HEADER.size + 12 * sequences)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    if lengths.size and (lengths.min() < 0 or not np.array_equal(offsets, ends[:-1] * CODES[code].itemsize)):
        raise DataError(
            f"{path} does not describe documents laid end to end", wanted="offsets that follow from the lengths"
        )
    if starts[0] != 0 or starts[-1] != sequences or np.any(np.diff(starts) < 0):
        raise DataError(
            f"{path} has documents that do not cover its sequences", wanted="starts that rise from 0 to the last"
        )
    documents = np.diff(ends[starts])
    if documents.size and documents.max() > np.iinfo(np.int32).max:
        raise DataError(
            f"{path} has a document of {documents.max():,} tokens", wanted="at most 2^31 - 1 tokens a document"
        )
    return CODES[code], documents.astype(np.int32)


def _map_data(path: Path, dtype: np.dtype[Any], tokens: int) -> Tokens:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise DataError(f"no such shard: {path}", fix="restore it, or run `cuvee prepare` again") from None
    if size != tokens * dtype.itemsize:
        raise DataError(
            f"{path} has {size:,} bytes",
            wanted=f"{tokens * dtype.itemsize:,} bytes, as its index says ({tokens:,} tokens of {dtype})",
            fix="restore the shard, or run `cuvee prepare` again",
        )
    if tokens == 0:
        return np.empty(0, dtype)  # an empty file cannot be mapped
    return np.asarray(np.memmap(path, dtype.newbyteorder("<"), "r"))
