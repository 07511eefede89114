"""Does another way of training change the answer? Eight mixtures, paired in blocks, under each of some variants.

The answer of a search are differences between mixtures within a block. They have noise, their spread between blocks; a
variant that moves them by a small part of that noise gives the same answer.

Letters: M mixtures besides natural, B blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from cuvee.base import rng
from cuvee.base.progress import Progress, Silent
from cuvee.mixture.weights import Mixture
from cuvee.plan.problem import Problem, Proxy
from cuvee.plan.trial import Plan, Trial
from cuvee.proxies.train import train
from cuvee.proxies.way import Way
from cuvee.shards.corpus import Corpus

MIXTURES = 8
PLAIN = Way()
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Variant:
    """How to train: at which multiple of the learning rate, how computed, how many mixtures of a block together."""

    name: str
    learning_rate: float = 1.0
    way: Way = PLAIN
    together: int = 1


@dataclass(frozen=True)
class Moved:
    """A variant against the first.

    Args:
        noise: Standard deviation of a paired difference between blocks, first variant, root mean square over mixtures.
        moved: Root mean square change of a paired difference, bits/byte.
        share: The second over the first.
        order: Kendall's tau between the two orders of mixtures by their mean difference.
        swapped: Pairs of mixtures that changed places.
        widest: How far the furthest such pair is apart in the first variant, in standard errors of a mean difference between two mixtures;
            0 without one.
        level: Mean change of the losses themselves.
        diverged: Runs that did.
    """

    size: str
    tokens: int
    variant: str
    noise: float
    moved: float
    share: float
    order: float
    swapped: int
    widest: float
    level: float
    diverged: int
    cpu_seconds: float


def compare(
    corpus: Corpus,
    size: str,
    tokens: int,
    variants: Sequence[Variant],
    *,
    blocks: Sequence[int] = (0, 1, 2, 3),
    progress: Progress | None = None,
) -> list[Moved]:
    """Train natural and eight other mixtures in every block under every variant; one row a variant."""
    report, losses, rows = progress or Silent(), list[Array](), list[Moved]()
    for variant in variants:
        trials = [_block(corpus, size, tokens, variant, block) for block in blocks]
        losses.append(np.array([[_mean(t) for t in row] for row in trials]))
        rows.append(_moved(size, tokens, variant, losses[0], losses[-1], [t for row in trials for t in row]))
        report.advance(1, note=f"{size} {variant.name}")
    return rows


def _block(corpus: Corpus, size: str, tokens: int, variant: Variant, block: int) -> list[Trial]:
    plans = [
        replace(p, learning_rate=p.learning_rate * variant.learning_rate) for p in plans_of(corpus, size, tokens, block)
    ]
    groups = [plans[i : i + variant.together] for i in range(0, len(plans), variant.together)]
    return [trial for group in groups for trial in train(group, corpus, way=variant.way)]


def plans_of(corpus: Corpus, size: str, tokens: int, block: int) -> list[Plan]:
    """Natural and eight mixtures around it. Pools are whole domains: repetition is no part of this question."""
    proxy = Proxy(tokens=tokens, size=size, eval_points=1)
    problem = Problem.from_corpus(corpus, target_tokens=tokens, targets="all-domains", proxy=proxy)
    drawn_MD = rng.generator(0, "paired", 0).dirichlet(np.ones(len(corpus.domains)), MIXTURES)
    shares_MD = 0.2 / len(corpus.domains) + 0.8 * drawn_MD
    mixtures = [Mixture.from_array(problem.domains, row_D) for row_D in shares_MD]
    return [problem.plan(m, block) for m in (problem.natural, *mixtures)]


def _mean(trial: Trial) -> float:
    return float(np.mean([trial.loss(t) for t in trial.plan.targets]))


def _moved(
    size: str, tokens: int, variant: Variant, first_BM: Array, other_BM: Array, trials: Sequence[Trial]
) -> Moved:
    was_BM, is_BM = (x[:, 1:] - x[:, :1] for x in (first_BM, other_BM))
    noise = _spread(was_BM)
    moved = float(np.sqrt(np.nanmean((is_BM - was_BM) ** 2)))
    was_M, is_M = np.nanmean(was_BM, axis=0), np.nanmean(is_BM, axis=0)
    order: Any = kendalltau(was_M, is_M)
    apart_MM, now_MM = (np.triu(x_M[:, None] - x_M) for x_M in (was_M, is_M))
    swapped_MM = apart_MM * now_MM < 0
    # of two mixtures: natural's own noise, which is in every difference to it, tells nothing of their order
    pairs_BP = (was_BM[:, :, None] - was_BM[:, None])[:, *np.triu_indices(was_BM.shape[1], 1)]
    error = _spread(pairs_BP) / np.sqrt(len(was_BM))
    return Moved(
        size=size,
        tokens=tokens,
        variant=variant.name,
        noise=noise,
        moved=moved,
        share=moved / noise,
        order=float(order.statistic),
        swapped=int(swapped_MM.sum()),
        widest=float(np.abs(apart_MM[swapped_MM]).max(initial=0.0) / error),
        level=float(np.nanmean(other_BM - first_BM)),
        diverged=sum(t.status == "diverged" for t in trials),
        cpu_seconds=sum(t.cost.cpu_seconds for t in trials),
    )


def _spread(differences_BN: Array) -> float:
    """Their standard deviation between blocks, root mean square over N; NaN for one block."""
    if len(differences_BN) < 2:
        return float("nan")
    return float(np.sqrt(np.mean(np.var(differences_BN, axis=0, ddof=1))))


def precision(
    corpus: Corpus,
    size: str = "0.1M",
    tokens: int = 60_000,
    *,
    blocks: Sequence[int] = (0, 1, 2, 3),
    compiled: Sequence[Way] = (Way(backend="compile"), Way("bf16", "compile")),
    progress: Progress | None = None,
) -> list[Moved]:
    """bf16, compiled code and training together against fp32, eager, one at a time.

    bf16 is used whether this processor is fast at it or not: what it does to numbers is the question.
    """
    variants = [
        Variant("fp32 eager"),
        Variant("fp32 eager, nine together", together=1 + MIXTURES),
        Variant("bf16 eager", way=Way("bf16")),
        *(Variant(f"{way.precision} {way.backend}", way=way) for way in compiled),
    ]
    return compare(corpus, size, tokens, variants, blocks=blocks, progress=progress)
