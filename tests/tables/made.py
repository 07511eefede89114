"""Tables of runs made from a known law: each domain's loss falls with its own share, others help a little."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cuvee.mixture.weights import Array

DOMAINS = ("web", "code", "math", "books", "news")
Columns = dict[str, list[Any]]


def losses(w_ND: Array) -> Array:
    """The truth, shape N x D: a target a domain."""
    size = w_ND.shape[1]
    help_DD = np.full((size, size), 0.15) + 0.85 * np.eye(size)
    level_D = 2.0 + 0.3 * np.arange(size)
    return np.asarray(level_D + np.exp(-2.0 * w_ND @ help_DD), np.float64)


def runs(
    count: int = 24, *, noise: float = 0.002, seed: int = 0, domains: Sequence[str] = DOMAINS
) -> tuple[Columns, Columns]:
    """Columns of mixtures and of metrics; ids are `r00` and so on, targets `loss_DOMAIN`."""
    rng = np.random.default_rng(seed)
    w_ND = np.round(rng.dirichlet(np.ones(len(domains)), count), 6)
    w_ND[:, 0] += 1 - w_ND.sum(1)
    value_ND = losses(w_ND) + noise * rng.normal(size=w_ND.shape)
    ids = [f"r{n:02}" for n in range(count)]
    return (
        {"run": ids, **{d: w_ND[:, i].tolist() for i, d in enumerate(domains)}},
        {"run": list(ids), **{f"loss_{d}": value_ND[:, i].tolist() for i, d in enumerate(domains)}},
    )


def rows(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def columns(rows: Sequence[Mapping[str, Any]]) -> Columns:
    return {key: [row[key] for row in rows] for key in rows[0]}


def long(columns: Mapping[str, Sequence[Any]], key: str, value: str, **more: Any) -> Columns:
    """The same, one row a value."""
    found: Columns = {"run": [], **{name: [] for name in more}, key: [], value: []}
    for row in rows(columns):
        for name, cell in row.items():
            if name != "run":
                entry = {"run": row["run"], key: name, value: cell, **more}
                for column, cells in found.items():
                    cells.append(entry[column])
    return found


def to_csv(path: Path, columns: Mapping[str, Sequence[Any]], delimiter: str = ",") -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def to_jsonl(path: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(columns)), encoding="utf-8")
    return path


def to_parquet(path: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(dict(columns)), path)
    return path
