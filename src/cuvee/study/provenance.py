"""From runs to what stands beside every figure that they make (`plan.provenance`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cuvee.plan.problem import Problem
from cuvee.plan.provenance import Provenance
from cuvee.plan.trial import Trial
from cuvee.study import judge


def provenance(
    problem: Problem, trials: Sequence[Trial], *, fingerprint: str, recipe: int, tokenizer: str = ""
) -> Provenance:
    """What a figure from `trials` rests on; the problem's proxy is the scale that they ran at, shorter runs left out."""
    proxy, done = problem.proxy, [t for t in trials if t.status == "done" and t.plan.kind != "short"]
    noise = judge.noise(problem, done)
    domain, sequences = problem.smallest_pool
    return Provenance(
        size=proxy.size,
        tokens=proxy.tokens,
        target_tokens=problem.target_tokens,
        smallest_pool=sequences,
        smallest_pool_domain=domain,
        paired_noise=None if math.isnan(noise) else noise,
        blocks=tuple(sorted({t.plan.block for t in done})),
        runs=len(done),
        seed=problem.seed,
        fingerprint=fingerprint,
        tokenizer=tokenizer,
        recipe=recipe,
        versions={key: ", ".join(values) for key, values in recorded(trials).items()},
    )


def recorded(trials: Sequence[Trial]) -> dict[str, list[str]]:
    """Every value of every key that runs recorded; runs without a key count as `not recorded`."""
    keys = dict.fromkeys(key for t in trials for key in t.provenance)
    return {key: sorted({t.provenance.get(key, "not recorded") for t in trials}) for key in keys}
