"""What successive halving saves and what it loses: mixtures in full at every rung, and what the method would have stopped.

On a corpus every mixture of the first rung is trained at all rungs, so that the order that short runs give can be held against
the order in full. In worlds, where the best mixture is known, `halving` searches against `regression` at equal tokens.

Letters: M mixtures, S seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cuvee.base.progress import Progress, Silent
from cuvee.base.rng import generator
from cuvee.bench.worlds import SETTINGS, Setting
from cuvee.methods.contract import Method
from cuvee.methods.halving import Halving, agreement, differences
from cuvee.methods.regression import Regression
from cuvee.mixture.weights import Mixture
from cuvee.plan.problem import Problem, Proxy
from cuvee.plan.rungs import Rung, ladder
from cuvee.plan.trial import Plan, Trial
from cuvee.proxies.train import train
from cuvee.shards.corpus import Corpus
from cuvee.testing.worlds import play, world

METHOD = Halving(runs=24, blocks=4)
PROXY = Proxy(tokens=120_000, size="0.1M", eval_points=1)
STANDS_FOR = 4
"""R over the tokens of a full run, so that the lowest of three rungs is a sixteenth of R."""
SEEDS = 8
"""Worlds of each of the families of `bench worlds`."""
Tasted = tuple[Mixture, int]


@dataclass(frozen=True)
class Agreement:
    """A rung against the last.

    Args:
        tokens, mixtures: Of a run, and how many ended well in both.
        spearman: Rank correlation of their differences to natural, over all blocks.
        in_blocks: The mean of the rank correlations within blocks.
        slope: Least squares of the full differences on these.
        away: Root mean square of what that leaves, bits/byte.
        spread: Standard deviation of the full differences.
        cpu_seconds: Of all runs of the rung, natural's among them.
    """

    tokens: int
    mixtures: int
    spearman: float
    in_blocks: float
    slope: float
    away: float
    spread: float
    cpu_seconds: float


@dataclass(frozen=True)
class Outcome:
    """What halving would have done.

    Args:
        saved: Share of the tokens of all mixtures in full that it does without.
        kept: Share of the mixtures that it trains in full: how often the best would survive by chance.
        best_survived: Whether the mixture that is best in full, of all blocks, is among them.
        blocks_survived, blocks: In how many blocks the best of the block is.
        lost: The best that survived minus the best, in full, mean over blocks, bits/byte.
    """

    saved: float
    kept: float
    best_survived: bool
    blocks_survived: int
    blocks: int
    lost: float


def run(
    corpus: Corpus, *, method: Halving = METHOD, proxy: Proxy = PROXY, seed: int = 0, progress: Progress | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Train the first round of `method` at every rung.

    Returns:
        `rungs` (`Agreement`), `halving` (`Outcome`), `mixtures`: the differences to natural of every one, by tokens.
    """
    report, problem = progress or Silent(), _problem(corpus, proxy, seed)
    rungs = ladder(problem, method.rungs, method.keep)
    first = method.propose(problem, (), generator(seed, "propose", 0))
    trials: dict[Plan, Trial] = {}
    for rung in rungs:
        for plan in (rung.plan(plan.schedule.at(0), plan.block) for plan in first):
            (trials[plan],) = train([plan], corpus)
            report.advance(1, note=f"{plan.tokens:,} tokens")
    found = [differences(rung, trials.values()) for rung in rungs]
    rows = [
        {
            "block": block,
            **{f"{r.problem.proxy.trained_tokens}": d.get((m, block)) for r, d in zip(rungs, found, strict=True)},
        }
        for m, block in sorted(found[-1], key=lambda key: (key[1], key[0].units))
    ]
    return {
        "rungs": [vars(_agreement(rung, rungs[-1], trials.values())) for rung in rungs],
        "halving": [vars(outcome(problem, method, trials))],
        "mixtures": rows,
    }


def outcome(problem: Problem, method: Halving, trials: Mapping[Plan, Trial]) -> Outcome:
    """What `method` would have made of runs that are all made already."""
    made = list[Trial]()
    while plans := method.propose(problem, made, generator(problem.seed, "propose", 0)):
        made += [trials[plan] for plan in plans]
    full = ladder(problem, method.rungs, method.keep)[-1]
    every, survived = differences(full, trials.values()), differences(full, made)
    blocks = sorted({block for _, block in survived})
    best = {block: _best(every, block) for block in blocks}
    runs = len([p for p in trials if p.kind == "train"])
    return Outcome(
        saved=1 - sum(t.plan.tokens for t in made) / (runs * full.problem.proxy.trained_tokens),
        kept=len(survived) / len(every),
        best_survived=min(every, key=lambda key: every[key]) in survived,
        blocks_survived=sum(best[block] in survived for block in blocks),
        blocks=len(blocks),
        lost=float(np.mean([every[_best(survived, block)] - every[best[block]] for block in blocks])),
    )


def _best(values: Mapping[Tasted, float], block: int) -> Tasted:
    return min((key for key in values if key[1] == block), key=lambda key: values[key])


def _agreement(rung: Rung, full: Rung, trials: Iterable[Trial]) -> Agreement:
    trials = list(trials)
    short, last = differences(rung, trials), differences(full, trials)
    both = sorted(short.keys() & last.keys(), key=lambda key: (key[1], key[0].units))
    x_M, y_M = (np.array([values[key] for key in both]) for values in (short, last))
    slope = float(x_M @ y_M / (x_M @ x_M))
    blocks = sorted({block for _, block in both})
    inside = [agreement(rung, full, [t for t in trials if t.plan.block == block]) for block in blocks]
    return Agreement(
        tokens=rung.problem.proxy.trained_tokens,
        mixtures=len(both),
        spearman=agreement(rung, full, trials),
        in_blocks=float(np.mean(inside)),
        slope=slope,
        away=float(np.sqrt(np.mean((y_M - slope * x_M) ** 2))),
        spread=float(np.std(y_M)),
        cpu_seconds=sum(t.cost.cpu_seconds for t in rung.runs(trials)),
    )


def _problem(corpus: Corpus, proxy: Proxy, seed: int) -> Problem:
    return Problem.from_corpus(
        corpus,
        target_tokens=STANDS_FOR * proxy.tokens,
        targets="all-domains",
        max_epochs=4.0,
        proxy=proxy,
        small_pools="cap",
        seed=seed,
    )


def in_worlds(
    seeds: int = SEEDS,
    *,
    settings: Sequence[Setting] = SETTINGS,
    methods: Mapping[str, Method] | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """`halving` and `regression` on as many tokens, a row per setting and method and one of all settings.

    Figures: regret in bits/byte, wins of the seeds (a half for a tie) against the first method, coverage and mean width of the nominal 90 %
    intervals, tokens in full runs.
    """
    report, rows = progress or Silent(), list[dict[str, Any]]()
    contenders = methods or {"regression, 48 runs": Regression(), "halving, 64 runs": Halving()}
    played: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for setting in settings:
        for seed in range(seeds):
            for name, method in contenders.items():
                played[name].append(_played(setting, seed, method))
            report.advance(1, note=setting.name)
        rows += [{"setting": setting.name, **row} for row in _rows({n: p[-seeds:] for n, p in played.items()})]
    return [*rows, *({"setting": "all", **row} for row in _rows(played))]


def _played(setting: Setting, seed: int, method: Method) -> dict[str, float]:
    own = world(setting.kind, seed, domains=setting.domains, pointed=setting.pointed)
    found = play(own, method)
    w_D = found.choice.schedule.at(0).shares
    estimate, truth = found.choice.predicted[0], own.value(w_D)
    return {
        "regret": truth - own.value(own.best_D),
        "coverage": float(estimate.low <= truth <= estimate.high),
        "width": estimate.high - estimate.low,
        "full_runs": sum(t.plan.tokens for t in found.trials) / own.problem.proxy.trained_tokens,
    }


def _rows(played: Mapping[str, Sequence[dict[str, float]]]) -> list[dict[str, Any]]:
    regret = {name: np.array([p["regret"] for p in some]) for name, some in played.items()}
    base_S = next(iter(regret.values()))
    return [
        {
            "method": name,
            **{key: float(np.mean([p[key] for p in some])) for key in some[0]},
            "wins": float(np.mean((regret[name] < base_S) + 0.5 * (regret[name] == base_S))),
        }
        for name, some in played.items()
    ]
