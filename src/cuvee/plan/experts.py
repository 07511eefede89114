"""Plans of experts: one run per domain, on that domain alone, as evidence about every mixture of them.

An expert is no candidate, so bounds do not hold it, and its pool is not the matched one: n_i r/R tokens, seen r tokens
long, would be repeated R/n_i times, and the expert would tell how well it learned a few documents by heart. It sees its whole
domain instead, as far as r tokens go; an n-gram model, for which reading is cheap, `NGRAM_TOKENS` of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from cuvee.mixture.weights import Mixture
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Plan, Trial, Want

NGRAM_TOKENS = 1_000_000
"""Tokens of a domain that its n-gram model counts, at most: 3 s on one core."""
ExpertKind = Literal["expert", "ngram"]


def expert(problem: Problem, domain: str, block: int, kind: ExpertKind, want: Want) -> Plan:
    """The run on `domain` alone that records the likelihoods `want` of all that is scored."""
    most = problem.proxy.trained_tokens if kind == "expert" else NGRAM_TOKENS
    own = [name == domain for name in problem.domains]
    plan = problem.plan(Mixture.from_shares(dict(zip(problem.domains, map(float, own), strict=True))), block)
    pools = tuple(min(n, most) if mine else 0 for n, mine in zip(problem.tokens, own, strict=True))
    return replace(plan, kind=kind, wants=(want,), pools=pools)


def experts(problem: Problem, blocks: int, kind: ExpertKind, want: Want) -> tuple[Plan, ...]:
    """The experts of all domains in blocks 0 to `blocks` - 1."""
    return tuple(expert(problem, domain, block, kind, want) for block in range(blocks) for domain in problem.domains)


def mixtures(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """The trials that are runs of mixtures at the proxies' length: what losses may be compared with."""
    return tuple(t for t in trials if t.plan.kind == "train")
