"""Published runs replayed: predictors against RegMix's LightGBM, and searches that may look up any run of a pool.

Nothing is trained. All runs of both published tables are dealt anew into train and test, 20 times; a predictor learns from
the first n of train. Truth is the recorded loss, with the noise of its one run in it.

Letters: N runs, T targets, S resplits or seeds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from cuvee.base.rng import generator
from cuvee.mixture.weights import Array
from cuvee.predict.combine import named
from cuvee.predict.posterior import Posterior
from cuvee.predict.table import Table

SIZES = (16, 32, 64, 128, 256, 512)
TEST = 256
"""Runs held out in every resplit, as published."""
BASELINE = "lightgbm"
PREDICTORS = (
    "stack",
    "process",
    "power-law",
    "corrected-law",
    "log-linear",
    "ridge-log",
    "quadratic",
    "bimix",
    "autoscale",
    BASELINE,
)
GOOD = 0.25
"""The part of the test runs, by true loss, among which ranking is hard and counts."""


@dataclass(frozen=True)
class Scored:
    """One predictor on one resplit, means over targets.

    Args:
        spearman: Rank correlation over the test runs, times 100.
        spearman_good: The same among the best quarter by true loss.
        regret: True loss of the run predicted best minus that of the best, in the table's unit.
        spearman_mean, regret_mean: The same of the mean of all targets, composed from their predictions.
        rmse: Root mean square error of the predictions.
        coverage: Share of the test losses within their 90 % predictive intervals.
        cpu_s: Seconds of CPU that fitting took.
    """

    predictor: str
    runs: int
    resplit: int
    spearman: float
    spearman_good: float
    regret: float
    spearman_mean: float
    regret_mean: float
    rmse: float
    coverage: float
    cpu_s: float


FIGURES = ("spearman", "spearman_good", "regret", "spearman_mean", "regret_mean", "rmse", "coverage", "cpu_s")


def resplits(everything: Table, count: int, seed: int = 0) -> Iterator[tuple[Table, Table]]:
    """Train and test of each resplit; train in an order of which every beginning is a random sample."""
    for number in range(count):
        order_N = generator(seed, "resplit", number).permutation(len(everything.ids))
        yield _take(everything, order_N[TEST:]), _take(everything, order_N[:TEST])


def score(predictor: str, train: Table, test: Table, runs: int, resplit: int) -> Scored:
    """`predictor` fitted to the first `runs` of train, held against test."""
    before = time.process_time()
    posterior = named(predictor).fit(_take(train, np.arange(runs)))
    spent = time.process_time() - before
    predicted_NT = posterior.mean(test.shares_ND)
    good_NT = test.loss_NT <= np.quantile(test.loss_NT, GOOD, axis=0)
    columns = range(len(test.targets))
    pairs = [(predicted_NT[:, t], test.loss_NT[:, t]) for t in columns]
    mean = (predicted_NT.mean(1), test.loss_NT.mean(1))
    return Scored(
        predictor,
        runs,
        resplit,
        spearman=float(np.mean([_rank(*pair) for pair in pairs])),
        spearman_good=float(np.mean([_rank(*(x[good_NT[:, t]] for x in pairs[t])) for t in columns])),
        regret=float(np.mean([_regret(*pair) for pair in pairs])),
        spearman_mean=_rank(*mean),
        regret_mean=_regret(*mean),
        rmse=float(np.sqrt(np.mean((predicted_NT - test.loss_NT) ** 2))),
        coverage=_coverage(posterior, test),
        cpu_s=spent,
    )


def _rank(predicted_N: Array, true_N: Array) -> float:
    """Spearman's correlation times 100; 0 for a constant prediction, which ranks nothing."""
    return 100 * float(spearmanr(predicted_N, true_N).statistic) if np.ptp(predicted_N) > 0 else 0.0


def _regret(predicted_N: Array, true_N: Array) -> float:
    """Of the run predicted best; the mean of those that tie."""
    return float(true_N[predicted_N == predicted_N.min()].mean() - true_N.min())


def _coverage(posterior: Posterior, test: Table) -> float:
    """Share of the test losses within their predictive intervals; NaN where the predictor gives none."""
    low_NT, high_NT = posterior.predictive(test.shares_ND)
    inside_NT = (low_NT <= test.loss_NT) & (test.loss_NT <= high_NT)
    return float(np.mean(inside_NT)) if np.isfinite(low_NT).all() else math.nan


def _take(table: Table, rows: Sequence[int] | np.ndarray[Any, Any]) -> Table:
    """Those rows, in that order."""
    index_N = np.asarray(rows, np.int64)
    return Table(
        table.domains,
        table.targets,
        table.shares_ND[index_N],
        table.loss_NT[index_N],
        table.block_N[index_N],
        tuple(table.ids[i] for i in index_N),
        table.mixture_N[index_N],
    )
