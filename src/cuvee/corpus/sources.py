"""From what the caller named to the list of files to read, each with its kind and its domain.

Files come in sorted order, hidden ones are left out. Where structured files (JSONL, Parquet) lie in a domain, only they
count: a README beside them is not data.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal

from cuvee.base.errors import DataError, UsageError

Kind = Literal["jsonl", "parquet", "text"]
Unit = Literal["row", "file", "piece"]
"""What keeps together in the split: each row for itself, all of one file, or each piece of a file that is a domain."""

_COMPRESSED = (".gz", ".zst")
_LINES = (".jsonl", ".ndjson")
_PLAIN = (".txt", ".md", ".text", ".rst")
_HEAD = 1 << 13


@dataclass(frozen=True)
class InputFile:
    """A file to read: where it is, its name in reports, its domain (None: a field of each row says), what is in it."""

    path: str
    label: str
    domain: str | None
    kind: Kind
    unit: Unit
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Listing:
    """The files to read, in order, and how many others were passed over."""

    files: tuple[InputFile, ...]
    ignored: int


def open_binary(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked if it ends in .gz or .zst."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix == ".zst":
        from pyarrow import input_stream

        return io.BufferedReader(input_stream(path, compression="zstd"))
    return open(path, "rb")


def find_files(sources: Sequence[Path], domains: str, *, leave_out: Path, text_field: str) -> Listing:
    """All files under `sources`, with their domains by the rule `domains`.

    Args:
        sources: Files and folders.
        domains: "file", "folder" (each subfolder of a source is a domain; without subfolders, the source itself),
            "field:NAME" (a value in each row), or "auto": subfolders where there are some, else files; a folder of
            loose texts is one domain when other sources are given beside it.
        leave_out: A folder that is never read: where the corpus will be.
        text_field: The field that makes a .json file a file of rows.

    Raises:
        DataError: a source that does not exist, or nothing to read in it.
        UsageError: an unknown rule, or a field asked of plain text.
    """
    if domains not in ("auto", "file", "folder") and not domains.startswith("field:"):
        raise UsageError(
            f"got domains={domains!r}",
            wanted='"auto", "file", "folder" or "field:NAME"',
            fix='for example domains="folder"',
        )
    if not sources:
        raise UsageError("no sources were given", wanted="files or folders of text")
    listing: dict[str, InputFile] = {}
    ignored = 0
    for source in sources:
        if not source.exists():
            raise DataError(f"no such file or folder: {source}", fix="check the path")
        found, passed = _find(source, domains, leave_out.resolve(), len(sources) == 1, text_field)
        if not found:
            raise DataError(
                f"{source} holds no text ({passed} files passed over)",
                wanted="JSONL, Parquet or plain text, compressed or not",
                fix="check the folder; hidden and binary files are not read",
            )
        ignored += passed
        for file in found:
            listing.setdefault(os.path.realpath(file.path), file)
    return Listing(tuple(listing.values()), ignored)


def _find(source: Path, domains: str, leave_out: Path, alone: bool, text_field: str) -> tuple[list[InputFile], int]:
    if source.is_file():
        kind = kind_of_file(source, text_field)
        if kind is None:
            return [], 1
        chosen = [_input(source, source.name, kind, domain_of_file(source))]
    else:
        base = source.resolve()
        paths = [(path, path.relative_to(base).as_posix()) for path in _walk(base, leave_out)]
        kinds = [(path, label, kind_of_file(path, text_field)) for path, label in paths]
        chosen = [_input(path, label, kind, "") for path, label, kind in kinds if kind is not None]
        chosen = _with_domains(chosen, domains, base.name, alone)
        if len(chosen) < len(paths):
            return _by_field(chosen, domains, source), len(paths) - len(chosen)
    return _by_field(chosen, domains, source), 0


def _by_field(files: list[InputFile], domains: str, source: Path) -> list[InputFile]:
    """Under "field:NAME" the rows name their domains; only structured files have fields."""
    if not domains.startswith("field:"):
        return files
    structured = [replace(file, domain=None) for file in files if file.kind != "text"]
    if files and not structured:
        raise UsageError(
            f"{source} holds only plain text, which has no field {domains[6:]!r}",
            wanted="JSONL or Parquet for domains by field",
            fix='use domains="folder" or domains="file"',
        )
    return structured


def _with_domains(files: list[InputFile], domains: str, name: str, alone: bool) -> list[InputFile]:
    """Give every file of a folder its domain; leave out those that are not data."""
    folders = any("/" in file.label for file in files)
    loose = [file for file in files if "/" not in file.label]
    if domains.startswith("field:"):
        return files
    if domains == "file":
        return [replace(file, domain=domain_of_file(Path(file.path)), unit=_unit(file, True)) for file in _data(files)]
    inside: dict[str, list[InputFile]] = {}
    for file in files:
        if "/" in file.label:
            inside.setdefault(file.label.split("/")[0], []).append(file)
    result = [replace(f, domain=d, unit=_unit(f, False)) for d in sorted(inside) for f in _data(inside[d])]
    structured = [file for file in loose if file.kind != "text"]
    if folders:
        # beside subfolders a loose text is a README; a loose table is a domain of its own
        return result + [replace(file, domain=domain_of_file(Path(file.path)), unit="row") for file in structured]
    if domains == "folder" or (not structured and not alone):
        return [replace(file, domain=name, unit=_unit(file, False)) for file in _data(loose)]
    return [replace(file, domain=domain_of_file(Path(file.path)), unit=_unit(file, True)) for file in _data(loose)]


def _data(files: list[InputFile]) -> list[InputFile]:
    return [file for file in files if file.kind != "text"] or files


def _unit(file: InputFile, is_domain: bool) -> Unit:
    if file.kind != "text":
        return "row"
    return "piece" if is_domain else "file"


def _input(path: Path, label: str, kind: Kind, domain: str) -> InputFile:
    stat = path.stat()
    return InputFile(
        str(path), label, domain, kind, "row" if kind != "text" else "piece", stat.st_size, stat.st_mtime_ns
    )


def _walk(folder: Path, leave_out: Path) -> Iterator[Path]:
    """Files below `folder` in sorted order, links followed once, hidden names and `leave_out` left out."""
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen or real == str(leave_out):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and path.is_file():
                yield path


def domain_of_file(path: Path) -> str:
    """The name of the domain that a file makes: its own without the endings of formats (`math.jsonl.gz` -> `math`)."""
    name = path.name
    for endings in (_COMPRESSED, (*_LINES, ".json", ".parquet", *_PLAIN)):
        for ending in endings:
            if name.lower().endswith(ending) and len(name) > len(ending):
                name = name[: -len(ending)]
                break
    return name


def kind_of_file(path: Path, text_field: str) -> Kind | None:
    """What a file holds, by its ending; .json and unknown endings by a look inside. None: not text."""
    inner = path.with_suffix("") if path.suffix in _COMPRESSED else path
    ending = inner.suffix.lower()
    if ending == ".parquet":
        return "parquet"
    if ending in _LINES:
        return "jsonl"
    if ending in _PLAIN:
        return "text"
    try:
        with open_binary(path) as file:
            head = file.read(_HEAD)
            if ending == ".json" and _is_row(head + file.readline(1 << 24), text_field):
                return "jsonl"
    except (OSError, EOFError, zlib.error):
        return "jsonl" if ending == ".json" else None
    return "text" if _looks_like_text(head) else None


def _is_row(head: bytes, text_field: str) -> bool:
    try:
        row = json.loads(head.lstrip(b"\xef\xbb\xbf \t\r\n").partition(b"\n")[0])
    except ValueError:
        return False
    return isinstance(row, dict) and text_field.partition(".")[0] in row


def _looks_like_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head[:-4].decode("utf-8") if len(head) == _HEAD else head.decode("utf-8")
    except UnicodeDecodeError as error:
        # the cut at the end of the head may fall inside a character
        return error.start > len(head) - 8 and len(head) == _HEAD
    return bool(head)
