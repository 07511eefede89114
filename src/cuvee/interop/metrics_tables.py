"""Tables of metrics as CSV or Parquet: exports of Weights & Biases and MLflow, and plain tables, long or wide.

The columns say which layout it is. In a long table a row is one measurement, so one without a value is a value that is not a
number (pandas writes NaN as nothing). In a wide table most cells are empty and mean nothing; NaN that is written out counts.

Read for the layouts: mlflow/server/js, `convertMetricsToCsv` (run_id,key,value,step,timestamp), the columns of
`mlflow.search_runs` 3.17 and of `MlflowClient.get_metric_history`; W&B's `Run.history` and the CSV of its line plots as published
scripts read them (`RUN - metric`, `RUN - metric__MIN`, `RUN - metric__MAX`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cuvee.base.errors import DataError
from cuvee.interop.metrics import (
    Measurement,
    Point,
    direction_of,
    is_token_counter,
    listed,
    run_name,
    warn,
    whole,
)
from cuvee.interop.tablefile import Table, read_table

RUNS = ("run", "run_id", "run_uuid", "run_name", "run id", "run name")
STEPS = ("trainer/global_step", "train/global_step", "global_step", "step", "iteration", "_step")
"""Names of columns, the better first: W&B's `_step` counts calls of its log where a trainer logs its own step beside it."""
_NAMES = ("metric", "key")
_ERRORS = ("stderr", "error", "standard_error")
_NO_METRICS = (*RUNS, *STEPS, "", "unnamed: 0", "timestamp", "wall time", "wall_time", "time")
_LOW, _HIGH = "__MIN", "__MAX"


def measurements(files: list[Path], root: Path, source: str | None) -> Iterator[Measurement]:
    """The measurements of all tables. Where a table does not name runs, it is one run, named by its path in a folder.

    Raises:
        DataError: a broken table, one with columns of no known layout, or a cell that should be a number and is none.
    """
    for file in files:
        yield from table_measurements(read_table(file, run_name(file, root)), source)


def table_measurements(table: Table, source: str | None = None) -> Iterator[Measurement]:
    """The measurements of one table, by the first layout that fits its columns.

    Raises:
        DataError: columns of no known layout, or a cell that should be a number and is none.
    """
    for name, recognises, read in _LAYOUTS:
        if source in (None, *name) and recognises(table):
            yield from read(table)
            return
    raise DataError(
        f"{table.path} has the columns {listed(list(table.columns))}"
        + (f", which is nothing of {source}" if source else ""),
        wanted="run_id, key, value, step; or metrics.NAME (MLflow); _step or 'RUN - metric' (W&B); "
        "run, step, metric, value; or run or step and a column a metric",
    )


def _runs(table: Table, measured: Sequence[bool]) -> list[str]:
    """The run of every row; those that are `measured` must name one if the table has a column for it."""
    named = table.named(RUNS)
    if not named:
        return [table.run] * len(measured)
    cells = table.columns[named[0]]
    for row, needed in enumerate(measured):
        if needed and cells[row] is None:
            raise DataError(f"{table.at(row)} has a value but no {named[0]}", wanted="a run in each row")
    return [str(cell) for cell in cells]


def _wholes(table: Table, column: str) -> list[int | None]:
    return [
        None if value is None else whole(value, f"{table.at(row)}: {column}")
        for row, value in enumerate(table.numbers(column))
    ]


def _positions(table: Table, measured: Sequence[bool]) -> list[tuple[int | None, int | None]]:
    """Step and tokens of every row, of which those that are `measured` need one of them if the table has such columns."""
    steps: list[int | None] = [None] * len(measured)
    tokens: list[int | None] = [None] * len(measured)
    used = [c for c, cells in table.columns.items() if any(cell is not None for cell in cells)]
    named = [c for c in table.named(STEPS) if c in used]
    counters = [c for c in used if is_token_counter(c)]
    for column in named:
        steps = _wholes(table, column)
        gaps = sum(m and s is None for m, s in zip(measured, steps, strict=True))
        if not gaps:
            break
        if column != named[-1]:
            warn(f"{table.path.name}: {column} is empty in {gaps} rows with values, so the next column of steps counts")
    if counters:
        tokens = _wholes(table, counters[0])
    for row, needed in enumerate(measured):
        if needed and (named or counters) and steps[row] is None and tokens[row] is None:
            raise DataError(
                f"{table.at(row)} has a value but no {(named + counters)[0]}", wanted="a position in each row"
            )
    return list(zip(steps, tokens, strict=True))


def _is_long(table: Table) -> bool:
    return bool(table.named(_NAMES) and table.named(["value"]))


def _long(table: Table) -> Iterator[Measurement]:
    """One row a measurement: MLflow's history, or run, step, metric, value, stderr."""
    values = table.numbers(table.named(["value"])[0])
    names = table.columns[table.named(_NAMES)[0]]
    errors = [table.numbers(c) for c in table.named(_ERRORS)[:1]] or [[None] * len(values)]
    flags = [table.columns[c] for c in table.named(["is_nan"])[:1]] or [[None] * len(values)]
    runs = _runs(table, [True] * len(values))
    positions = _positions(table, [False] * len(values))  # a row of no step is the end of the run
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        if name is None:
            raise DataError(f"{table.at(row)} names no metric", wanted="the name of the metric")
        # MLflow's database stores NaN as 0 and says so in `is_nan`
        missing = value is None or str(flags[0][row]).lower() in ("true", "1")
        point = Point(
            math.nan if missing or value is None else value, errors[0][row], positions[row][1], positions[row][0]
        )
        yield Measurement(runs[row], str(name), point, direction_of(str(name)))


def _is_panel(table: Table) -> bool:
    return any(c + _LOW in table.columns and c + _HIGH in table.columns for c in table.columns) or (
        len(table.columns) > 1 and sum(" - " in c for c in table.columns) == len(table.columns) - 1
    )


def _panel(table: Table) -> Iterator[Measurement]:
    """The CSV of a W&B line plot: the x axis, and `RUN - metric` (or only `metric`), each with its `__MIN` and `__MAX`."""
    plotted = [c for c in table.columns if not c.endswith((_LOW, _HIGH)) and (" - " in c or c + _LOW in table.columns)]
    axes = [c for c in table.columns if not c.endswith((_LOW, _HIGH)) and c not in plotted]
    for column in plotted:
        run, _, metric = column.rpartition(" - ")
        if metric.startswith("_"):
            continue
        own = f"{run} - _step"
        counts = [c for c in axes if c.strip().lower() in STEPS or is_token_counter(c)] + [own] * (own in table.columns)
        if not counts:
            raise DataError(
                f"{table.path.name} has {listed(axes) or 'nothing'} on the x axis",
                wanted="steps or training tokens",
                fix="set the plot's x axis to Step, or to the metric that counts tokens, and export it again",
            )
        counted = is_token_counter(counts[0])
        positions = _wholes(table, counts[0])
        for row, value in enumerate(table.numbers(column)):
            if value is None:
                continue
            at = positions[row]
            if at is None:
                raise DataError(f"{table.at(row)} has a value but no {counts[0]}", wanted="a position in each row")
            point = Point(value, tokens=at) if counted else Point(value, step=at)
            yield Measurement(run or table.run, metric, point, direction_of(metric))


def _is_wide(table: Table) -> bool:
    return bool(table.named((*RUNS, *STEPS))) or any(is_token_counter(c) for c in table.columns)


def _wide(table: Table) -> Iterator[Measurement]:
    """One row a step or a run, one column a metric."""
    named = {
        c: c for c in table.columns
        if not (c.strip().lower() in _NO_METRICS or c.startswith("_") or is_token_counter(c))
    }  # fmt: skip
    yield from _by_column(table, named)


def _is_search(table: Table) -> bool:
    return any(c.startswith("metrics.") for c in table.columns)


def _search(table: Table) -> Iterator[Measurement]:
    """MLflow's `search_runs`: one row a run, the last value of each metric in `metrics.NAME`."""
    yield from _by_column(table, {c.removeprefix("metrics."): c for c in table.columns if c.startswith("metrics.")})


def _by_column(table: Table, named: dict[str, str]) -> Iterator[Measurement]:
    """The measurements in one column a metric, name -> column; `NAME_stderr` beside NAME is its standard error."""
    beside = {name: f"{column}_stderr" for name, column in named.items() if f"{column}_stderr" in table.columns}
    named = {name: column for name, column in named.items() if column not in beside.values()}
    values = {name: table.numbers(column) for name, column in named.items() if table.has_numbers(column)}
    left_out = [column for name, column in named.items() if name not in values]
    if left_out:
        warn(f"{table.path.name}: columns without a number are left out: {listed(left_out)}")
    errors = {name: table.numbers(column) for name, column in beside.items()}
    measured = [any(cells[row] is not None for cells in values.values()) for row in range(len(table.lines))]
    runs, positions = _runs(table, measured), _positions(table, measured)
    for name, column in values.items():
        higher = direction_of(name)
        for row, value in enumerate(column):
            if value is not None:
                error = errors[name][row] if name in errors else None
                yield Measurement(runs[row], name, Point(value, error, positions[row][1], positions[row][0]), higher)


_LAYOUTS: tuple[tuple[tuple[str, ...], Callable[[Table], bool], Callable[[Table], Iterator[Measurement]]], ...] = (
    (("mlflow",), _is_search, _search),
    (("mlflow", "table"), _is_long, _long),
    (("wandb",), _is_panel, _panel),
    (("wandb", "table"), _is_wide, _wide),
)
"""The sources that have a layout, what it is recognised by, and its reader: the first that fits."""
