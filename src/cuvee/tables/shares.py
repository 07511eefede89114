"""The table of mixtures as shares: wide or long, checked, and scaled to sum to one.

Letters: N rows, D domains.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from cuvee.base.errors import DataError
from cuvee.interop.metrics import is_token_counter, listed
from cuvee.interop.metrics_tables import STEPS
from cuvee.interop.tablefile import Table
from cuvee.mixture.weights import Array
from cuvee.tables.columns import BOOKKEEPING, Keyed, block_hint

NEAR = 0.02
"""Rows that sum to this near to 1 or 100 are scaled to sum to one; rounding makes such sums."""
SAME_TOTAL = 1e-4
"""Rows that sum to any other total, such as one of tokens, must agree to this."""
ROUNDING = 1e-6
"""Shares this far below zero are zero, and sums this near to one need no word."""
_PARTS = ("domain", "source", "dataset", "component")
_SHARES = ("share", "weight", "ratio", "proportion", "fraction", "value", "tokens")


def mixtures_of(
    keyed: Keyed, others: Collection[str], notes: list[str]
) -> tuple[tuple[str, ...], dict[tuple[str, str], Array]]:
    """The domains' columns, sorted, and the shares of each run (id and block), shape D.

    Args:
        keyed: The table of mixtures.
        others: Columns of the table of metrics: one that is here too is a metric where shares only sum to one without it.
        notes: Gets what a reader should know.

    Raises:
        DataError: a cell that is no number, a negative share, sums that are neither one nor the same, a run with two mixtures.
    """
    part, share = keyed.table.named(_PARTS), keyed.table.named(_SHARES)
    long = part and share and not keyed.table.has_numbers(part[0])
    keyed = _widened(keyed, part[0], share[0]) if long else keyed
    columns = sorted(_domain_columns(keyed.table, notes))
    if len(columns) < 2:
        raise DataError(
            f"{keyed.table.path} has {len(columns)} column(s) of shares: {listed(columns)}",
            wanted="at least two domains: one column a domain, or the columns run, domain, share",
        )
    cells_ND = _numbers(keyed, columns)
    # a total decides which columns are shares, so it is looked at before the cells
    kept = _that_sum(cells_ND, columns, others, notes)
    columns, cells_ND = [columns[i] for i in kept], cells_ND[:, kept]
    shares_ND = _scaled(keyed, columns, cells_ND, notes)
    return tuple(columns), _once(keyed, shares_ND, notes)


def _widened(keyed: Keyed, part: str, share: str) -> Keyed:
    """A long table as a wide one: a domain that a run does not name has no share."""
    rows: dict[tuple[str, str], dict[str, object]] = {}
    lines: dict[tuple[str, str], int] = {}
    cells = keyed.table.columns
    for row, key in enumerate(keyed.keys):
        name = cells[part][row]
        if name is None:
            raise DataError(f"{keyed.table.at(row)}: {part} is empty", wanted="the name of a domain")
        mixture = rows.setdefault(key, {})
        lines.setdefault(key, keyed.table.lines[row])
        if mixture.setdefault(str(name), cells[share][row]) != cells[share][row]:
            raise DataError(
                f"{keyed.table.at(row)}: {name} of run {key[0]} has two shares", fix=block_hint(keyed.table)
            )
    domains = dict.fromkeys(name for mixture in rows.values() for name in mixture)
    columns = {name: [mixture.get(name, 0.0) for mixture in rows.values()] for name in domains}
    table = Table(keyed.table.path, "", columns, list(lines.values()))
    return Keyed(table, [key[0] for key in rows], None if keyed.blocks is None else [key[1] for key in rows])


def _domain_columns(table: Table, notes: list[str]) -> list[str]:
    """Columns with numbers; text beside them describes runs."""
    text = [c for c in table.columns if not table.has_numbers(c)]
    if text:
        notes.append(f"{table.path.name}: columns without a number are no domains: {listed(text)}")
    steps = [c for c in table.columns if c.strip().lower() in STEPS]
    return [c for c in table.columns if c not in text and c not in steps]


def _numbers(keyed: Keyed, columns: list[str]) -> Array:
    """Cells as numbers, shape N x D; NaN where one is empty."""
    read = [[np.nan if v is None else v for v in keyed.table.numbers(c)] for c in columns]
    return np.array(read, np.float64).T


def _that_sum(cells_ND: Array, columns: list[str], others: Collection[str], notes: list[str]) -> list[int]:
    """The columns that are shares: all, unless rows sum as well without bookkeeping, or only without metrics beside it."""
    every = list(range(len(columns)))
    books = {c for c in columns if c.strip().lower() in BOOKKEEPING or is_token_counter(c)}
    for withouts in ((books, set[str]()), (books | set(others),)):
        rests = [[i for i in every if columns[i] not in without] for without in withouts]
        found = [rest for rest in rests if len(rest) > 1 and _common_total(cells_ND[:, rest])]
        if found:
            # a small number beside shares, such as a learning rate, hardly changes a sum: what sums better counts
            rest = min(found, key=lambda rest: round(_away(cells_ND[:, rest]), 9))
            if len(rest) < len(every):
                taken = [columns[i] for i in every if i not in rest]
                notes.append(f"taken for no domains, as rows sum alike without: {listed(taken)}")
            return rest
    return every


def _away(cells_ND: Array) -> float:
    """How far the sum of any row is from what all rows sum to, as a part of it."""
    return float(np.max(np.abs(np.nansum(cells_ND, axis=1) / _common_total(cells_ND) - 1)))


def _common_total(cells_ND: Array) -> float:
    """What all rows sum to; 0 where they differ."""
    sum_N = np.nansum(cells_ND, axis=1)
    for total, near in ((1.0, NEAR), (100.0, NEAR), (float(np.median(sum_N)), SAME_TOTAL)):
        if total > 0 and np.all(np.abs(sum_N / total - 1) <= near):
            return total
    return 0.0


def _scaled(keyed: Keyed, columns: list[str], cells_ND: Array, notes: list[str]) -> Array:
    table = keyed.table
    for n, d in np.argwhere((cells_ND < -ROUNDING) | np.isinf(cells_ND)).tolist():
        raise DataError(
            f"{table.at(n)}: {columns[d]} of run {keyed.ids[n]} is {cells_ND[n, d]:g}",
            wanted="a share: finite, and not negative",
            fix=f"--ignore {columns[d]!r}, if it is no domain",
        )
    sum_N = np.nansum(cells_ND, axis=1)
    total = _common_total(cells_ND)
    if not total:
        _refuse_sums(keyed, columns, cells_ND)
    empty_N = np.isnan(cells_ND).any(1)
    if empty_N.any():
        notes.append(
            f"{table.path.name}: empty cells of {listed([keyed.ids[n] for n in np.flatnonzero(empty_N).tolist()])} count as 0, as the "
            "other shares sum to one"
        )
    away = _away(cells_ND)
    if total != 1:
        notes.append(f"{table.path.name}: rows sum to {total:g} and are scaled to 1")
    if away > ROUNDING:
        notes.append(f"{table.path.name}: rows sum to {total:g} within {away:.2g} of it and are scaled to sum to 1")
    return np.asarray(np.maximum(np.nan_to_num(cells_ND, nan=0.0), 0.0) / sum_N[:, None], np.float64)


def _refuse_sums(keyed: Keyed, columns: list[str], cells_ND: Array) -> None:
    sum_N = np.nansum(cells_ND, axis=1)
    bad = np.flatnonzero(np.abs(sum_N - 1) > NEAR).tolist()
    rows = [f"run {keyed.ids[n]} ({keyed.table.at(n)}) {sum_N[n]:.4g}" for n in bad]
    empty = [columns[d] for d in np.flatnonzero(np.isnan(cells_ND[bad]).any(0))]
    raise DataError(
        f"the shares of {len(bad)} of {len(sum_N)} rows do not sum to 1: {listed(rows)}"
        + (f"; empty there: {listed(empty)}" if empty else ""),
        wanted=f"rows that sum to 1 or 100 within {NEAR:.0%} of it, or all to the same total",
        fix=f"check these rows; --ignore COLUMN for one that is no domain (taken for domains: {listed(columns)})",
    )


def _once(keyed: Keyed, shares_ND: Array, notes: list[str]) -> dict[tuple[str, str], Array]:
    """The mixture of each run; rows that say the same twice count once."""
    found: dict[tuple[str, str], Array] = {}
    differ: list[str] = []
    for key, w_D in zip(keyed.keys, shares_ND, strict=True):
        if np.abs(found.setdefault(key, w_D) - w_D).max() > ROUNDING:
            differ.append(key[0])
    if differ:
        raise DataError(
            f"{keyed.table.path.name}: two mixtures for one id: {listed(sorted(set(differ)))}",
            wanted="each run once",
            fix=block_hint(keyed.table),
        )
    if len(found) < len(shares_ND):
        notes.append(f"{keyed.table.path.name}: {len(shares_ND) - len(found)} rows are there twice and count once")
    return found
