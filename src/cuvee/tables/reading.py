"""Two tables of past runs read and joined by run: mixtures as shares, metrics as last values, and what was done to them.

MIXTURES: one row a run and one column a domain, or long with the columns run, domain and share. METRICS: one row a run and one
column a metric, with a column of steps several rows a run, of which the last counts; or long (run, step, metric, value); or an
export of MLflow or W&B that `cuvee.interop.metrics_tables` knows. Everything comes out sorted by name, so that neither the order
of rows nor that of columns changes an answer.

Letters: N runs, D domains, M metrics.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cuvee.base.errors import DataError
from cuvee.interop.metrics import MetricsWarning, RunMetrics, gather, listed
from cuvee.interop.metrics_tables import STEPS, table_measurements
from cuvee.interop.tablefile import Table, as_number
from cuvee.mixture.weights import Array
from cuvee.predict.table import Integers
from cuvee.tables.columns import BOOKKEEPING, Keyed, Layout, Source, block_hint, keyed
from cuvee.tables.names import short_metrics, shorter
from cuvee.tables.shares import mixtures_of

Key = tuple[str, str]
"""Id and block of a run; the block is empty where no column tells it."""
EARLY = 0.95
"""A run that ends before this part of the usual last step ended early."""


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs that are in both tables, in the order of their ids.

    Args:
        ids: One a run; `ID/BLOCK` where an id was run in several blocks.
        domains, metrics: Short name -> column, in the order of columns.
        shares_ND: Rows sum to 1.
        value_NM: The last value of each metric; NaN where there is none or the run had diverged by then.
        block_N: Positions in `blocks`.
        blocks: What the block column says; one empty name without such a column.
        notes: What was read otherwise than it stands there.
    """

    ids: tuple[str, ...]
    domains: Mapping[str, str]
    metrics: Mapping[str, str]
    shares_ND: Array
    value_NM: Array
    block_N: Integers
    blocks: tuple[str, ...]
    notes: tuple[str, ...]


def read_runs(mixtures: Source, metrics: Source, layout: Layout) -> Runs:
    """The runs of two tables, joined.

    Raises:
        UsageError: no column that names runs in both, or a column asked for that is not there.
        DataError: a broken file, a run with two values, shares that are none, no run in both tables.
    """
    notes: list[str] = []
    left, right = keyed(mixtures, metrics, layout, notes)
    columns, shares = mixtures_of(left, right.table.columns, notes)
    values = _metrics_of(right, notes)
    joined = _joined(shares, values, (left.table.path.name, right.table.path.name), notes)
    names = _metric_names(left, right, columns, values, notes)
    blocks = sorted({run.block for run in joined.values()}, key=lambda b: (len(b), b))
    domains, shorts = {c: c for c in columns}, {n: n for n in names}
    if not layout.keep_names:
        domains = shorter(columns)
        shorts = short_metrics(names, domains)
    return Runs(
        ids=tuple(joined),
        domains=domains,
        metrics=shorts,
        shares_ND=np.array([shares[run.mixture] for run in joined.values()]),
        value_NM=np.array(
            [[values[run.measured].get(n, np.nan) for n in names] for run in joined.values()], np.float64
        ),
        block_N=np.array([blocks.index(run.block) for run in joined.values()], np.int64),
        blocks=tuple(blocks),
        notes=tuple(notes),
    )


def _metric_names(
    left: Keyed, right: Keyed, domains: tuple[str, ...], values: Mapping[Key, Mapping[str, float]], notes: list[str]
) -> list[str]:
    """The metrics, sorted: what keeps books, and shares that stand in both tables, are none.

    Raises:
        DataError: no metric is left.
    """
    names = sorted({name for metric in values.values() for name in metric})
    books = [name for name in names if name.rpartition("/")[2].strip().lower() in BOOKKEEPING]
    there = [c for c in domains if _shares_again(left, right, c)]
    left_out = {*books, *there}
    if left_out:
        notes.append(f"{right.table.path.name}: taken for no metrics: {listed(sorted(left_out))}")
    found = [name for name in names if name not in left_out]
    if not found:
        raise DataError(f"{right.table.path} has no metrics", wanted="columns of numbers that are not shares")
    return found


def _shares_again(left: Keyed, right: Keyed, column: str) -> bool:
    """Whether a domain's column stands in the table of metrics too, with the same shares run by run, in any order of rows."""
    if column not in left.table.columns or column not in right.table.columns:
        return False
    own: dict[str, set[object]] = {}
    for run, cell in zip(left.ids, left.table.columns[column], strict=True):
        own.setdefault(run, set()).add(as_number(cell))
    theirs = zip(right.ids, right.table.columns[column], strict=True)
    return all(as_number(cell) in own[run] for run, cell in theirs if run in own)


@dataclass(frozen=True)
class _Joined:
    """The keys of a run in both tables, and its block."""

    mixture: Key
    measured: Key
    block: str


def _joined(
    shares: Mapping[Key, Array], values: Mapping[Key, object], files: tuple[str, str], notes: list[str]
) -> dict[str, _Joined]:
    """Run -> where its mixture and its metrics are."""
    times = Counter(run for run, _ in values)
    mixed: dict[str, list[Key]] = {}
    for key in shares:
        mixed.setdefault(key[0], []).append(key)
    found: dict[str, _Joined] = {}
    for run, block in sorted(values):
        mine = [key for key in mixed.get(run, []) if not block or key[1] in ("", block)]
        if len(mine) > 1:
            raise DataError(
                f"run {run} has mixtures in {len(mine)} blocks in {files[0]} and one row in {files[1]}",
                wanted="the block in both tables",
            )
        if mine:
            name = run if times[run] == 1 else f"{run}/{block}"
            found[name] = _Joined(mine[0], (run, block), block or mine[0][1])
    alone = [sorted({k[0] for k in one} - {k[0] for k in other}) for one, other in ((shares, values), (values, shares))]
    if not found:
        raise DataError(
            f"no run is in both tables: {files[0]} has {listed(alone[0])}; {files[1]} has {listed(alone[1])}",
            wanted="the same ids in both",
            fix="--id COLUMN, the column that both share",
        )
    for name, runs in zip(files, alone, strict=True):
        if runs:
            notes.append(f"{len(runs)} run(s) only in {name}, not used: {listed(runs)}; {len(found)} are in both")
    return found


def _metrics_of(keyed: Keyed, notes: list[str]) -> dict[Key, dict[str, float]]:
    """The last value of every metric of each run.

    Raises:
        DataError: a run with two values of a metric, a cell that is no number.
    """
    labels = [f"{run}/{block}" if block else run for run, block in keyed.keys]
    key_of = dict(zip(labels, keyed.keys, strict=True))
    table = Table(keyed.table.path, "", {"run": list(labels), **keyed.table.columns}, keyed.table.lines)
    if not table.named(STEPS) and not table.named(("metric", "key")):
        _check_once(keyed, notes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MetricsWarning)
        runs = gather(table_measurements(table), table.path)
    notes += [str(w.message) for w in caught if issubclass(w.category, MetricsWarning)]
    runs = _ended(runs, table.path.name, notes)
    last = {key_of[r.run]: {m.name: m.points[-1].value for m in r.metrics} for r in runs}
    return {key: {n: v if np.isfinite(v) else np.nan for n, v in found.items()} for key, found in last.items()}


def _check_once(keyed: Keyed, notes: list[str]) -> None:
    """That rows of one run are the same, where no step tells them apart."""
    rows: dict[Key, tuple[object, ...]] = {}
    differ: set[str] = set()
    for key, row in zip(keyed.keys, zip(*keyed.table.columns.values(), strict=True), strict=True):
        if repr(rows.setdefault(key, row)) != repr(row):  # repr, because here NaN is the same as NaN
            differ.add(key[0])
    if differ:
        raise DataError(
            f"{keyed.table.path.name}: two rows for one id: {listed(sorted(differ))}",
            wanted="each run once, or a column of steps",
            fix=block_hint(keyed.table),
        )
    if len(rows) < len(keyed.ids):
        notes.append(f"{keyed.table.path.name}: {len(keyed.ids) - len(rows)} rows are there twice and count once")


def _ended(runs: tuple[RunMetrics, ...], file: str, notes: list[str]) -> tuple[RunMetrics, ...]:
    """Without the runs that stopped before the step at which most ended: their last values are of younger models."""
    steps = {r.run: [p.step for m in r.metrics for p in m.points[-1:] if p.step is not None] for r in runs}
    ends = {run: max(found) for run, found in steps.items() if found}
    usual, count = Counter(ends.values()).most_common(1)[0] if ends else (0, 0)
    early = sorted(run for run, step in ends.items() if step < EARLY * usual)
    if 2 * count <= len(runs) or not early:
        return runs
    notes.append(f"{file}: most runs end at step {usual}; left out, as they stop earlier: {listed(early)}")
    return tuple(r for r in runs if r.run not in early)
