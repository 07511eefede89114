"""Tables as files: CSV, TSV, Parquet or JSON Lines, each also gzipped, as columns of cells that know their place."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from cuvee.base.errors import DataError
from cuvee.interop.metrics import decoded, listed, readable_size

_MISSING = ("", "none", "null", "na", "n/a")

Cell = object
"""A value as the file has it, None where there is none. Text is a number where it can be read as one."""


@dataclass(frozen=True)
class Table:
    """Columns by name, all as long as `lines`: the line (CSV) or row (Parquet) of their cells, for messages."""

    path: Path
    run: str
    columns: dict[str, list[Cell]]
    lines: Sequence[int]

    def named(self, names: Sequence[str]) -> list[str]:
        """The columns that are called one of these in any capitals, in the order of `names`."""
        return [c for name in names for c in self.columns if c.strip().lower() == name]

    def at(self, row: int) -> str:
        """A place for messages."""
        return f"{self.path.name} line {self.lines[row]}"

    def has_numbers(self, column: str) -> bool:
        """Whether any cell of a column is a number."""
        return any(isinstance(as_number(cell), float) for cell in self.columns[column])

    def numbers(self, column: str) -> list[float | None]:
        """The cells of a column as numbers, None where one is empty.

        Raises:
            DataError: a cell that is neither.
        """
        found = [as_number(cell) for cell in self.columns[column]]
        for row, value in enumerate(found):
            if isinstance(value, str):
                raise DataError(f"{self.at(row)}: {column} is {value!r:.40}", wanted="a number, or nothing")
        return [value for value in found if not isinstance(value, str)]


def read_table(file: Path, run: str = "") -> Table:
    """The table in a file, by the end of its name: .parquet, .jsonl, .tsv, else CSV; .gz after any of them.

    Args:
        run: What the table calls itself where it does not name runs.

    Raises:
        DataError: a file that cannot be read, is broken, or has a column twice.
    """
    name = file.name.lower()
    if name.endswith(".parquet"):
        return _parquet(file, run)
    bare = name.removesuffix(".gz")
    text = decoded(file) if bare == name else _unzipped(file)
    if bare.endswith((".jsonl", ".ndjson")):
        return _lines(file, run, text)
    return _csv(file, run, text, "\t" if bare.endswith(".tsv") else ",")


def as_number(cell: Cell) -> float | str | None:
    """A cell as a number; its text if it is none."""
    if cell is None:
        return None
    if isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
        return float(cell)
    try:
        return float(cell) if isinstance(cell, str) and "_" not in cell else str(cell)
    except ValueError:
        return str(cell)


def _unzipped(file: Path) -> str:
    readable_size(file)
    try:
        return gzip.decompress(file.read_bytes()).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(
            f"{file} is no whole gzip file of UTF-8 text: {error}", fix="compress or copy it again"
        ) from error


def _csv(file: Path, run: str, text: str, delimiter: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{file} is no CSV: {error}", wanted="commas, and quotes that close") from error
    header = rows[0][1] if rows else []
    _check_once(header, file)
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{file} line {line} has {len(row)} cells for {len(header)} columns",
                wanted="as many cells in every line, separated by commas",
                fix="export it again: it may be cut short" if line == rows[-1][0] else "quote cells with commas",
            )
    cells = [[None if c.strip().lower() in _MISSING else c for c in row] for _, row in rows[1:]]
    columns: dict[str, list[Cell]] = {c: [row[i] for row in cells] for i, c in enumerate(header)}
    return Table(file, run, columns, [line for line, _ in rows[1:]])


def _parquet(file: Path, run: str) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    readable_size(file)
    try:
        with pq.ParquetFile(file) as opened:
            found = opened.read()
            _check_once(found.column_names, file)
            columns: dict[str, list[Cell]] = found.to_pydict()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{file} is no whole Parquet file: {error}", fix="export or copy it again") from error
    return Table(file, run, columns, range(1, found.num_rows + 1))


def _lines(file: Path, run: str, text: str) -> Table:
    """One JSON object a line; a key that a line lacks is an empty cell, objects in objects are keys joined by dots."""
    rows: list[tuple[int, dict[str, Cell]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_object)
        except ValueError as error:
            raise DataError(f"{file} line {number} is no JSON object: {error}", wanted="one object a line") from error
        if not isinstance(value, dict):
            raise DataError(f"{file} line {number} is no JSON object", wanted="one object a line")
        rows.append((number, _flat(value)))
    columns = dict.fromkeys(key for _, row in rows for key in row)
    return Table(file, run, {c: [row.get(c) for _, row in rows] for c in columns}, [number for number, _ in rows])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _flat(value: dict[str, Any]) -> dict[str, Cell]:
    found: dict[str, Cell] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            found |= {f"{key}.{inner}": cell for inner, cell in _flat(item).items()}
        else:
            found[key] = item
    return found


def _check_once(columns: Sequence[str], file: Path) -> None:
    twice = sorted({c for c in columns if columns.count(c) > 1})
    if twice:
        raise DataError(f"{file} has the column {listed(twice)} twice", wanted="each column once")
