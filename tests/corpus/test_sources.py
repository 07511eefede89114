from __future__ import annotations

import os
from pathlib import Path

import pytest

from cuvee.base.errors import DataError, UsageError
from cuvee.corpus.sources import domain_of_file, find_files
from tests.corpus.writing import jsonl


def found(
    *sources: Path, domains: str = "auto", leave_out: Path = Path("/nowhere")
) -> list[tuple[str, str | None, str]]:
    listing = find_files(sources, domains, leave_out=leave_out, text_field="text")
    return [(file.label, file.domain, file.unit) for file in listing.files]


def write(path: Path, text: str = "some text\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_a_domain_with_a_readme_beside_them(tmp_path: Path) -> None:
    jsonl(tmp_path / "web.jsonl.gz", [{"text": "a"}])
    jsonl(tmp_path / "math.ndjson", [{"text": "a"}])
    write(tmp_path / "README.md")
    write(tmp_path / ".hidden.jsonl")
    assert found(tmp_path) == [("math.ndjson", "math", "row"), ("web.jsonl.gz", "web", "row")]
    assert find_files([tmp_path], "auto", leave_out=tmp_path / "out", text_field="text").ignored == 1


def test_a_folder_a_domain(tmp_path: Path) -> None:
    write(tmp_path / "code" / "deep" / "a.py")
    write(tmp_path / "code" / "b.c")
    jsonl(tmp_path / "web" / "rows.jsonl", [{"text": "a"}])
    write(tmp_path / "web" / "LICENSE")
    write(tmp_path / "README.md")
    (tmp_path / "code" / "binary.o").write_bytes(b"\x7fELF\0\0")
    expected = [("code/b.c", "code", "file"), ("code/deep/a.py", "code", "file"), ("web/rows.jsonl", "web", "row")]
    assert found(tmp_path) == expected
    assert found(tmp_path, domains="folder") == expected


def test_loose_texts_alone_and_beside_other_folders(tmp_path: Path) -> None:
    write(tmp_path / "books" / "one.txt")
    write(tmp_path / "books" / "two.txt")
    write(tmp_path / "code" / "x.py")
    assert found(tmp_path / "books") == [("one.txt", "one", "piece"), ("two.txt", "two", "piece")]
    both = found(tmp_path / "books", tmp_path / "code")
    assert both == [("one.txt", "books", "file"), ("two.txt", "books", "file"), ("x.py", "code", "file")]
    assert {domain for _, domain, _ in found(tmp_path / "books", domains="folder")} == {"books"}
    assert {domain for _, domain, _ in found(tmp_path, domains="file")} == {"one", "two", "x.py"}


def test_json_files_are_rows_only_when_they_are(tmp_path: Path) -> None:
    jsonl(tmp_path / "d" / "rows.json", [{"text": "a"}])
    write(tmp_path / "e" / "package.json", '{\n "name": "x"\n}\n')
    listing = find_files([tmp_path], "auto", leave_out=tmp_path / "out", text_field="text")
    assert [(f.label, f.kind) for f in listing.files] == [("d/rows.json", "jsonl"), ("e/package.json", "text")]


def test_domains_by_field_leave_it_to_the_rows(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", [{"text": "a", "source": "C/C++"}])
    write(tmp_path / "README.md")
    assert found(tmp_path, domains="field:source") == [("rows.jsonl", None, "row")]
    with pytest.raises(UsageError, match="only plain text"):
        found(write(tmp_path / "sub" / "x.txt").parent, domains="field:source")


def test_the_same_file_counts_once_and_links_end(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "d" / "a.jsonl", [{"text": "a"}])
    os.symlink(tmp_path / "d", tmp_path / "d" / "loop")
    assert len(found(tmp_path / "d", file)) == 1


def test_the_corpus_being_made_is_not_read(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", [{"text": "a"}])
    jsonl(tmp_path / "out" / "b.jsonl", [{"text": "a"}])
    assert found(tmp_path, leave_out=tmp_path / "out") == [("a.jsonl", "a", "row")]


def test_mistakes_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no text"):
        found(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        found(tmp_path / "missing")
    with pytest.raises(UsageError, match="domains='topic'"):
        found(tmp_path, domains="topic")
    with pytest.raises(UsageError, match="no sources"):
        found()


@pytest.mark.parametrize(
    ("name", "domain"),
    [("a.jsonl.gz", "a"), ("a.b.parquet", "a.b"), ("x.py", "x.py"), (".txt", ".txt"), ("B.TXT", "B")],
)
def test_names_of_file_domains(name: str, domain: str) -> None:
    assert domain_of_file(Path(name)) == domain
