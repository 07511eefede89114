from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.corpus import readers
from cuvee.corpus.readers import Bad, Broken, Document, Fields, read
from cuvee.corpus.sources import InputFile, Kind, Unit
from tests.corpus.writing import jsonl

TEXT = Fields("text", None)


def items(path: Path, kind: Kind, fields: Fields = TEXT, unit: Unit = "row") -> list[Document | Bad]:
    return list(read(InputFile(str(path), path.name, "d", kind, unit, 0, 0), fields))


def test_rows_with_every_kind_of_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"text": "one"}\n\n{"text": \n{"texts": "x"}\n{"text": 3}\n[1]\n'
        b'{"text": "\xff"}\n{"text": "\\ud800"}\n{"text": "last \\ud83d\\ude00"}'
    )
    found = items(path, "jsonl")
    assert [item for item in found if isinstance(item, Document)] == [Document("one", 1), Document("last 😀", 9)]
    bad = {item.line: item.reason for item in found if isinstance(item, Bad)}
    assert list(bad) == [3, 4, 5, 6, 7, 8]
    for line, reason in [
        (3, "not JSON"),
        (4, "is missing"),
        (5, "not a string but int"),
        (6, "list"),
        (7, "0xff"),
        (8, "surr"),
    ]:
        assert reason in bad[line]


def test_deep_nesting_is_a_bad_line(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", ["[" * 200_000, {"text": "fine"}])
    first, second = items(path, "jsonl")
    assert isinstance(first, Bad)
    assert second == Document("fine", 2)


def test_a_broken_gzip_yields_what_came_before(tmp_path: Path) -> None:
    whole = gzip.compress("".join(f'{{"text": "{i} {hash(i * 7919)}"}}\n' for i in range(5000)).encode())
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    found = items(path, "jsonl")
    assert isinstance(found[-1], Broken)
    assert "broken" in found[-1].reason
    assert 1000 < len(found) < 5000
    path.write_bytes(b"no gzip at all")
    assert [type(item) for item in items(path, "jsonl")] == [Broken]


def test_domains_and_nested_fields(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"body": {"text": "x"}, "meta.lang": "C/C++"},
        {"body": {"text": "y"}, "meta": {"lang": 7}},
        {"body": {"text": "z"}, "meta": {"lang": None}},
    ]
    found = items(jsonl(tmp_path / "a.jsonl", rows), "jsonl", Fields("body.text", "meta.lang"))
    assert found[:2] == [Document("x", 1, "C/C++"), Document("y", 2, "7")]
    assert isinstance(found[2], Bad)


def test_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    rows = [f"row {i}" for i in range(600)]
    pq.write_table(pa.table({"text": [*rows, None], "more": list(range(601))}), path, row_group_size=100)
    found = items(path, "parquet")
    assert found[:600] == [Document(text, i + 1) for i, text in enumerate(rows)]
    assert isinstance(found[600], Bad)
    (bad,) = items(path, "parquet", Fields("body", None))
    assert isinstance(bad, Bad)
    assert "no column 'body'" in bad.reason
    path.write_bytes(path.read_bytes()[:-200])
    assert [type(item) for item in items(path, "parquet")] == [Broken]


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\r\ntwo")
    assert items(path, "text", unit="file") == [Document("one\r\n\r\ntwo", 1)]


def test_a_text_file_with_a_bad_byte_is_left_out_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"fine\nbad \xff byte\n")
    (bad,) = items(path, "text", unit="file")
    assert isinstance(bad, Bad)
    assert bad.line == 2
    path.write_bytes("cut é".encode()[:-1])
    assert [type(item) for item in items(path, "text", unit="piece")] == [Bad]


@given(st.lists(st.sampled_from(["word ", "é" * 40, "\n", "\n\n", "日本" * 300]), max_size=120))
def test_pieces_make_up_the_file(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    text = "".join(parts)
    path = tmp_path_factory.mktemp("t") / "a.txt"
    path.write_bytes(text.encode())
    found = [item for item in items(path, "text", unit="piece") if isinstance(item, Document)]
    assert "".join(item.text for item in found) == text
    assert all(len(item.text.encode()) >= readers.PIECE for item in found[:-1])
    before = ["".join(item.text for item in found[:i]) for i in range(len(found))]
    assert [item.line for item in found] == [1 + earlier.count("\n") for earlier in before]


def test_pieces_end_at_blank_lines(tmp_path: Path) -> None:
    paragraph = "one two three\n" * 300 + "\n"
    path = tmp_path / "a.txt"
    path.write_text(paragraph * 20, encoding="utf-8")
    found = [item for item in items(path, "text", unit="piece") if isinstance(item, Document)]
    assert len(found) == 10
    assert [item.line for item in found] == [1 + 602 * i for i in range(10)]


def test_zst_in_one_frame_or_many_whole_or_broken(tmp_path: Path) -> None:
    import pyarrow as pa

    def packed(lines: list[str]) -> bytes:
        data: bytes = pa.Codec("zstd").compress("".join(lines).encode(), asbytes=True)
        return data

    lines = [f'{{"text": "row {i} {i * 7919}"}}\n' for i in range(5000)]
    path = tmp_path / "a.jsonl.zst"
    for data in (packed(lines), packed(lines[:3000]) + packed(lines[3000:])):
        path.write_bytes(data)
        assert items(path, "jsonl") == [Document(f"row {i} {i * 7919}", i + 1) for i in range(5000)]
    for data in (packed(lines)[:5000], b"no zst at all"):
        path.write_bytes(data)
        last = items(path, "jsonl")[-1]
        assert isinstance(last, Broken)
        assert "broken" in last.reason
    (tmp_path / "b.txt.zst").write_bytes(packed(["one\n", "two"]))
    assert items(tmp_path / "b.txt.zst", "text", unit="file") == [Document("one\ntwo", 1)]
