"""MosaicML MDS shards: samples of several columns, of which one holds the tokens of a document.

Layout, read from mosaicml-streaming 0.13.0 (`base/format/mds`): uint32 number of samples n, uint32[n+1] offsets of samples from
the start of the file, the writer's settings as JSON, the samples. A sample: uint32 size of each column that has no fixed size,
then the columns. `ndarray[:dtype[:shape]]` puts before the values a byte for the dtype where it is not in the name, and for
a shape that is not in the name a byte (axes << 2 | log2 of the width of a length) and the lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuvee.base.codec import nearest
from cuvee.base.errors import DataError
from cuvee.shards.blobs import Blob, sampled
from cuvee.shards.indexed import Tokens

COLUMNS = ("tokens", "input_ids")
"""Names of the column looked for when none is given."""
_VALUES = {8: "uint8", 9: "int8", 16: "uint16", 17: "int16", 32: "uint32", 33: "int32", 64: "uint64", 65: "int64"}
_U4 = 4


@dataclass(frozen=True)
class MdsShardInfo:
    """One shard as `index.json` describes it; names of files are relative to the folder of the index.

    Args:
        raw: File name and bytes of the shard as written.
        packed: The same of the compressed file, if it is compressed.
        compression: As in `zstd` or `zstd:7`.
    """

    raw: tuple[str, int]
    packed: tuple[str, int] | None
    compression: str | None
    samples: int
    names: tuple[str, ...]
    encodings: tuple[str, ...]
    sizes: tuple[int | None, ...]

    @classmethod
    def all(cls, index: Mapping[str, Any], where: str) -> tuple[MdsShardInfo, ...]:
        """The shards of an `index.json`.

        Raises:
            DataError: it is no index of MDS version 2.
        """
        try:
            return tuple(cls._of(shard) for shard in index["shards"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{where} is no index of MDS shards: {error!r}",
                wanted="the index.json that mosaicml-streaming writes (version 2, format mds)",
                fix="check the folder; if the writer was killed, the index was not written",
            ) from error

    @classmethod
    def _of(cls, shard: Mapping[str, Any]) -> MdsShardInfo:
        if (shard["version"], shard["format"]) != (2, "mds"):
            raise ValueError(f"version {shard['version']}, format {shard['format']}")
        raw, packed = shard["raw_data"], shard["zip_data"]
        return cls(
            (str(raw["basename"]), int(raw["bytes"])),
            (str(packed["basename"]), int(packed["bytes"])) if packed else None,
            shard["compression"],
            int(shard["samples"]),
            tuple(shard["column_names"]),
            tuple(shard["column_encodings"]),
            tuple(shard["column_sizes"]),
        )


class MdsShard:
    """The tokens of one shard, laid end to end in the order of its samples. Opening reads the first sample's head.

    Args:
        blob: The shard, unpacked.
        column: That holds the tokens; None looks for one of `COLUMNS`.
        dtype: Of a column of plain bytes; MDS does not say it.

    Raises:
        DataError: no such column, not tokens, or the file is not what the index says.
    """

    indexed = True

    def __init__(self, blob: Blob, info: MdsShardInfo, column: str | None = None, dtype: np.dtype[Any] | None = None):
        self.blob, self.info, self.documents, self.name = blob, info, info.samples, blob.name
        self._at = _column(info, column, blob.name)
        if blob.size != info.raw[1] or blob.size < _U4 * (info.samples + 2):
            raise DataError(
                f"{blob.name} has {blob.size:,} bytes for {info.samples:,} samples",
                wanted=f"{info.raw[1]:,} bytes, as index.json says",
                fix="the shard was cut short or is another one: restore it",
            )
        self._check_table()
        kind, _, rest = info.encodings[self._at].partition(":")
        named, _, shape = rest.partition(":")
        self._shape = tuple(map(int, shape.split(","))) if shape else None
        self._plain, self._tagged = kind == "bytes", kind == "ndarray" and not named
        self.dtype = dtype if self._plain and dtype is not None else self._read_dtype(kind, named)
        self._stored = self.dtype.newbyteorder("<")

    def _read_dtype(self, kind: str, named: str) -> np.dtype[Any]:
        encoding, name = self.info.encodings[self._at], self.info.names[self._at]
        if kind == "ndarray" and named in _VALUES.values():
            return np.dtype(named)
        if kind == "ndarray" and not named and self.documents:
            start, stop = self._spans(0, 1)
            tag = int(self.blob.read(int(start[0]), int(stop[0]))[0])
            if tag in _VALUES:
                return np.dtype(_VALUES[tag])
        wanted = "ndarray of whole numbers, or bytes with their dtype"
        fix = "give dtype: (llm-foundry writes int64)" if kind == "bytes" else "choose another column"
        raise DataError(f"{self.name}: column {name!r} is encoded as {encoding!r}", wanted=wanted, fix=fix)

    def _check_table(self) -> None:
        count = int(self.blob.read(0, _U4).view("<u4")[0])
        last = int(self.blob.read(_U4 * (self.documents + 1), _U4 * (self.documents + 2)).view("<u4")[0])
        if count != self.documents or last != self.blob.size:
            raise DataError(
                f"{self.name} says that it has {count:,} samples in {last:,} bytes",
                wanted=f"{self.documents:,} in {self.blob.size:,}, as index.json says",
                fix="the shard is damaged or another one: restore it",
            )

    def _spans(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last byte of the token column in samples `start` to `stop`, shape N both."""
        table = self.blob.read(_U4 * (start + 1), _U4 * (stop + 2)).view("<u4").astype(np.int64)
        begin_N, end_N = table[:-1], table[1:]
        if begin_N.size and (begin_N[0] < 0 or end_N[-1] > self.blob.size or np.any(end_N < begin_N)):
            raise DataError(f"{self.name} has samples that lie outside it", wanted="offsets that rise within the file")
        sizes, free = self.info.sizes, [i for i, size in enumerate(self.info.sizes) if size is None]
        head = _U4 * len(free)
        before, after = sum(s or 0 for s in sizes[: self._at]), sum(s or 0 for s in sizes[self._at + 1 :])
        low_N, high_N = begin_N + head + before, end_N - after
        for k, i in enumerate(free):
            if i != self._at:
                size_N = self._uint32_at(begin_N + _U4 * k)
                low_N, high_N = (low_N + size_N, high_N) if i < self._at else (low_N, high_N - size_N)
        return low_N, high_N

    def _uint32_at(self, places_N: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._bytes_at(places_N, _U4).view("<u4")[:, 0].astype(np.int64)

    def _bytes_at(self, places_N: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
        """`width` bytes from each of the places, which rise; shape N, width."""
        if not places_N.size:
            return np.empty((0, width), np.uint8)
        base = int(places_N[0])
        data = self.blob.read(base, int(places_N[-1]) + width)
        return np.ascontiguousarray(data[(places_N - base)[:, None] + np.arange(width)])

    def _values(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First byte of the values of samples `start` to `stop` and how many values there are, shape N both."""
        low_N, high_N = self._spans(start, stop)
        wrong_N, low_N = np.zeros(low_N.shape, bool), low_N + self._tagged
        if not self._plain and self._shape is None:
            head_N, wrong_N = self._heads(low_N, high_N)
            low_N = low_N + head_N
        count_N, rest_N = np.divmod(high_N - low_N, self.dtype.itemsize)
        wrong_N |= (count_N < 0) | (rest_N != 0)
        if self._shape is not None:
            wrong_N |= count_N != int(np.prod(self._shape))
        if wrong_N.any():
            sample = start + int(np.flatnonzero(wrong_N)[0])
            raise DataError(
                f"{self.name}: sample {sample:,} does not hold a row of {self.dtype} tokens",
                wanted=f"what its encoding {self.info.encodings[self._at]!r} says",
                fix="check dtype: and column:, or restore the shard",
            )
        return low_N, count_N

    def _heads(
        self, low_N: NDArray[np.int64], high_N: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Bytes before the values of samples, for their shape, and which samples say something impossible; shape N both.

        Of samples with one axis the size tells them, so that the table of samples is all that is read of a shard; each is
        looked at when it is read by itself.
        """
        inferred_N = 1 + _width(high_N - low_N - 1, self.dtype.itemsize)
        if self._axes == 1 and low_N.size != 1:
            return inferred_N, np.zeros(low_N.shape, bool)
        said_N = self._bytes_at(low_N, 1)[:, 0].astype(np.int64)
        head_N = 1 + (said_N >> 2) * (1 << (said_N & 3))
        return head_N, (head_N != inferred_N) if self._axes == 1 else (said_N >> 2 == 0)

    @cached_property
    def _axes(self) -> int:
        """Axes of the first sample, of those whose shape is not in the name of the encoding."""
        low_N, _ = self._spans(0, min(1, self.documents))
        return int(self._bytes_at(low_N + self._tagged, 1)[0, 0]) >> 2 if low_N.size else 1

    def stamp(self) -> bytes:
        """Number of samples, and samples of the table of offsets."""
        return f"{self.documents};".encode() + sampled(self.blob, _U4, _U4 * (self.documents + 2))

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Tokens up to and including each document, shape N."""
        return np.cumsum(self._values(0, self.documents)[1], dtype=np.int64)

    @cached_property
    def tokens(self) -> int:
        """Tokens in all; from the size of the file alone where samples differ in nothing but their tokens."""
        if self._shape is not None:
            return self.documents * int(np.prod(self._shape))
        others = [s for i, s in enumerate(self.info.sizes) if i != self._at]
        if not self._plain or None in others or not self.documents:
            return int(self.ends[-1]) if self.documents else 0
        first = int(self.blob.read(_U4, 2 * _U4).view("<u4")[0])
        fixed = sum(s or 0 for s in others) + _U4
        return (self.blob.size - first - self.documents * fixed) // self.dtype.itemsize

    def document(self, i: int) -> Tokens:
        """Tokens of document `i`."""
        low_N, count_N = self._values(i, i + 1)
        start = int(low_N[0])
        return self.blob.read(start, start + int(count_N[0]) * self.dtype.itemsize).view(self._stored)

    def flat(self, start: int, stop: int) -> Tokens:
        """Tokens `start` to `stop` of the documents laid end to end; those beyond the end are left out."""
        stop = min(stop, self.tokens)
        if start >= stop:
            return np.empty(0, self.dtype)
        if self._shape is not None:
            each = int(np.prod(self._shape))
            first, last = start // each, (stop - 1) // each
            before = first * each
        else:
            first, last = (int(i) for i in np.searchsorted(self.ends, [start, stop - 1], side="right"))
            before = int(self.ends[first - 1]) if first else 0
        pieces = [self.document(i) for i in range(first, last + 1)]
        whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return whole[start - before : stop - before]


def _column(info: MdsShardInfo, column: str | None, where: str) -> int:
    for name in (column,) if column else COLUMNS:
        if name in info.names:
            return info.names.index(name)
    raise DataError(
        f"{where} has no column {column!r}" if column else f"{where} has no column {' or '.join(COLUMNS)}",
        wanted=f"one of {', '.join(info.names)}",
        fix=nearest(column, info.names) if column else "name it with column:",
    )


def _width(rest_N: NDArray[np.int64], itemsize: int) -> NDArray[np.int64]:
    """Bytes of the one length before the values, which take the rest: the narrowest type that holds it."""
    width_N = np.full(rest_N.shape, 8, np.int64)
    for width in (4, 2, 1):
        count_N = (rest_N - width) // itemsize
        width_N[(count_N >= 0) & (count_N < 1 << 8 * width) & ((rest_N - width) % itemsize == 0)] = width
    return width_N
