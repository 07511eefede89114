"""Bytes that tokens are read from: a file here, mapped on first use, or anything else that gives ranges of bytes."""

from __future__ import annotations

import errno
import mmap
from functools import cached_property
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError


class Blob(Protocol):
    """A run of bytes of known size. Can be pickled; a worker process opens it anew."""

    @property
    def name(self) -> str:
        """What errors call it: a path or an address."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Bytes `start` to `stop`, to be read only.

        Raises:
            DataError: they cannot be had.
        """


class LocalBlob:
    """A file. Opening costs one `stat`: a thousand of them hold no memory maps before they are read.

    Raises:
        DataError: no such file.
    """

    def __init__(self, path: Path, what: str = "file") -> None:
        self.path, self.what, self.name = path, what, str(path)
        try:
            self.size = path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            raise DataError(
                f"no such {what}: {path}", wanted="a file there", fix="restore it, or check the path"
            ) from None

    def __reduce__(self) -> tuple[type[Self], tuple[Path, str]]:
        return type(self), (self.path, self.what)

    @cached_property
    def _bytes(self) -> NDArray[np.uint8] | None:
        """The mapped file; None where the process has as many maps as it may (65,530 on Linux)."""
        if not self.size:
            return np.empty(0, np.uint8)  # an empty file cannot be mapped
        try:
            with open(self.path, "rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOMEM:
                return None
            raise DataError(f"cannot read {self.path}: {error}", wanted=f"a readable {self.what}") from error
        if len(mapped) != self.size:
            raise DataError(
                f"{self.path} has {len(mapped):,} bytes now",
                wanted=f"{self.size:,} bytes, as when it was opened",
                fix="do not write to data that is being read; open it again",
            )
        return np.frombuffer(mapped, np.uint8)

    @property
    def mapped(self) -> bool:
        """Whether what is read is a view, so that reading all of it costs nothing."""
        return self._bytes is not None

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Bytes `start` to `stop`, a view of the file."""
        data = self._bytes
        if data is not None:
            return data[start:stop]
        with open(self.path, "rb") as file:
            file.seek(start)
            return np.frombuffer(file.read(max(stop - start, 0)), np.uint8)


def even(count: int, most: int) -> list[int]:
    """At most `most` different numbers below `count` at even distances, the first and the last among them."""
    return list(range(count)) if count <= most else [i * (count - 1) // max(most - 1, 1) for i in range(most)]


def sampled(blob: Blob, start: int, stop: int) -> bytes:
    """At most 8 pieces of 512 bytes of the bytes `start` to `stop`, at even distances: enough to tell two files apart."""
    places = [start + i * 512 for i in even(-(-(stop - start) // 512), 8)]
    return b"".join(blob.read(place, min(place + 512, stop)).tobytes() for place in places)
