"""Methods of search side by side, on real texts with real proxies: the same domains, the same proxy tokens, verified twice.

Every method searches the ten domains three times, with other seeds, for the mean of all domains. Its choice is verified on
fresh blocks at the proxies' scale and at a larger one; natural's runs, and runs that two methods have in common, are made
once. All runs are kept under one folder, so a second call goes on.

Letters: S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from cuvee.base.progress import Bar
from cuvee.bench.domains import ten_domains
from cuvee.methods.auto import Auto
from cuvee.methods.climb import Climb
from cuvee.methods.contract import Method
from cuvee.methods.mixmin import MixMin
from cuvee.methods.random import Random
from cuvee.methods.regmix import RegMix
from cuvee.plan.choice import Estimate, Verification
from cuvee.plan.problem import Problem, Proxy
from cuvee.shards.corpus import Corpus
from cuvee.study.study import Study

PROXY = Proxy(tokens=60_000, size="0.1M", seq_len=128, eval_points=1)
LARGE = Proxy(tokens=120_000, size="0.3M", seq_len=128, eval_points=1)
TARGET_TOKENS = 960_000
"""R: the proxies are a sixteenth of it, the larger runs an eighth."""
RUNS, BLOCKS = 40, 4
SEEDS = (1, 2, 3)
VERIFY, VERIFY_LARGE = 5, 3
"""Fresh blocks at the proxies' scale and at the larger one."""
CONTENDERS: Mapping[str, Callable[[], Method]] = {
    "random": lambda: Random(runs=RUNS, blocks=BLOCKS),
    "regmix": lambda: RegMix(runs=RUNS, blocks=BLOCKS),
    "climb": lambda: Climb(runs=RUNS, blocks=BLOCKS),
    "mixmin": lambda: MixMin(),
    "auto": lambda: Auto(runs=RUNS, blocks=BLOCKS),
}


@dataclass(frozen=True)
class Outcome:
    """One search: the objective's difference to natural in bits/byte, predicted (None: the method predicts nothing) and verified.

    Args:
        runs, tokens: Proxy runs that the search made, and tokens they saw.
        uniform: The verified difference of uniform in the same blocks.
    """

    method: str
    seed: int
    runs: int
    tokens: int
    predicted: Estimate | None
    proxy: Estimate
    large: Estimate
    uniform: Estimate


def run(corpora: Path, work: Path, workers: int = 2, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Make what is missing, and the figures.

    Args:
        corpora: As for `bench truth`.
        work: Where corpora and studies are kept.
        workers: Worker processes.
        seeds: Of the searches.

    Raises:
        DataError: no such corpora.
    """
    corpus, _ = ten_domains(corpora, work)
    return figures([_outcome(name, seed, corpus, work, workers) for seed in seeds for name in CONTENDERS])


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """`rows`: one a search; `methods`: means over seeds and the paired difference to random's choice at the same seed."""
    names = list(dict.fromkeys(o.method for o in outcomes))
    return {"rows": [_row(o) for o in outcomes], "methods": [_summary(name, outcomes) for name in names]}


def _summary(name: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    own = {o.seed: o for o in outcomes if o.method == name}
    floor = {o.seed: o for o in outcomes if o.method == "random" and o.seed in own}
    row: dict[str, Any] = {"method": name, "runs": float(np.mean([o.runs for o in own.values()]))}
    for scale in ("proxy", "large"):
        gains = [getattr(o, scale).mean for o in own.values()]
        differences_S = np.array([getattr(own[s], scale).mean - getattr(floor[s], scale).mean for s in floor])
        half = _half_width(differences_S)
        mean = float(differences_S.mean()) if len(differences_S) else math.nan
        row |= {scale: float(np.mean(gains)), f"{scale}_to_random": mean}
        row |= {f"{scale}_low": mean - half, f"{scale}_high": mean + half}
    return row


def _half_width(values_S: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Of the 90 % Student interval of the mean; NaN for fewer than two values."""
    count = len(values_S)
    if count < 2:
        return math.nan
    return float(stdtrit(count - 1, 0.95) * values_S.std(ddof=1) / math.sqrt(count))


def _row(o: Outcome) -> dict[str, Any]:
    row: dict[str, Any] = {"method": o.method, "seed": o.seed, "runs": o.runs, "tokens": o.tokens}
    for name, estimate in (("predicted", o.predicted), ("proxy", o.proxy), ("large", o.large), ("uniform", o.uniform)):
        row |= {
            name: estimate.mean if estimate else None,
            f"{name}_low": estimate.low if estimate else None,
            f"{name}_high": estimate.high if estimate else None,
        }
    return row


def _outcome(name: str, seed: int, corpus: Corpus, work: Path, workers: int) -> Outcome:
    """Searched, chosen, verified at both scales."""
    problem = Problem.from_corpus(
        corpus,
        target_tokens=TARGET_TOKENS,
        targets="all-domains",
        max_epochs=4.0,
        proxy=PROXY,
        small_pools="cap",
        seed=seed,
    )
    folders = {other: work / "searches" / f"{other}-{seed}" for other in CONTENDERS}
    made = [f for other, f in folders.items() if other != name and (f / "study.json").exists()]
    study = Study.open(folders[name], problem, corpus, CONTENDERS[name](), reuse=made)
    with Bar(folders[name].name, 0) as bar:
        study.run(workers=workers, progress=bar)
        choice = study.choose()
        proxy = study.verify(choice, VERIFY, workers, bar)
        large = study.verify(choice, VERIFY_LARGE, workers, bar, at=LARGE)
    trials = study.trials()
    return Outcome(
        method=name,
        seed=seed,
        runs=len(trials),
        tokens=sum(t.plan.tokens for t in trials),
        predicted=choice.predicted[0] if choice.predicted else None,
        proxy=_gain(proxy, "choice"),
        large=_gain(large, "choice"),
        uniform=_gain(proxy, "uniform"),
    )


def _gain(verification: Verification, arm: str) -> Estimate:
    return verification.arm(arm).estimates[0]
