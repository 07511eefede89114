"""Does the learning-rate rule hold at proxy sizes? Losses around it, and whether it matters for the order of mixtures.

The figures are in `docs/benchmarks.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cuvee.base.progress import Progress, Silent
from cuvee.bench.paired import Moved, Variant, compare
from cuvee.mixture.weights import Mixture
from cuvee.plan.problem import Problem, Proxy
from cuvee.plan.trial import Plan
from cuvee.proxies.train import train
from cuvee.shards.corpus import Corpus

SIZES = (("0.1M", 200_000), ("0.6M", 600_000))
ORDER_SIZES = (("0.1M", 200_000), ("0.3M", 400_000), ("0.6M", 600_000))
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)


def run(
    corpus: Corpus,
    *,
    sizes: Sequence[tuple[str, int]] = SIZES,
    scales: Sequence[float] = SCALES,
    blocks: Sequence[int] = (0,),
    progress: Progress | None = None,
) -> dict[str, list[dict[str, str | int | float]]]:
    """Train the uniform mixture at multiples of the rule's learning rate.

    Args:
        sizes: Named sizes, each with the tokens of its runs.
        scales: Multiples of `plan.sizes.learning_rate`.
        blocks: Blocks to repeat it in.

    Returns:
        `rows`: size, tokens, block, scale, learning_rate, status, loss (bits/byte, mean over all domains), cpu_seconds.
    """
    rows: list[dict[str, str | int | float]] = []
    report = progress or Silent()
    for name, tokens in sizes:
        for block in blocks:
            for scale in scales:
                rows.append(_row(corpus, _plan(corpus, name, tokens, block), scale))
                report.advance(1, note=f"{name} x{scale:g}")
    return {"rows": rows}


def order(
    corpus: Corpus,
    *,
    sizes: Sequence[tuple[str, int]] = ORDER_SIZES,
    blocks: Sequence[int] = (0, 1, 2, 3),
    progress: Progress | None = None,
) -> list[Moved]:
    """Eight mixtures at half, once and twice the rule's rate, paired in blocks: how much their differences and order move."""
    variants = [Variant(f"{scale:g} x rate", learning_rate=scale) for scale in (1.0, 0.5, 2.0)]
    return [
        row
        for name, tokens in sizes
        for row in compare(corpus, name, tokens, variants, blocks=blocks, progress=progress)
    ]


def _plan(corpus: Corpus, name: str, tokens: int, block: int) -> Plan:
    """Pools are whole domains: repetition is no part of this question."""
    proxy = Proxy(tokens=tokens, size=name, eval_points=1)
    problem = Problem.from_corpus(corpus, target_tokens=tokens, targets="all-domains", proxy=proxy)
    uniform = Mixture.from_shares(dict.fromkeys(corpus.domains, 1.0))
    return problem.plan(uniform, block)


def _row(corpus: Corpus, plan: Plan, scale: float) -> dict[str, str | int | float]:
    (trial,) = train([replace(plan, learning_rate=plan.learning_rate * scale)], corpus)
    return {
        "size": plan.size,
        "tokens": plan.tokens,
        "block": plan.block,
        "scale": scale,
        "learning_rate": trial.plan.learning_rate,
        "status": trial.status,
        "loss": sum(trial.loss(t) for t in plan.targets) / len(plan.targets),
        "cpu_seconds": trial.cost.cpu_seconds,
    }
