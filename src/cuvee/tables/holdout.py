"""How well a fit foretells other runs, which took no part in it: their order, their best, their values.

Letters: N held-out runs, D domains, T targets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import kendalltau, spearmanr

from cuvee.base.errors import DataError
from cuvee.interop.metrics import listed
from cuvee.mixture.weights import Array
from cuvee.predict.posterior import Posterior
from cuvee.predict.table import Table
from cuvee.tables.asking import Asked
from cuvee.tables.columns import Layout, Source, opened
from cuvee.tables.levels import interval, level_draws, noise
from cuvee.tables.reading import Runs, read_runs


@dataclass(frozen=True)
class Holdout:
    """What a fit foretells of runs that it never saw.

    Args:
        runs: How many.
        spearman: Target -> rank correlation of predicted and measured; NaN where one of them is the same in all runs.
        spearman_mean, kendall_mean: Means over targets.
        regret: The measured objective of the run with the best prediction minus that of the best run, at least 0.
        coverage: The part of all values within their 90 % predictive intervals; low where the runs are of another scale.
    """

    runs: int
    spearman: Mapping[str, float]
    spearman_mean: float
    kendall_mean: float
    regret: float
    coverage: float


def read_holdout(mixtures: Source, metrics: Source, layout: Layout) -> Runs:
    """The held-out runs, in one block; columns that only the other tables have need not be there.

    Raises:
        UsageError, DataError: as `read_runs`.
    """
    left, right = opened(mixtures, "held-out mixtures"), opened(metrics, "held-out metrics")
    own = layout.within(left, right)
    return read_runs(left, right, replace(own, block="", ignore=(*own.ignore, own.block) if own.block else own.ignore))


def judge(
    asked: Asked,
    runs: Runs,
    others: Runs,
    posterior: Posterior,
    table: Table,
    rng: np.random.Generator,
    notes: list[str],
) -> Holdout:
    """The fit to `runs` held against `others`.

    Raises:
        DataError: other domains, or none of the targets.
    """
    w_ND = _shares(runs, others)
    value_NT = _values(asked, runs, others) * asked.factor_T
    there_T = np.isfinite(value_NT).sum(0) >= 2
    if not there_T.any():
        raise DataError(
            f"the held-out runs have no values of {listed(list(asked.scored))}", wanted="one of the targets"
        )
    lacking = [name for name, there in zip(asked.scored, there_T, strict=True) if not there]
    if lacking:
        notes.append(f"held-out runs have no values of {listed(lacking)}; they are judged by the other targets")
    _say_seen(runs, others, w_ND, notes)
    predicted_NT = posterior.mean(w_ND)
    ranks = {name: _rank(predicted_NT[:, t], value_NT[:, t]) for t, name in enumerate(asked.scored) if there_T[t]}
    drawn_SNT = level_draws(posterior, table, w_ND, rng)
    drawn_SNT += rng.normal(size=drawn_SNT.shape) * noise(posterior, len(there_T))
    low_NT, high_NT = interval(drawn_SNT)
    known_NT = np.isfinite(value_NT)
    inside_NT = (low_NT <= value_NT) & (value_NT <= high_NT)
    spearman = {name: pair[0] for name, pair in ranks.items()}
    return Holdout(
        runs=len(others.ids),
        spearman=spearman,
        spearman_mean=_mean([pair[0] for pair in ranks.values()]),
        kendall_mean=_mean([pair[1] for pair in ranks.values()]),
        regret=_regret(predicted_NT, value_NT, np.where(there_T, asked.a_T, 0.0)) / asked.scale,
        coverage=float(inside_NT[known_NT].mean()),
    )


def _shares(runs: Runs, others: Runs) -> Array:
    """Shares of the held-out runs in the order of the fit's domains, shape N x D."""
    columns = {d: _column(d, name, others.domains) for d, name in runs.domains.items()}
    lacking = [d for d, at in columns.items() if at is None]
    extra = [d for i, d in enumerate(others.domains) if i not in columns.values() and others.shares_ND[:, i].any()]
    if lacking or extra:
        raise DataError(
            "the held-out runs mix other domains: "
            + "; ".join(
                [*([f"without {listed(lacking)}"] if lacking else []), *([f"with {listed(extra)}"] if extra else [])]
            ),
            wanted=f"the domains of the fit: {listed(list(runs.domains))}",
        )
    return np.asarray(others.shares_ND[:, [at for at in columns.values() if at is not None]], np.float64)


def _values(asked: Asked, runs: Runs, others: Runs) -> Array:
    """Values of the targets, shape N x T; NaN for a target that the held-out runs lack."""
    columns = [_column(name, runs.metrics[name], others.metrics) for name in asked.scored]
    none_N = np.full(len(others.ids), np.nan)
    return np.stack([none_N if at is None else others.value_NM[:, at] for at in columns], axis=1)


def _column(short: str, name: str, names: Mapping[str, str]) -> int | None:
    """Where a column is among others, by its name or by its short name."""
    if name in names.values():
        return list(names.values()).index(name)
    return list(names).index(short) if short in names else None


def _say_seen(runs: Runs, others: Runs, w_ND: Array, notes: list[str]) -> None:
    seen = {np.round(w_D, 6).tobytes() for w_D in runs.shares_ND}
    again = [run for run, w_D in zip(others.ids, w_ND, strict=True) if np.round(w_D, 6).tobytes() in seen]
    if again:
        notes.append(f"{len(again)} held-out run(s) have a mixture that was fitted: {listed(again)}")


def _rank(predicted_N: Array, value_N: Array) -> tuple[float, float]:
    """Spearman's and Kendall's rank correlations over the runs with a value."""
    known_N = np.isfinite(value_N)
    predicted_N, value_N = predicted_N[known_N], value_N[known_N]
    if len(value_N) < 2 or np.ptp(predicted_N) == 0 or np.ptp(value_N) == 0:
        return math.nan, math.nan
    return float(spearmanr(predicted_N, value_N).statistic), float(kendalltau(predicted_N, value_N).statistic)


def _mean(values: list[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return float(np.mean(known)) if known else math.nan


def _regret(predicted_NT: Array, value_NT: Array, a_T: Array) -> float:
    """What the run with the best prediction is worse than the best; NaN where none has every target of the objective."""
    if not a_T.any():
        return math.nan
    counted_T = a_T > 0
    whole_N = np.isfinite(value_NT[:, counted_T]).all(1)
    if not whole_N.any():
        return math.nan
    weight_T = a_T[counted_T] / a_T.sum()
    truth_N = value_NT[whole_N][:, counted_T] @ weight_T
    best = int(np.argmin(predicted_NT[whole_N][:, counted_T] @ weight_T))
    return float(truth_N[best] - truth_N.min())
