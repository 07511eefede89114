"""The transfer check: the same mixtures at two sizes. Do they come in the same order?

A search with small runs is worth what its order of mixtures is worth in larger ones. Before either verification is
trusted, mixtures of the first round of full runs are run again in the same blocks at the larger scale, scored on the search split, and
ranked by their difference to natural in their block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cuvee.base.errors import UsageError
from cuvee.plan.problem import Problem, Proxy
from cuvee.plan.trial import Plan, Trial
from cuvee.study.judge import value
from cuvee.study.layout import Lineup, Planned, Round

FEWEST = 4


@dataclass(frozen=True)
class Pair:
    """One mixture: the trials at both sizes and their objective's differences to natural in their block, bits/byte."""

    small: str
    large: str
    block: int
    small_difference: float
    large_difference: float


@dataclass(frozen=True)
class Transfer:
    """Agreement of two sizes.

    Args:
        proxy: The larger runs.
        pairs: One a mixture.
        spearman, low, high: Rank correlation with its 90 % interval; NaN for fewer than four mixtures.
        sign: Share of mixtures whose difference to natural has the same sign at both sizes.
        missing: Runs that failed or diverged.
    """

    proxy: Proxy
    pairs: tuple[Pair, ...]
    spearman: float
    low: float
    high: float
    sign: float
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"transfer to {self.proxy.size} parameters, {self.proxy.tokens:,} tokens: {len(self.pairs)} mixtures are ranked "
            f"alike with a correlation of {self.spearman:.2f} (90 % interval {self.low:.2f} to {self.high:.2f}), "
            f"{self.sign:.0%} with the same sign"
        )


def plans(problem: Problem, first_round: Sequence[Plan], at: Proxy, mixtures: int) -> tuple[tuple[Plan, Plan], ...]:
    """Pairs of (small, large) plans: natural in every block, and `mixtures` others, as evenly over blocks as the round has
    them, each in the block that it ran in."""
    large = replace(problem, proxy=at)
    natural = problem.natural
    by_block: dict[int, list[Plan]] = {}
    for plan in first_round:
        if plan.schedule.at(0) != natural and plan.kind == "train":
            by_block.setdefault(plan.block, []).append(plan)
    taken, seen = list[Plan](), set[object]()
    queues = [list(plans) for _, plans in sorted(by_block.items())]
    while len(taken) < mixtures and any(queues):
        for queue in queues:
            # a mixture that runs in every block, such as the centre, counts once: the order is of mixtures
            while queue and queue[0].schedule in seen:
                queue.pop(0)
            if queue and len(taken) < mixtures:
                seen.add(queue[0].schedule)
                taken.append(queue.pop(0))
    references = [
        p
        for p in first_round
        if p.kind == "train" and p.schedule.at(0) == natural and p.block in {t.block for t in taken}
    ]
    return tuple((p, large.plan(p.schedule.at(0), p.block)) for p in (*references, *taken))


def lineup(problem: Problem, rounds: Sequence[Round], at: Proxy, mixtures: int, fingerprint: str) -> Lineup:
    """The runs of both sizes as two arms, in the same order of mixtures and blocks; of the first round that has full runs.

    Raises:
        UsageError: nothing was searched yet, or fewer than four mixtures are asked for.
    """
    first = next((r for r in rounds if any(p.plan.kind == "train" for p in r.plans)), None)
    if first is None or mixtures < FEWEST:
        raise UsageError(
            f"got {mixtures} mixtures of a search that {'has begun' if first else 'has not begun'}",
            wanted=f"at least {FEWEST} mixtures of the first round",
        )
    pairs = plans(problem, [p.plan for p in first.plans], at, mixtures)
    small, large = (tuple(Planned(p[i].id(fingerprint), p[i]) for p in pairs) for i in (0, 1))
    return Lineup(math.nan, {"small": small, "large": large})


def check(problem: Problem, lineup: Lineup, trials: Sequence[Trial], at: Proxy) -> Transfer:
    """How well the sizes agree, by the runs of `lineup` that have ended."""
    pairs = [(a.id, b.id) for a, b in zip(lineup.arms["small"], lineup.arms["large"], strict=True)]
    done = {t.id: t for t in trials if t.status == "done"}
    both = [(done[a], done[b]) for a, b in pairs if a in done and b in done]
    natural = problem.natural
    small_0 = {a.plan.block: value(problem.objective, a) for a, _ in both if a.plan.schedule.at(0) == natural}
    large_0 = {b.plan.block: value(problem.objective, b) for a, b in both if a.plan.schedule.at(0) == natural}
    found = tuple(
        Pair(
            a.id,
            b.id,
            a.plan.block,
            value(problem.objective, a) - small_0[a.plan.block],
            value(problem.objective, b) - large_0[b.plan.block],
        )
        for a, b in both
        if a.plan.schedule.at(0) != natural and a.plan.block in small_0
    )
    spearman, low, high = agreement([p.small_difference for p in found], [p.large_difference for p in found])
    same = [p.small_difference * p.large_difference > 0 for p in found]
    missing = tuple(b for a, b in pairs if b not in done or a not in done)
    return Transfer(at, found, spearman, low, high, sum(same) / len(same) if same else math.nan, missing)


def agreement(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Spearman's rank correlation with its 90 % interval; NaN for fewer than four pairs or where one side is constant.

    The interval is Fisher's z with the variance (1 + r^2 / 2) / (n - 3) of Bonett and Wright (2000, Psychometrika 65).
    """
    if len(x) < FEWEST or len(set(x)) == 1 or len(set(y)) == 1:
        return math.nan, math.nan, math.nan
    from scipy.stats import spearmanr

    r = float(spearmanr(x, y).statistic)
    inside = min(max(r, -1 + 1e-9), 1 - 1e-9)
    half = 1.645 * math.sqrt((1 + r * r / 2) / (len(x) - 3))
    return r, math.tanh(math.atanh(inside) - half), math.tanh(math.atanh(inside) + half)
