"""Rungs: the same problem at fewer tokens a run, as successive halving climbs it.

A run of a lower rung is complete: pools matched at its own r/R, learning rate and batch by the rule at its own tokens, its own
decay to the end. A long run stopped early would be none of these: its pools are too large for what it saw and its learning rate
is still high. Losses of two rungs are never compared with each other; runs below the last rung are of kind `short`, so that
whoever compares runs of mixtures does not see them.

Letters: R tokens of the target run, r tokens of a proxy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cuvee.base.errors import InfeasibleError, UsageError
from cuvee.mixture.weights import Mixture
from cuvee.plan.problem import Problem, smallest_sound_proxy
from cuvee.plan.trial import Plan, RunKind, Trial


@dataclass(frozen=True)
class Rung:
    """One length of runs.

    Args:
        problem: The problem with proxies of that length.
        kind: `train` of the proxies' own length, else `short`.
    """

    problem: Problem
    kind: RunKind

    def plan(self, mixture: Mixture, block: int) -> Plan:
        """The run of `mixture` in `block`."""
        return replace(self.problem.plan(mixture, block), kind=self.kind)

    def runs(self, trials: Iterable[Trial]) -> tuple[Trial, ...]:
        """The trials of this rung, as runs of mixtures that may be compared with each other, sorted by id."""
        tokens = self.problem.proxy.trained_tokens
        own = [t for t in trials if t.plan.kind == self.kind and t.plan.tokens == tokens]
        return tuple(replace(t, plan=replace(t.plan, kind="train")) for t in sorted(own, key=lambda t: t.id))


def ladder(problem: Problem, rungs: int, keep: float) -> tuple[Rung, ...]:
    """Rungs of r keep^(rungs - 1), ..., r keep, r tokens a run.

    A batch or learning rate that the problem gives is that of every rung; left to the rule, each rung has its own.

    Raises:
        UsageError: two rungs of as many tokens, after rounding up to whole steps.
        InfeasibleError: a pool of a lower rung is under the floor; says the proxy tokens that would do.
    """
    shares = [keep**below for below in range(rungs - 1, 0, -1)]
    found = (*(Rung(_shorter(problem, share), "short") for share in shares), Rung(problem, "train"))
    tokens = [rung.problem.proxy.trained_tokens for rung in found]
    if sorted(set(tokens)) != tokens:
        raise UsageError(
            f"rungs of {', '.join(f'{n:,}' for n in tokens)} tokens, in whole steps",
            wanted="each longer than the one before",
            fix="more proxy tokens, a smaller batch, or fewer rungs",
        )
    return found


def _shorter(problem: Problem, share: float) -> Problem:
    """The problem with proxies of `share` of their tokens, without runs from before, which are of the proxies' own length."""
    tokens = math.ceil(share * problem.proxy.tokens)
    try:
        return replace(problem, proxy=replace(problem.proxy, tokens=tokens), past=())
    except InfeasibleError as error:
        sound = smallest_sound_proxy(problem.tokens, problem.target_tokens, problem.proxy.seq_len)
        raise InfeasibleError(
            f"a rung of {tokens:,} tokens a run: {error.what}",
            wanted=error.wanted,
            fix=f"proxy tokens of at least {math.ceil(sound / share):,}, for {sound:,} in this rung; fewer rungs, a larger keep",
        ) from error
