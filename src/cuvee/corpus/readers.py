"""Files to documents: a reader is a function `(file, fields) -> documents and bad places`, in the order of the file.

A reader yields what it can and says what it could not (`Bad`, with the line and the reason); whether that is fatal is the
caller's business. Only what is inside one row or one piece of text is ever held in memory.
"""

from __future__ import annotations

import codecs
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cuvee.corpus.sources import InputFile, Kind, open_binary

WHOLE_FILE = 1 << 20
"""Bytes of a plain text file that stay one document; longer ones are split at blank lines."""
PIECE = 1 << 13
"""Bytes of the pieces of a text file that is a domain by itself."""


@dataclass(frozen=True)
class Document:
    """A text, the line (or row, from 1) where it begins, and its domain if the file does not say it."""

    text: str
    line: int
    domain: str | None = None


@dataclass(frozen=True)
class Bad:
    """A place that could not be read, with the reason."""

    line: int
    reason: str


@dataclass(frozen=True)
class Broken(Bad):
    """The place from which on nothing of the file could be read."""


@dataclass(frozen=True)
class Fields:
    """Names of the fields in rows; a dot leads into a nested object. `domain` is None where files name the domain."""

    text: str
    domain: str | None


def read_jsonl(file: InputFile, fields: Fields) -> Iterator[Document | Bad]:
    """One JSON object per line, `text` in a field; blank lines are nothing."""
    for item in jsonl_rows(Path(file.path)):
        yield item if isinstance(item, Bad) else _document(item[1], item[0], fields)


def jsonl_rows(path: Path) -> Iterator[tuple[int, Any] | Bad]:
    """Line and value of every line that is not blank; the lines that hold no JSON."""
    number = 0
    try:
        with open_binary(path) as stream:
            for number, line in enumerate(stream, 1):
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                if line.strip():
                    yield _parse(line, number)
    except (OSError, EOFError, zlib.error) as error:
        yield Broken(number + 1, f"the file is broken here, nothing after it could be read: {error}")


def _parse(line: bytes, number: int) -> tuple[int, Any] | Bad:
    try:
        return number, json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Bad(number, f"not UTF-8: byte {line[error.start]:#04x} at column {error.start + 1}")
    except json.JSONDecodeError as error:
        return Bad(number, f"not JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        return Bad(number, "not usable JSON: nested too deeply")


def _document(row: Any, number: int, fields: Fields) -> Document | Bad:
    if not isinstance(row, dict):
        return Bad(number, f"a row is an object with the field {fields.text!r}; got {type(row).__name__}")
    text = _field(row, fields.text)
    if not isinstance(text, str):
        kind = "missing" if text is None else f"not a string but {type(text).__name__}"
        return Bad(number, f"the field {fields.text!r} is {kind}; the row has {', '.join(map(str, list(row)[:8]))}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return Bad(number, "half a surrogate pair, which is no text")
    if fields.domain is None:
        return Document(text, number)
    value = _field(row, fields.domain)
    if value is None or isinstance(value, dict | list) or value == "":
        return Bad(number, f"the field {fields.domain!r} names no domain: got {value!r}")
    return Document(text, number, str(value))


def _field(row: dict[str, Any], name: str) -> Any:
    if name in row:
        return row[name]
    head, dot, tail = name.partition(".")
    inner = row.get(head)
    return _field(inner, tail) if dot and isinstance(inner, dict) else None


def read_parquet(file: InputFile, fields: Fields) -> Iterator[Document | Bad]:
    """The rows of a Parquet file, in batches; only the columns that are needed are read."""
    named = [name for name in (fields.text, fields.domain) if name]
    for item in parquet_rows(Path(file.path), (*named, *(name.partition(".")[0] for name in named))):
        yield item if isinstance(item, Bad) else _document(item[1], item[0], fields)


def parquet_rows(path: Path, wanted: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, Any]] | Bad]:
    """Number (from 1) and the columns `wanted` (none named: all) of every row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as table:
            names = table.schema_arrow.names
            columns = [name for name in names if not wanted or name in wanted]
            if not columns:
                have = f"only {', '.join(names[:8])}; none of its {table.metadata.num_rows} rows is used"
                yield Bad(1, f"there is no column {wanted[0]!r}, {have}")
                return
            for batch in table.iter_batches(batch_size=256, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (OSError, pa.ArrowException, UnicodeDecodeError) as reason:
        yield Broken(number + 1, f"the file is broken here, nothing after it could be read: {reason}")


def read_text(file: InputFile, fields: Fields) -> Iterator[Document | Bad]:
    """A plain text file: one document, or pieces cut at blank lines.

    A file that cannot be read to its end as UTF-8 is left out as a whole: half a text is not a text.
    """
    path = Path(file.path)
    problem = _first_problem(path)
    if problem is not None:
        yield problem
        return
    target = PIECE if file.unit == "piece" else WHOLE_FILE
    with open_binary(path) as stream:
        for line, piece in _pieces(stream, target):
            yield Document(piece.decode("utf-8"), line)


def _first_problem(path: Path) -> Bad | None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines = 1
    try:
        with open_binary(path) as stream:
            while data := stream.read(1 << 20):
                decoder.decode(data)
                lines += data.count(b"\n")
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        line = lines + error.object[: error.start].count(b"\n")
        return Bad(line, f"not UTF-8: byte {error.object[error.start]:#04x}; the file is left out")
    except (OSError, EOFError, zlib.error) as error:
        return Broken(lines, f"the file is broken and left out: {error}")
    return None


def _pieces(stream: IO[bytes], target: int) -> Iterator[tuple[int, bytes]]:
    """Pieces of at least `target` bytes that end at a blank line, or at any line from 4 times `target` on.

    A file that is no longer than `target` is one piece; a short rest joins nothing and is a piece of its own.
    """
    piece: list[bytes] = []
    size, start, line = 0, 1, 1
    rest = b""
    while data := rest + stream.readline(1 << 16):
        data, rest = _whole_characters(data)
        if line == 1 and not piece:
            data = data.removeprefix(codecs.BOM_UTF8)
        piece.append(data)
        size += len(data)
        line += data.endswith(b"\n")
        if (size >= target and not data.strip()) or size >= 4 * target:
            yield start, b"".join(piece)
            piece, size, start = [], 0, line
    if piece:
        yield start, b"".join(piece)


def _whole_characters(data: bytes) -> tuple[bytes, bytes]:
    """`data` up to its last whole UTF-8 character, and the begun one after it."""
    if data.endswith(b"\n") or data[-1] < 0x80:
        return data, b""
    back = next(i for i in range(1, 5) if data[-i] & 0xC0 != 0x80)
    need = 2 if data[-back] < 0xE0 else 3 if data[-back] < 0xF0 else 4
    return (data, b"") if back == need else (data[:-back], data[-back:])


READERS: dict[Kind, Callable[[InputFile, Fields], Iterator[Document | Bad]]] = {
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "text": read_text,
}


def read(file: InputFile, fields: Fields) -> Iterator[Document | Bad]:
    """The documents of a file, by the reader of its kind."""
    return READERS[file.kind](file, fields)
