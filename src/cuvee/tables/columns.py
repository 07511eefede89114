"""Which column of a table is what: the one that names runs, the one that tells blocks apart, and those that are neither shares
nor metrics."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from cuvee.base.codec import nearest
from cuvee.base.errors import DataError, UsageError
from cuvee.interop.metrics import listed
from cuvee.interop.tablefile import Cell, Table, read_table

Source = Path | str | Mapping[str, Sequence[object]] | Table
"""A table: a file, its columns by name, or one that was opened."""

IDS = (
    "run", "run_id", "run id", "runid", "run_uuid", "run_name", "run name", "id", "trial", "trial_id", "experiment",
    "mix", "mix_id", "mixture", "mixture_id", "config", "config_id", "name", "model", "index", "idx",
)  # fmt: skip
"""Columns that name runs, the better first: RegMix calls it `index`; Olmix has `run`, `name` and `index`."""
UNNAMED = ("", "unnamed: 0", "__index_level_0__")
"""What pandas calls the numbers of rows: no names of runs."""
BOOKKEEPING = frozenset((
    "seed", "seeds", "block", "epoch", "epochs", "tokens", "size", "params", "parameters", "n_params", "lr", "learning_rate",
    "batch", "batch_size", "flops", "runtime", "date", "time", "timestamp", "wall_time", "created_at", "status", "state",
    "group", "variant",
))  # fmt: skip
"""Columns that are neither shares nor metrics, even where they hold numbers."""
_BLOCKS = ("seed", "seeds", "block", "replicate", "repeat")


@dataclass(frozen=True)
class Layout:
    """How two tables are to be read.

    Args:
        id: The column that names runs; recognised when empty.
        by_row: Row n of one table is row n of the other.
        block: The column, of either table, that tells runs of one seed or batch from others; empty for one block.
        ignore: Columns that are neither shares nor metrics.
        keep_names: Leave domains and metrics as their columns are called.
    """

    id: str = ""
    by_row: bool = False
    block: str = ""
    ignore: tuple[str, ...] = ()
    keep_names: bool = False

    def within(self, left: Table, right: Table) -> Layout:
        """The same for other tables, which may lack the columns that are named."""
        known = {*left.columns, *right.columns}
        return replace(
            self,
            id=self.id if self.id in left.columns and self.id in right.columns else "",
            block=self.block if self.block in known else "",
            ignore=tuple(c for c in self.ignore if c in known),
        )


@dataclass(frozen=True)
class Keyed:
    """A table's columns of data, the id of each row, and its block; `blocks` is None without such a column."""

    table: Table
    ids: Sequence[str]
    blocks: Sequence[str] | None

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Id and block of each row, the block empty without such a column."""
        return list(zip(self.ids, self.blocks or [""] * len(self.ids), strict=True))


def keyed(mixtures: Source, metrics: Source, layout: Layout, notes: list[str]) -> tuple[Keyed, Keyed]:
    """Both tables with the ids by which they are joined; `notes` gets what a reader should know.

    Raises:
        UsageError: a column that was asked for is not there, or no column names runs in both.
        DataError: a broken file, an empty id, no rows.
    """
    left, right = opened(mixtures, "mixtures"), opened(metrics, "metrics")
    _check(left, right, layout)
    if layout.by_row:
        if len(left.lines) != len(right.lines):
            raise DataError(
                f"{left.path.name} has {len(left.lines)} rows, {right.path.name} {len(right.lines)}",
                wanted="as many of each, to be joined by row",
            )
        notes.append(f"joined by row: row n of {left.path.name} is taken for row n of {right.path.name}")
        rows = [f"row {n}" for n in range(1, len(left.lines) + 1)]
        return _data(left, rows, layout), _data(right, rows, layout)
    mine, theirs = _id_columns(left, right, layout)
    if mine != theirs:
        notes.append(f"joined by {mine!r} of {left.path.name} and {theirs!r} of {right.path.name}")
    return _data(left, _ids(left, mine), layout), _data(right, _ids(right, theirs), layout)


def block_hint(table: Table) -> str:
    """What to try where a run has several rows."""
    found = table.named(_BLOCKS)
    return f"--block {found[0]}, if these are runs of several seeds" if found else "an id of its own for each run"


def opened(source: Source, what: str) -> Table:
    """The table of `source`; `what` it is called where it is no file.

    Raises:
        DataError: no such file, a broken one, or one without rows.
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, Mapping):
        columns: dict[str, list[Cell]] = {str(name): list(cells) for name, cells in source.items()}
        if len({len(cells) for cells in columns.values()}) > 1:
            raise DataError(f"the columns of {what} differ in length", wanted="as many cells in each")
        table = Table(Path(what), "", columns, range(1, len(next(iter(columns.values()), [])) + 1))
    else:
        if not Path(source).is_file():
            raise DataError(f"no such file: {source}", wanted=f"a table of {what}", fix="check the path")
        table = read_table(Path(source))
    alone = next(iter(table.columns)) if len(table.columns) == 1 else ""
    if ";" in alone or "\t" in alone:
        raise DataError(
            f"{table.path} has the one column {alone!r:.60}", wanted="commas between cells, or tabs in a .tsv"
        )
    if not table.lines:
        raise DataError(f"{table.path} has no rows", wanted="one row a run")
    return table


def _check(left: Table, right: Table, layout: Layout) -> None:
    asked = [
        ("--id", layout.id, True),
        ("--block", layout.block, False),
        *(("--ignore", c, False) for c in layout.ignore),
    ]
    for option, column, both in asked:
        there = [column in table.columns for table in (left, right)]
        if column and not (all(there) if both else any(there)):
            known = dict.fromkeys([*left.columns, *right.columns])
            raise UsageError(
                f"{option} {column}: no such column in {'both tables' if both else 'either table'}",
                wanted=f"one of {listed(list(known))}",
                fix=nearest(column, known),
            )


def _id_columns(left: Table, right: Table, layout: Layout) -> tuple[str, str]:
    """The columns that name runs: one of the same name and with common ids, else the pair with the most in common."""
    if layout.id:
        return layout.id, layout.id
    mine, theirs = (table.named([name for name in IDS if name != layout.block]) for table in (left, right))
    pairs = [(a, b) for a, b in product(mine, theirs) if a.strip().lower() == b.strip().lower()]
    for a, b in pairs:
        if set(_ids(left, a)) & set(_ids(right, b)):
            return a, b
    common = {(a, b): len(set(_ids(left, a)) & set(_ids(right, b))) for a, b in product(mine, theirs)}
    best = max(common, key=lambda pair: common[pair], default=None)
    if best and 2 * common[best] >= min(len(left.lines), len(right.lines)):
        return best
    if pairs or (mine and theirs):
        a, b = pairs[0] if pairs else (mine[0], theirs[0])
        raise DataError(
            f"no run is in both tables: {a!r} of {left.path.name} has {_few(_ids(left, a))}; "
            f"{b!r} of {right.path.name} has {_few(_ids(right, b))}",
            wanted="the same ids in both",
            fix="--id COLUMN, the column that both share",
        )
    lacking = " and ".join(t.path.name for t, found in ((left, mine), (right, theirs)) if not found)
    raise UsageError(
        f"no column of {lacking} names runs, and rows are not joined by position without being told",
        wanted=f"a column such as {', '.join(IDS[:2])} or index in both tables",
        fix="--id COLUMN; or --by-row if row n is the same run in both",
    )


def _ids(table: Table, column: str) -> list[str]:
    """The ids of all rows: 1, 1.0 and "1" are one."""
    found = []
    for row, cell in enumerate(table.columns[column]):
        whole = isinstance(cell, float) and cell.is_integer()
        text = str(int(cell)) if whole and isinstance(cell, float) else "" if cell is None else str(cell).strip()
        text = re.sub(r"^(-?\d+)\.0+$", r"\1", text)
        if text in ("", "nan"):
            raise DataError(f"{table.at(row)}: {column} is empty", wanted="the name of the run in each row")
        found.append(text)
    return found


def _data(table: Table, ids: Sequence[str], layout: Layout) -> Keyed:
    """The table without ids, blocks and what is to be ignored."""
    names = {*IDS, *UNNAMED}
    left_out = {*layout.ignore, layout.id, layout.block}
    columns = {c: cells for c, cells in table.columns.items() if c.strip().lower() not in names and c not in left_out}
    blocks = _ids(table, layout.block) if layout.block and layout.block in table.columns else None
    return Keyed(Table(table.path, table.run, columns, table.lines), ids, blocks)


def _few(ids: Sequence[str]) -> str:
    return listed(sorted(set(ids))[:7]) if len(set(ids)) <= 6 else ", ".join(sorted(set(ids))[:3]) + ", ..."
