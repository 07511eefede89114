"""Wishes for runs and how they are spread over blocks: shared by methods that propose rounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from cuvee.base.errors import UsageError
from cuvee.mixture.designs import anchors, d_optimal, dirichlet
from cuvee.mixture.weights import Array, Mixture
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Plan, Trial

Wish = tuple[Mixture, int | None]
"""A mixture to taste, in a block or in whichever has the fewest runs."""
POOL = 10
"""Candidates of the first design per run."""


def missing(goals: Sequence[int], trials: Sequence[Trial]) -> int:
    """Trials until the first goal (trials in total after each round) that is not reached; 0 when all are."""
    return next((goal for goal in goals if goal > len(trials)), len(trials)) - len(trials)


def spread(problem: Problem, wishes: Sequence[Wish], trials: Sequence[Trial], n: int, blocks: int) -> tuple[Plan, ...]:
    """Plans of the first `n` wishes that are new, those without a block where the fewest runs are, earlier rounds' included."""
    taken = {(t.plan.schedule.at(0), t.plan.block) for t in trials}
    counts = [sum(t.plan.block == block for t in trials) for block in range(blocks)]
    found: list[tuple[Mixture, int]] = []
    for mixture, wanted in wishes:
        order = sorted(range(blocks), key=lambda b: (counts[b], b)) if wanted is None else [wanted]
        block = next((b for b in order if (mixture, b) not in taken), None)
        if len(found) < n and block is not None:
            taken.add((mixture, block))
            counts[block] += 1
            found.append((mixture, block))
    return tuple(problem.plan(mixture, block) for mixture, block in found)


def everywhere(mixture: Mixture, blocks: int) -> list[Wish]:
    """A mixture in every block."""
    return [(mixture, block) for block in range(blocks)]


def anywhere(problem: Problem, w_ND: Iterable[Array]) -> list[Wish]:
    """Mixtures in whichever block has the fewest runs."""
    return [(Mixture.from_array(problem.domains, w_D), None) for w_D in w_ND]


def references(problem: Problem) -> tuple[Mixture, Mixture]:
    """Natural and the centre, which the first round tastes in every block."""
    centre_D = anchors(problem.around, problem.feasible())["centre"]
    return problem.natural, Mixture.from_array(problem.domains, centre_D)


def first_round(
    problem: Problem, n: int, blocks: int, rng: np.random.Generator, foretold: Sequence[Array] = ()
) -> list[Wish]:
    """The references in every block, the present blend, what is `foretold` to be good, uniform, then a D-optimal design of
    `n` mixtures, which spreads over everything all the same: runs from before may mislead.

    Its candidates are RegMix's Dirichlet draws and the centre without each domain.
    """
    feasible = problem.feasible()
    named_D = anchors(problem.around, feasible)
    own = [] if problem.present is None else [feasible.project(problem.present.shares)]
    known = [*own, *foretold, named_D["uniform"]]
    have_ND = np.array([*(m.shares for m in references(problem)), *known])
    without = [w_D for name, w_D in named_D.items() if name.startswith("without ")]
    natural_D = problem.natural.shares
    pool_MD = np.vstack([dirichlet(problem.around, feasible, POOL * n, rng, problem.tree, natural_D), *without])
    wishes = [wish for mixture in references(problem) for wish in everywhere(mixture, blocks)]
    return [*wishes, *anywhere(problem, [*known, *d_optimal(pool_MD, have_ND, n)])]


def regmix_round(problem: Problem, runs: int, blocks: int, rng: np.random.Generator) -> tuple[Plan, ...]:
    """Natural in every block, the rest of the runs from RegMix's Dirichlet design, block by block in turn."""
    count, natural_D = runs - blocks, problem.natural.shares
    w_ND = dirichlet(problem.around, problem.feasible(), count, rng, problem.tree, natural_D)
    drawn = [problem.plan(Mixture.from_array(problem.domains, w_D), i % blocks) for i, w_D in enumerate(w_ND)]
    return tuple(dict.fromkeys([*(problem.plan(problem.natural, block) for block in range(blocks)), *drawn]))


def check_aversion(name: str, aversion: float) -> None:
    """That the standard errors added to the objective are a number that is not negative.

    Raises:
        UsageError: they are not.
    """
    if not 0 <= aversion < math.inf:
        raise UsageError(f"{name}: got aversion {aversion}", wanted="a number of standard errors, 0 or more")


def check_size(method: str, runs: int, blocks: int, least: int) -> None:
    """That there are at least `least` runs a block.

    Raises:
        UsageError: there are not.
    """
    if blocks < 1 or runs < least * blocks:
        raise UsageError(
            f"{method}: got {runs} runs in {blocks} blocks",
            wanted=f"at least {least} runs a block and one block",
            fix=f"runs: {least * max(blocks, 1)} or more",
        )
