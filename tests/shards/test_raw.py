from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.errors import DataError
from cuvee.shards.blobs import LocalBlob
from cuvee.shards.raw import RawShard

EOS = 9


def shard(folder: Path, ids: list[int], *, header: int = 0, eos: int | None = EOS, dtype: str = "uint16") -> RawShard:
    path = folder / "t.bin"
    path.write_bytes(b"h" * header + np.array(ids, f"<{np.dtype(dtype).str[1:]}").tobytes())
    return RawShard(LocalBlob(path), np.dtype(dtype), eos, header=header)


@settings(max_examples=40)
@given(
    ids=st.lists(st.integers(0, EOS), max_size=30),
    header=st.sampled_from([0, 128]),
    dtype=st.sampled_from(["uint16", "uint32", "int64"]),
)
def test_documents_end_after_the_end_of_text(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int], header: int, dtype: str
) -> None:
    found = shard(tmp_path_factory.mktemp("raw"), ids, header=header, dtype=dtype)
    want: list[list[int]] = [[]] if ids else []
    for k, token in enumerate(ids):
        want[-1].append(token)
        if token == EOS and k + 1 < len(ids):
            want.append([])
    assert [found.document(i).tolist() for i in range(found.documents)] == want
    assert found.ends.tolist() == np.cumsum([len(d) for d in want]).tolist()
    assert found.flat(0, found.tokens).tolist() == ids


def test_the_scan_for_ends_crosses_its_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cuvee.shards.raw._SCAN", 4)
    assert shard(tmp_path, [1, 2, 3, 9, 9, 1, 2, 9, 4]).ends.tolist() == [4, 5, 8, 9]


def test_without_an_end_of_text_the_array_is_one_document(tmp_path: Path) -> None:
    assert shard(tmp_path, [1, 9, 2], eos=None).document(0).tolist() == [1, 9, 2]


def test_a_file_of_ends_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "t.ds").write_bytes(np.array([5, 6, 7], "<u2").tobytes())
    ends = tmp_path / "t.ds.index"
    ends.write_bytes(np.array([2, 3], "<u8").tobytes())
    found = RawShard(LocalBlob(tmp_path / "t.ds"), np.dtype("uint16"), ends_blob=LocalBlob(ends))
    assert (found.documents, found.document(1).tolist(), found.indexed) == (2, [7], True)
    ends.write_bytes(np.array([2, 4], "<u8").tobytes())
    with pytest.raises(DataError, match="end at token 4"):
        RawShard(LocalBlob(tmp_path / "t.ds"), np.dtype("uint16"), ends_blob=LocalBlob(ends))


def test_half_a_token_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.bin").write_bytes(b"123")
    with pytest.raises(DataError, match=r"3 bytes, which is no whole number of uint16"):
        RawShard(LocalBlob(tmp_path / "t.bin"), np.dtype("uint16"))


def test_a_file_that_changed_since_it_was_opened_is_refused(tmp_path: Path) -> None:
    found = shard(tmp_path, [1, 2, 3])
    (tmp_path / "t.bin").write_bytes(b"12")
    with pytest.raises(DataError, match="has 2 bytes now"):
        found.flat(0, 3)


def test_without_maps_to_spare_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    found = shard(tmp_path, [1, 2, 3])
    monkeypatch.setattr("mmap.mmap", full)
    assert found.flat(1, 3).tolist() == [2, 3]


def test_pickling_carries_the_path(tmp_path: Path) -> None:
    found = shard(tmp_path, list(range(5000)))
    found.flat(0, 10)
    data = pickle.dumps(found)
    assert len(data) < 1000
    assert pickle.loads(data).flat(7, 9).tolist() == [7, 8]
