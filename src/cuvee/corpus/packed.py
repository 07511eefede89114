"""Bytes that are at hand, and compressed files that are unpacked into the cache when they are first read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cuvee.base.codec import content_id
from cuvee.base.errors import DataError
from cuvee.corpus.remote import Access, cache_of
from cuvee.shards.blobs import Blob, LocalBlob


@dataclass(frozen=True)
class BytesBlob:
    """Bytes at hand."""

    name: str
    data: NDArray[np.uint8]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return int(self.data.size)

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Bytes `start` to `stop`."""
        return self.data[start:stop]


@dataclass(frozen=True)
class UnpackedBlob:
    """A compressed file, unpacked into the bounded cache when it is first read, and again if it was swept away.

    Raises:
        DataError: its size is not what the index says.
    """

    packed: Blob
    packed_size: int
    size: int
    compression: str
    access: Access

    def __post_init__(self) -> None:
        if self.packed.size != self.packed_size:
            raise DataError(
                f"{self.packed.name} has {self.packed.size:,} bytes",
                wanted=f"{self.packed_size:,}, as index.json says",
                fix="the shard was cut short or is another one: restore it",
            )

    @property
    def name(self) -> str:
        """Of the compressed file."""
        return self.packed.name

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Bytes `start` to `stop` of what is in it.

        Raises:
            DataError: it cannot be unpacked.
        """
        return cache_of(self.access).get(self._key, self.size, self._unpack)[start:stop]

    @cached_property
    def _key(self) -> str:
        packed = self.packed
        mark = packed.path.stat().st_mtime_ns if isinstance(packed, LocalBlob) else getattr(packed, "stamp", "")
        return content_id([packed.name, packed.size, self.size, mark])

    def _unpack(self) -> bytes:
        import pyarrow as pa

        kind = self.compression.partition(":")[0]
        names = {"zstd": "zstd", "gz": "gzip", "br": "brotli", "bz2": "bz2"}
        try:
            data: bytes = pa.input_stream(
                pa.py_buffer(self.packed.read(0, self.packed.size)), compression=names.get(kind, kind)
            ).read()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(
                f"{self.name} ({self.compression}) cannot be unpacked: {error}",
                wanted=f"{self.size:,} bytes, as index.json says",
                fix="restore the shard; zstd, gz, bz2 and br are read",
            ) from error
        if len(data) != self.size:
            raise DataError(f"{self.name} unpacks to {len(data):,} bytes", wanted=f"{self.size:,}, as index.json says")
        return data
