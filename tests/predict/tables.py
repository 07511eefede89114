"""Tables made from known functions, shared by the tests of predictors."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cuvee.mixture.weights import Array
from cuvee.predict.table import Table

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "published" / "regmix"


def make(
    function: Callable[[Array], Array],
    *,
    runs: int = 48,
    domains: int = 5,
    blocks: int = 4,
    noise: float = 0.0,
    seed: int = 0,
) -> Table:
    """A table of `function` (N x D shares to N x T losses) with an offset per block and target."""
    rng = np.random.default_rng(seed)
    w_ND = rng.dirichlet(np.ones(domains), runs)
    block_N = np.arange(runs) % blocks
    loss_NT = function(w_ND)
    targets = loss_NT.shape[1]
    loss_NT = loss_NT + 0.3 * rng.normal(size=(blocks, targets))[block_N] + noise * rng.normal(size=loss_NT.shape)
    names = tuple(f"d{i}" for i in range(domains))
    ids = tuple(f"{i:032x}" for i in range(runs))
    return Table(names, names[:targets], w_ND, loss_NT, block_N.astype(np.int64), ids, np.arange(runs, dtype=np.int64))


def published(kind: str) -> tuple[tuple[str, ...], tuple[str, ...], Array, Array]:
    """Domains, targets, shares (renormalised) and losses of RegMix's released runs; rows joined by index."""
    weights, losses = (_read(PUBLISHED / f"{kind}_{what}_1m.csv") for what in ("mixture", "pile_loss"))
    index = [i for i in weights[1] if i in set(losses[1])]
    w_ND = np.array([weights[2][i] for i in index])
    return weights[0], losses[0], w_ND / w_ND.sum(1, keepdims=True), np.array([losses[2][i] for i in index])


def _read(path: Path) -> tuple[tuple[str, ...], list[str], dict[str, list[float]]]:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    return tuple(header[1:]), [r[0] for r in rows], {r[0]: [float(x) for x in r[1:]] for r in rows}
