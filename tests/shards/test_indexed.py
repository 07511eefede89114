from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.errors import DataError
from cuvee.shards.indexed import IndexedDataset, IndexedWriter, hash_shard, token_dtype


def write(prefix: Path, documents: list[list[int]], dtype: type[np.integer[Any]] = np.uint16) -> IndexedWriter:
    with IndexedWriter(prefix, dtype) as writer:
        for document in documents:
            writer.add(np.array(document))
    return writer


def test_the_bytes_are_those_of_megatron_version_1(tmp_path: Path) -> None:
    write(tmp_path / "x", [[1, 2, 3], [60000]])
    assert (tmp_path / "x.bin").read_bytes() == struct.pack("<4H", 1, 2, 3, 60000)
    header = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, 2, 3)
    arrays = struct.pack("<2i", 3, 1) + struct.pack("<2q", 0, 6) + struct.pack("<3q", 0, 1, 2)
    assert (tmp_path / "x.idx").read_bytes() == header + arrays


def test_large_vocabularies_take_int32_as_megatron_does(tmp_path: Path) -> None:
    assert token_dtype(65499) == np.uint16
    assert token_dtype(65500) == np.int32
    write(tmp_path / "x", [[1, 100_000]], np.int32)
    assert (tmp_path / "x.idx").read_bytes()[17] == 4
    assert IndexedDataset(tmp_path / "x").document(0).tolist() == [1, 100_000]


@settings(max_examples=25)
@given(documents=st.lists(st.lists(st.integers(0, 65535), min_size=1, max_size=20), max_size=12))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]]) -> None:
    prefix = tmp_path_factory.mktemp("shard") / "x"
    writer = write(prefix, documents)
    shard = IndexedDataset(prefix)
    flat = [token for document in documents for token in document]
    assert (shard.documents, shard.tokens, shard.dtype) == (len(documents), len(flat), np.dtype("uint16"))
    assert (writer.documents, writer.tokens, writer.hash) == (len(documents), len(flat), hash_shard(prefix))
    assert [shard.document(i).tolist() for i in range(shard.documents)] == documents
    assert shard.flat(0, shard.tokens).tolist() == flat
    assert shard.lengths.dtype == np.int32
    assert shard.ends.tolist() == np.cumsum([len(d) for d in documents]).tolist()


def test_several_sequences_of_one_document_are_one_document(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(struct.pack("<5H", 1, 2, 3, 4, 5))
    header = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, 3, 3)
    arrays = struct.pack("<3i", 2, 1, 2) + struct.pack("<3q", 0, 4, 6) + struct.pack("<3q", 0, 2, 3)
    (tmp_path / "x.idx").write_bytes(header + arrays)
    shard = IndexedDataset(tmp_path / "x")
    assert [shard.document(i).tolist() for i in range(2)] == [[1, 2, 3], [4, 5]]


def test_an_exception_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> None:
        with IndexedWriter(tmp_path / "x", np.uint16) as writer:
            writer.add(np.array([1]))
            raise KeyError("stop")

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_visible_before_close(tmp_path: Path) -> None:
    writer = IndexedWriter(tmp_path / "x", np.uint16)
    writer.add(np.array([1, 2]))
    assert not (tmp_path / "x.bin").exists()
    writer.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.bin", "x.idx"]


@pytest.mark.parametrize("bad", [[70000], [-1], [], [[1, 2]], [1.5]])
def test_documents_that_do_not_fit_are_refused(tmp_path: Path, bad: list[object]) -> None:
    writer = IndexedWriter(tmp_path / "x", np.uint16)
    with pytest.raises(DataError):
        writer.add(np.array(bad))
    writer.abort()


def test_floats_are_no_tokens(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="float32"):
        IndexedWriter(tmp_path / "x", np.dtype("float32"))


def test_missing_files_are_named(tmp_path: Path) -> None:
    write(tmp_path / "x", [[1]])
    (tmp_path / "x.bin").unlink()
    with pytest.raises(DataError, match=r"no such shard: .*x\.bin"):
        IndexedDataset(tmp_path / "x")
    with pytest.raises(DataError, match=r"no such shard index: .*y\.idx"):
        IndexedDataset(tmp_path / "y")


@pytest.mark.parametrize("change", [-1, 1])
def test_data_that_the_index_does_not_fit_are_refused(tmp_path: Path, change: int) -> None:
    write(tmp_path / "x", [[1, 2, 3]])
    data = (tmp_path / "x.bin").read_bytes()
    (tmp_path / "x.bin").write_bytes(data[:-1] if change < 0 else data + b"\0")
    with pytest.raises(DataError, match="as its index says"):
        IndexedDataset(tmp_path / "x")


def corrupt(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


@pytest.mark.parametrize(
    ("at", "new", "message"),
    [
        (0, b"PK", "no Megatron index"),
        (9, struct.pack("<Q", 2), "version 2"),
        (17, b"\x07", "dtype code 7"),
        (18, struct.pack("<Q", 1000), "cut short"),
        (34, struct.pack("<i", -3), "end to end"),
        (42, struct.pack("<q", 2), "end to end"),
        (58, struct.pack("<q", 1), "do not cover"),
        (74, struct.pack("<q", 1), "do not cover"),
    ],
)
def test_a_damaged_index_is_refused(tmp_path: Path, at: int, new: bytes, message: str) -> None:
    write(tmp_path / "x", [[1, 2, 3], [4]])
    index = tmp_path / "x.idx"
    index.write_bytes(corrupt(index.read_bytes(), at, new))
    with pytest.raises(DataError, match=message):
        _ = IndexedDataset(tmp_path / "x").lengths


def test_opening_reads_the_ends_of_the_index_and_a_document_is_checked_when_it_is_read(tmp_path: Path) -> None:
    write(tmp_path / "x", [[1, 2, 3], [4], [5, 6]])
    index = tmp_path / "x.idx"
    index.write_bytes(corrupt(index.read_bytes(), 54, struct.pack("<q", 4000)))  # the offset of document 1
    shard = IndexedDataset(tmp_path / "x")
    assert (shard.tokens, shard.documents, shard.document(2).tolist()) == (6, 3, [5, 6])
    with pytest.raises(DataError, match="puts document 1 at tokens 2,000"):
        shard.document(1)
    with pytest.raises(DataError, match="end to end"):
        _ = shard.ends


def test_every_truncated_index_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "x", [[1, 2, 3], [4]])
    data = (tmp_path / "x.idx").read_bytes()
    for size in range(len(data)):
        (tmp_path / "x.idx").write_bytes(data[:size])
        with pytest.raises(DataError):
            IndexedDataset(tmp_path / "x")


def test_an_empty_shard_is_read(tmp_path: Path) -> None:
    write(tmp_path / "x", [])
    shard = IndexedDataset(tmp_path / "x")
    assert (shard.tokens, shard.documents, shard.flat(0, 0).tolist()) == (0, 0, [])


def test_pickling_carries_the_path_not_the_tokens(tmp_path: Path) -> None:
    write(tmp_path / "x", [list(range(5000))])
    data = pickle.dumps(IndexedDataset(tmp_path / "x"))
    assert len(data) < 500
    assert pickle.loads(data).document(0).tolist() == list(range(5000))
