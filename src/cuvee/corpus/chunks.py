"""Read documents spilled to disk, so that memory does not grow with the text: chunks of at most 16 MiB of text.

A chunk is five files: the texts one after the other, a table of the documents, MinHash bands, and a sample of the hashes
of 13-word shingles with the place where each document's end. They live only while a corpus is being prepared.

Letters: N documents of a chunk, B bands, S shingles.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuvee.base.files import explained
from cuvee.corpus.words import I64, U64, WordHasher, hash64, minhash_bands, shingles

CHUNK = 1 << 24
OVERLAP_WORDS = 13
ROW = np.dtype([("offset", "<i8"), ("bytes", "<i8"), ("domain", "<i4"), ("hash", "<u8"), ("group", "<u8")])
"""A document: place and size of its text, its domain (numbered within the job), hash of the text, what it stays with."""


@dataclass(frozen=True)
class Chunk:
    """A finished chunk, by the common beginning of its files' names."""

    prefix: Path

    def rows(self) -> NDArray[Any]:
        """The table of documents, dtype `ROW`, shape N."""
        table: NDArray[Any] = np.load(_file(self.prefix, ".rows.npy"))
        return table

    def bands(self, band: int) -> U64:
        """One MinHash band of every document, shape N."""
        return np.array(np.load(_file(self.prefix, ".bands.npy"), mmap_mode="r")[band], np.uint64)

    def shingles(self) -> tuple[U64, I64]:
        """Sampled shingles, shape S, and where each document's end, shape N."""
        return np.load(_file(self.prefix, ".shingles.npy")), np.load(_file(self.prefix, ".ends.npy"))

    def texts(self) -> NDArray[np.uint8]:
        """The bytes of all texts, memory-mapped."""
        return np.memmap(_file(self.prefix, ".text"), np.uint8, "r")


def _file(prefix: Path, ending: str) -> Path:
    return prefix.with_name(prefix.name + ending)


class ChunkWriter:
    """Collects documents and writes a chunk whenever 16 MiB are full."""

    def __init__(self, folder: Path, shingle_rate: int) -> None:
        self.folder, self.rate, self.count = folder, shingle_rate, 0
        self._hasher = WordHasher()
        self._clear()

    def _clear(self) -> None:
        self._texts: list[bytes] = []
        self._rows: list[tuple[int, int, int, int, int]] = []
        self._words: list[U64] = []
        self._bytes = 0

    def add(self, text: str, domain: int, group: int) -> None:
        """Take one document; `group` is 0 or a hash that is the same for all documents that stay on one side."""
        data = text.encode("utf-8")
        self._rows.append((self._bytes, len(data), domain, hash64(data), group))
        self._texts.append(data)
        self._words.append(self._hasher.hashes(text))
        self._bytes += len(data)
        if self._bytes >= CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write what was collected, if anything."""
        if not self._rows:
            return
        rows = np.array(self._rows, ROW)
        ends_N = np.cumsum([len(w) for w in self._words], dtype=np.int64)
        shingles_S, ends_N = shingles(np.concatenate(self._words), ends_N, OVERLAP_WORDS)
        kept = shingles_S % np.uint64(self.rate) == 0
        kept_before = np.concatenate(([0], np.cumsum(kept)))
        prefix = self.folder / f"{self.count:05d}"
        save_bytes(_file(prefix, ".text"), b"".join(self._texts))
        save_array(_file(prefix, ".rows.npy"), rows)
        save_array(_file(prefix, ".bands.npy"), minhash_bands(self._words, rows["hash"]))
        save_array(_file(prefix, ".shingles.npy"), shingles_S[kept])
        save_array(_file(prefix, ".ends.npy"), kept_before[ends_N])
        self.count += 1
        self._clear()


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array in numpy's format and fsync it."""
    buffer = io.BytesIO()  # numpy's direct way to a file hides why a write failed
    np.save(buffer, array)
    save_bytes(path, buffer.getbuffer())


def save_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write bytes and fsync them.

    Raises:
        PartialError: the disk is full.
    """
    with explained(path), open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def chunks_of(folder: Path, count: int) -> list[Chunk]:
    """The `count` chunks that a writer left in `folder`, in order."""
    return [Chunk(folder / f"{i:05d}") for i in range(count)]
