"""The shards in tests/corpus/mds were written by mosaicml-streaming 0.13.0, with random tokens of seed 0."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.shards.blobs import LocalBlob
from cuvee.shards.mds import MdsShard, MdsShardInfo
from cuvee.shards.sources import TokenSource

WRITTEN = Path(__file__).parents[1] / "corpus" / "mds"


def documents() -> list[NDArray[Any]]:
    lengths = json.loads((WRITTEN / "lengths.json").read_text())
    return np.split(np.fromfile(WRITTEN / "tokens.bin", "<u2"), np.cumsum(lengths)[:-1])


def infos(folder: Path) -> tuple[MdsShardInfo, ...]:
    return MdsShardInfo.all(json.loads((folder / "index.json").read_text()), str(folder))


def opened(folder: Path, column: str | None = None, dtype: str = "int64") -> TokenSource:
    shards = [MdsShard(LocalBlob(folder / i.raw[0]), i, column, np.dtype(dtype)) for i in infos(folder)]
    return TokenSource(shards, shards[0].dtype)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("bytes", "int64"), ("nd", "uint16"), ("nd16", "uint16"), ("nd32", "int32"), ("fixed", "uint32")],
)
def test_what_mosaicml_streaming_wrote_is_read(name: str, dtype: str) -> None:
    want = [np.resize(d, 8) for d in documents()] if name == "fixed" else documents()
    source, flat = opened(WRITTEN / name), np.concatenate(want)
    assert (source.tokens, source.documents, str(source.dtype)) == (flat.size, len(want), dtype)
    assert all(np.array_equal(source.document(i), d) for i, d in enumerate(want))
    assert source.ends.tolist() == np.cumsum([len(d) for d in want]).tolist()
    for start in range(0, flat.size, 37):
        assert np.array_equal(source.flat(start, min(start + 300, flat.size)), flat[start : start + 300])


def encoded(row: NDArray[Any]) -> bytes:
    """A sample of one column `ndarray:uint16`, as mosaicml-streaming 0.13.0 encodes it."""
    log2, kind = next((i, f"<u{1 << i}") for i in (0, 1, 2) if max(row.shape) < 1 << (8 << i))
    value = bytes([row.ndim << 2 | log2]) + np.array(row.shape, kind).tobytes() + row.astype("<u2").tobytes()
    return np.uint32(len(value)).tobytes() + value


def written(folder: Path, samples: list[bytes]) -> Path:
    """A shard of samples of one column `ndarray:uint16`."""
    first = 4 * (len(samples) + 2)
    table = np.array([len(samples), *(first + np.cumsum([0, *map(len, samples)]))], "<u4")
    data = table.tobytes() + b"".join(samples)
    info = {
        "version": 2,
        "format": "mds",
        "compression": None,
        "samples": len(samples),
        "zip_data": None,
        "column_names": ["tokens"],
        "column_encodings": ["ndarray:uint16"],
        "column_sizes": [None],
        "raw_data": {"basename": "shard.00000.mds", "bytes": len(data)},
    }
    folder.mkdir(exist_ok=True)
    (folder / "shard.00000.mds").write_bytes(data)
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": [info]}))
    return folder


@pytest.mark.parametrize(
    "shapes",
    [[(1, 2048), (1, 7), (1, 300)], [(2048, 1), (5, 3)], [(64, 64), (2, 3, 4), (9,)], [(7,), (300,), (70_000,)]],
)
def test_arrays_of_any_shape_are_one_document_each(tmp_path: Path, shapes: list[tuple[int, ...]]) -> None:
    rows = [np.random.default_rng(0).integers(1, 50_000, shape) for shape in shapes]
    source = opened(written(tmp_path, [encoded(row) for row in rows]))
    flat = np.concatenate([row.ravel() for row in rows])
    assert source.ends.tolist() == np.cumsum([row.size for row in rows]).tolist()
    assert np.array_equal(source.flat(0, source.tokens), flat)
    assert all(np.array_equal(source.document(i), row.ravel()) for i, row in enumerate(rows))


def test_a_sample_with_more_axes_than_the_first_is_not_misread(tmp_path: Path) -> None:
    rows = [np.arange(9), np.arange(8).reshape(2, 2, 2)]
    source = opened(written(tmp_path, [encoded(row) for row in rows]))
    with pytest.raises(DataError, match="sample 1 does not hold a row"):
        source.flat(0, source.tokens)


def test_columns_are_named_when_there_is_none() -> None:
    with pytest.raises(DataError, match="no column 'token'") as caught:
        opened(WRITTEN / "nd32", "token")
    assert "did you mean 'tokens'" in caught.value.fix
    with pytest.raises(DataError, match="'id' is encoded as 'str'"):
        opened(WRITTEN / "nd32", "id")


def test_a_wrong_dtype_shows_in_the_lengths() -> None:
    info = infos(WRITTEN / "bytes")[0]
    shard = MdsShard(LocalBlob(WRITTEN / "bytes" / info.raw[0]), info, None, np.dtype("V3"))  # 8 bytes are no threes
    with pytest.raises(DataError, match="does not hold a row"):
        _ = shard.ends


def copy(folder: Path, change: Mapping[str, Any]) -> Path:
    index = json.loads((WRITTEN / "nd16" / "index.json").read_text())
    index["shards"] = [{**index["shards"][0], **change}]
    (folder / "index.json").write_text(json.dumps(index))
    (folder / index["shards"][0]["raw_data"]["basename"]).write_bytes(
        (WRITTEN / "nd16" / "shard.00000.mds").read_bytes()
    )
    return folder


def test_an_index_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"says that it has \d+ samples|bytes for"):
        opened(copy(tmp_path, {"samples": 3}))
    with pytest.raises(DataError, match=r"as index.json says"):
        opened(copy(tmp_path, {"raw_data": {"basename": "shard.00000.mds", "bytes": 9}}))
    with pytest.raises(DataError, match="no index of MDS shards"):
        opened(copy(tmp_path, {"version": 3}))
    folder = copy(tmp_path, {})
    (folder / "shard.00000.mds").unlink()
    with pytest.raises(DataError, match="no such file"):
        opened(folder)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    folder = copy(tmp_path, {})
    shard = folder / "shard.00000.mds"
    data = shard.read_bytes()
    for size in range(0, len(data), 61):
        shard.write_bytes(data[:size])
        with pytest.raises(DataError, match="bytes for"):
            opened(folder)


def test_samples_that_lie_outside_are_refused(tmp_path: Path) -> None:
    folder = copy(tmp_path, {})
    shard = folder / "shard.00000.mds"
    data = bytearray(shard.read_bytes())
    data[8:12] = (10**6).to_bytes(4, "little")  # where sample 1 begins
    shard.write_bytes(data)
    with pytest.raises(DataError, match=r"lie outside|does not hold"):
        _ = opened(folder).ends
