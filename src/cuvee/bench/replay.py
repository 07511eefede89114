"""Published runs replayed: predictors against RegMix's LightGBM, and searches that may look up any run of a pool.

Nothing is trained. All runs of both published tables are dealt anew into train and test, 20 times; a predictor learns from
the first n of train. Truth is the recorded loss, with the noise of its one run in it.

Letters: N runs, T targets, S resplits or seeds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
from scipy.special import stdtrit
from scipy.stats import spearmanr

from cuvee.base.progress import Progress, Silent
from cuvee.base.rng import generator
from cuvee.mixture.designs import d_optimal
from cuvee.mixture.feasible import FeasibleSet
from cuvee.mixture.weights import Array
from cuvee.predict.combine import DEFAULT, named
from cuvee.predict.posterior import Member, Posterior
from cuvee.predict.question import Question
from cuvee.predict.regret import Stakes, batch
from cuvee.predict.table import Table
from cuvee.tables.columns import Layout
from cuvee.tables.levels import interval, level_draws, noise
from cuvee.tables.reading import Runs, read_runs

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
RESPLITS = 20
OWN_SPLIT = "pile_cc"
"""The target that RegMix reports, on the split as published."""
FILES = ("{}_mixture_1m.csv", "{}_pile_loss_1m.csv")
FIRST, BATCH, MOST = 24, 8, 96
"""Runs that the sequential search looks up first, then at a time, and in all."""
CLIMBS = (64, 128)
ROUNDS = np.array([64, 96, 112]) / 112
"""CLIMB's runs after each of three rounds, as a part of all."""


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
        pool_regret: Of the mean of all targets, over all runs of both tables: what a search that looked up these runs at
            random and believes the predictor would choose.
        cpu_s: Seconds of CPU that fitting took; of the default predictor with its intervals.
    """

    predictor: str
    runs: int
    resplit: int
    spearman: float
    spearman_good: float
    regret: float
    spearman_mean: float
    regret_mean: float
    pool_regret: float
    rmse: float
    coverage: float
    cpu_s: float


def resplits(everything: Table, count: int, seed: int = 0) -> Iterator[tuple[Table, Table]]:
    """Train and test of each resplit; train in an order of which every beginning is a random sample."""
    for number in range(count):
        order_N = generator(seed, "resplit", number).permutation(len(everything.ids))
        yield everything.rows(order_N[TEST:]), everything.rows(order_N[:TEST])


def score(predictor: str, everything: Table, train: Table, test: Table, runs: int, resplit: int) -> Scored:
    """`predictor` fitted to the first `runs` of train, held against test."""
    known = train.rows(np.arange(runs))
    model = named(predictor)
    before = time.process_time()
    # the other predictors are asked for means only: refitting without parts of the runs would take most of the time
    posterior = model.fit(known) if predictor == DEFAULT else None
    fit = posterior.full if posterior else cast(Member, model).fit_once(known, None)
    spent = time.process_time() - before
    predicted_NT = fit.loss(test.shares_ND)
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
        pool_regret=_regret(fit.loss(everything.shares_ND).mean(1), everything.loss_NT.mean(1)),
        rmse=float(np.sqrt(np.mean((predicted_NT - test.loss_NT) ** 2))),
        coverage=_coverage(posterior, known, test) if posterior else math.nan,
        cpu_s=spent,
    )


def _rank(predicted_N: Array, true_N: Array) -> float:
    """Spearman's correlation times 100; 0 for a constant prediction, which ranks nothing."""
    return 100 * float(spearmanr(predicted_N, true_N).statistic) if np.ptp(predicted_N) > 0 else 0.0


def _regret(predicted_N: Array, true_N: Array) -> float:
    """Of the run predicted best; the mean of those that tie."""
    return float(true_N[predicted_N == predicted_N.min()].mean() - true_N.min())


def _coverage(posterior: Posterior, known: Table, test: Table) -> float:
    """Share of the test losses within their 90 % predictive intervals."""
    rng = generator(0, "coverage")
    drawn_SNT = level_draws(posterior, known, test.shares_ND, rng)
    drawn_SNT += rng.normal(size=drawn_SNT.shape) * noise(posterior, len(test.targets))
    low_NT, high_NT = interval(drawn_SNT)
    return float(np.mean((low_NT <= test.loss_NT) & (test.loss_NT <= high_NT)))


@dataclass(frozen=True)
class Searched:
    """A search of the pool: the regret of what it would choose after looking up so many runs, in the table's unit."""

    method: str
    runs: int
    seed: int
    regret: float


def best_of_random(everything: Table, seed: int) -> list[Searched]:
    """The best seen of runs looked up at random."""
    order_N, true_N = generator(seed, "pool").permutation(len(everything.ids)), everything.loss_NT.mean(1)
    return [Searched("random", n, seed, float(true_N[order_N[:n]].min() - true_N.min())) for n in SIZES]


def climb(everything: Table, seed: int, runs: int) -> Searched:
    """CLIMB: random runs first, then twice from those of the pool that the trees rank best; the best by the trees in the end."""
    rng, true_N = generator(seed, "climb", runs), everything.loss_NT.mean(1)
    asked = list(rng.permutation(len(true_N))[: round(float(runs * ROUNDS[0]))])
    for goal in (runs * ROUNDS[1:]).round().astype(int):
        predicted_N = _trees(everything, asked)
        predicted_N[asked] = np.inf
        wanted = int(goal) - len(asked)
        asked += list(rng.permutation(np.argsort(predicted_N, kind="stable")[: 4 * wanted])[:wanted])
    return Searched("climb", runs, seed, _regret(_trees(everything, asked), true_N))


def _trees(everything: Table, asked: Sequence[int]) -> Array:
    fit = cast(Member, named(BASELINE)).fit_once(everything.rows(np.array(asked, np.int64)), None)
    return np.asarray(fit.loss(everything.shares_ND).mean(1), np.float64)


def sequential(everything: Table, seed: int) -> list[Searched]:
    """The default search: a D-optimal beginning among random candidates, then batches by the knowledge gradient."""
    rng, true_N = generator(seed, "sequential"), everything.loss_NT.mean(1)
    a_T = np.full(len(everything.targets), 1 / len(everything.targets))
    some = rng.permutation(len(true_N))[: 10 * FIRST]
    centre_1D = everything.shares_ND.mean(0, keepdims=True)
    first_ND = d_optimal(everything.shares_ND[some], centre_1D, FIRST)
    asked = [int(i) for i in some if (everything.shares_ND[i] == first_ND).all(1).any()]
    anything = FeasibleSet(everything.domains, (0.0,) * len(everything.domains), (1.0,) * len(everything.domains))
    found = []
    while True:
        posterior = named(DEFAULT).fit(everything.rows(np.array(asked, np.int64)))
        predicted_N = posterior.mean(everything.shares_ND) @ a_T
        found.append(Searched("auto", len(asked), seed, _regret(predicted_N, true_N)))
        if len(asked) >= MOST:
            return found
        stakes = Stakes.of(Question(posterior, anything, centre_1D[0], a_T), everything.shares_ND, rng)
        limit_M = np.ones(len(true_N), np.int64)
        limit_M[asked] = 0
        asked += batch(stakes, float(np.linalg.norm(noise(posterior, len(a_T)) * a_T)), limit_M, BATCH, rng).picks


def run(folder: Path, workers: int = 2, progress: Progress | None = None) -> dict[str, Any]:
    """All figures.

    Args:
        folder: With RegMix's published tables: train_mixture_1m.csv, train_pile_loss_1m.csv and the same of test.
        workers: Processes.
        progress: Advanced by one for every resplit.

    Raises:
        DataError: no such tables.
    """
    train, test = (published(folder, part) for part in ("train", "test"))
    everything = joined(train, test)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        scored: list[Scored] = []
        searched: list[Searched] = []
        for one, two in pool.map(partial(replayed, everything), range(RESPLITS)):
            scored += one
            searched += two
            (progress or Silent()).advance()
    own = score(BASELINE, everything, train, test, len(train.ids), 0)
    fit = cast(Member, named(BASELINE)).fit_once(train, None)
    at = train.targets.index(OWN_SPLIT)
    return {
        "published": [
            {
                "target": OWN_SPLIT,
                "runs": len(train.ids),
                "lightgbm": _rank(fit.loss(test.shares_ND)[:, at], test.loss_NT[:, at]),
                "lightgbm_mean": own.spearman,
            }
        ],
        "rows": [_row(name, n, scored) for name in PREDICTORS for n in SIZES],
        "searches": _searches(searched, scored),
    }


def replayed(everything: Table, number: int) -> tuple[list[Scored], list[Searched]]:
    """Everything about one resplit or seed."""
    train, test = next(t for i, t in enumerate(resplits(everything, number + 1)) if i == number)
    scored = [score(name, everything, train, test, n, number) for n in SIZES for name in PREDICTORS]
    climbs = [climb(everything, number, n) for n in CLIMBS]
    return scored, [*best_of_random(everything, number), *climbs, *sequential(everything, number)]


def published(folder: Path, part: str) -> Table:
    """RegMix's table `train` or `test`, joined by run."""
    mixtures, losses = (folder / name.format(part) for name in FILES)
    runs = read_runs(mixtures, losses, Layout())
    return _as_table(runs)


def _as_table(runs: Runs) -> Table:
    count = len(runs.ids)
    return Table(
        tuple(runs.domains),
        tuple(runs.metrics),
        runs.shares_ND,
        runs.value_NM,
        np.zeros(count, np.int64),
        runs.ids,
        np.arange(1, count + 1),
    )


def joined(one: Table, other: Table) -> Table:
    """The runs of both, whose columns are the same."""
    assert (one.domains, one.targets) == (other.domains, other.targets)
    return Table(
        one.domains,
        one.targets,
        np.vstack([one.shares_ND, other.shares_ND]),
        np.vstack([one.loss_NT, other.loss_NT]),
        np.zeros(len(one.ids) + len(other.ids), np.int64),
        (*(f"train {i}" for i in one.ids), *(f"test {i}" for i in other.ids)),
        np.arange(1, len(one.ids) + len(other.ids) + 1),
    )


def _row(name: str, runs: int, scored: Sequence[Scored]) -> dict[str, Any]:
    """Means over resplits, and the 90 % Student interval of the paired difference in rank correlation to RegMix's trees.

    Resplits share runs, so the interval is of this corpus, and narrower than one over corpora would be.
    """
    own = {s.resplit: s for s in scored if (s.predictor, s.runs) == (name, runs)}
    base = {s.resplit: s for s in scored if (s.predictor, s.runs) == (BASELINE, runs)}
    ahead_S = np.array([own[i].spearman - base[i].spearman for i in sorted(own)])
    half = (
        float(stdtrit(len(ahead_S) - 1, 0.95) * ahead_S.std(ddof=1) / math.sqrt(len(ahead_S)))
        if len(ahead_S) > 1
        else math.nan
    )
    names = [f.name for f in fields(Scored) if f.type == "float"]
    means = {figure: float(np.mean([getattr(s, figure) for s in own.values()])) for figure in names}
    sd = float(np.std([s.spearman for s in own.values()], ddof=1)) if len(own) > 1 else math.nan
    ahead = float(ahead_S.mean())
    return {
        "predictor": name,
        "runs": runs,
        **means,
        "spearman_sd": sd,
        "ahead": ahead,
        "ahead_low": ahead - half,
        "ahead_high": ahead + half,
    }


def _searches(searched: Sequence[Searched], scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """Mean and median regret over seeds per method and runs; RegMix and the default predictor from runs at random are the
    predictors' own."""
    random = {BASELINE: "regmix", DEFAULT: "stack, runs at random"}
    both = [
        *searched,
        *(Searched(random[s.predictor], s.runs, s.resplit, s.pool_regret) for s in scored if s.predictor in random),
    ]
    keys = sorted({(s.method, s.runs) for s in both})
    rows = []
    for method, runs in keys:
        regrets = [s.regret for s in both if (s.method, s.runs) == (method, runs)]
        rows.append(
            {
                "method": method,
                "runs": runs,
                "regret": float(np.mean(regrets)),
                "median": float(np.median(regrets)),
                "seeds": len(regrets),
            }
        )
    return rows
