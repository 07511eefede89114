"""MixMin: one small run per domain, and the mixture of their models that finds the targets least surprising.

Letters: D domains, T targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cuvee.base.errors import UsageError
from cuvee.methods.evidence import KINDS, WANTED, Experts, Unit, check_likelihoods, missing, surface
from cuvee.methods.explain import bounds
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Array, Mixture
from cuvee.plan.choice import Choice
from cuvee.plan.problem import Guard, Problem
from cuvee.plan.trial import Plan, Trial
from cuvee.predict.evidence import EnsembleSurface
from cuvee.predict.question import ROOM
from cuvee.predict.solver import solve
from cuvee.predict.table import mean_weights
from cuvee.predict.task import Constraint, Task


@dataclass(frozen=True)
class MixMin:
    """One run per domain instead of runs of mixtures: the shares at which the mixture of these experts, each weighted by its
    domain's share, predicts the objective's targets best. Convex, so solved exactly, under bounds and guards; a new
    objective costs nothing.

    After MixMin (Thudi et al. 2025), which mixes the likelihoods of whole sequences: `unit: examples`. By default
    the likelihoods of single tokens are mixed, as Mixture of Data Experts does (Belenki et al. 2025): over whole sequences
    the expert of the text's own domain outweighs all others, and a share of it hardly matters. An expert sees r tokens
    of its whole domain, not of the matched pool.

    It knows nothing of repetition but the caps, and nothing of what one domain teaches another beyond what
    their experts show. In `cuvee bench worlds` it beat best-of-48 random in 71 % of 300, not in the 80 % asked of a method,
    and in 6 % where repetition hurts and the target is the mean of all domains; but these worlds have no texts, and their experts'
    likelihoods are made up. On real runs: docs/cheap-evidence.md. Without runs of mixtures there is no interval: verify it.

    Args:
        experts: `proxies`, trained as the study's runs are; or `ngrams`, seconds each.
        unit: What is mixed: `tokens`, or `examples` (sequences, as published).
        blocks: Experts of every domain in so many blocks; the objective is their mean.

    Raises:
        UsageError: options that do not exist, or no block.
    """

    name: ClassVar[str] = "mixmin"
    citation: ClassVar[tuple[str, ...]] = (
        "Thudi et al. 2025, MixMin: Finding Data Mixtures via Convex Minimization, arXiv:2502.10510",
        "Belenki et al. 2025, Optimizing Pre-Training Data Mixtures with Mixtures of Data Expert Models, arXiv:2502.15950",
    )
    experts: Experts = "proxies"
    unit: Unit = "tokens"
    blocks: int = 1

    def __post_init__(self) -> None:
        if self.blocks < 1 or self.experts not in KINDS or self.unit not in WANTED:
            raise UsageError(
                f"mixmin: got experts {self.experts!r}, unit {self.unit!r}, blocks {self.blocks}",
                wanted=f"experts {' or '.join(KINDS)}, unit {' or '.join(WANTED)}, at least one block",
            )

    def propose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> tuple[Plan, ...]:
        """One round: the experts."""
        check_likelihoods(problem)
        return missing(problem, trials, self.experts, self.unit, self.blocks)

    def choose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> Choice:
        """The best mixture of the experts under bounds and guards; natural, projected, when an expert is missing."""
        check_likelihoods(problem)
        feasible = problem.feasible()
        found = surface(problem, trials, self.experts, self.unit)
        start_D = feasible.project(problem.natural.shares)
        if found is None:
            why = "Not every domain has an expert that ended well, and without one nothing can be said of its share: natural it is."
            return Choice(self.name, Schedule.constant(Mixture.from_array(problem.domains, start_D)), why=(why,))
        objective = _Mean(found, mean_weights(problem.objective, found.targets))
        guarded = [_Mean(found, mean_weights(g.targets, found.targets)) for g in problem.guards]
        limits = [1 + g.tolerance for g in problem.guards]
        guards = [_within(m, limit, problem.natural.shares) for m, limit in zip(guarded, limits, strict=True)]
        w_D = solve(Task(feasible, objective.value, objective.slope, guards), start_D)
        unmet = {
            guard: mean.value(w_D) / mean.value(problem.natural.shares) - 1
            for guard, mean, held in zip(problem.guards, guarded, guards, strict=True)
            if held.value(w_D) < -ROOM
        }
        gain = objective.value(w_D) - objective.value(problem.natural.shares)
        return Choice(
            method=self.name,
            schedule=Schedule.constant(Mixture.from_array(problem.domains, w_D)),
            why=(*self._why(problem, gain, w_D), *(_unmet(guard, rise) for guard, rise in unmet.items())),
            evidence=tuple(sorted(t.id for t in trials if t.plan.kind == KINDS[self.experts] and t.status == "done")),
            diagnostics={"ensemble_gain": gain, "unmet_guards": float(len(unmet))},
        )

    def _why(self, problem: Problem, gain: float, w_D: Array) -> tuple[str, ...]:
        what = "trained as proxies" if self.experts == "proxies" else "n-gram models"
        lines = (
            f"The mixture of one expert per domain ({what}) that predicts the targets best, {self.unit} by {self.unit}: "
            f"{gain:+.4f} bits/byte against natural's mixture of the same experts.",
            "That is a figure of experts side by side, not of a model trained on the mixture: verify it for a gain.",
            *bounds(problem.epochs(Mixture.from_array(problem.domains, w_D)), problem.feasible(), w_D),
        )
        held = "Guards are held against the experts' losses, without a probability: verify them."
        return (*lines, held) if problem.guards else lines


def _unmet(guard: Guard, rise: float) -> str:
    """That no mixture was found which keeps a guard."""
    return (
        f"Guard not met: by the experts' losses {guard.name} gets worse by {100 * rise:+.2f} % of natural's, {100 * guard.tolerance:g} % "
        "allowed. No mixture was found that meets all guards; this one misses them by the least."
    )


@dataclass(frozen=True, eq=False)
class _Mean:
    """A weighted mean of the surface's targets."""

    surface: EnsembleSurface
    a_T: Array

    def value(self, w_D: Array) -> float:
        """Bits/byte."""
        return float(self.surface.loss(w_D[None])[0] @ self.a_T)

    def slope(self, w_D: Array) -> Array:
        """Derivatives, shape D."""
        return np.asarray(self.a_T @ self.surface.gradient(w_D), np.float64)


def _within(mean: _Mean, factor: float, base_D: Array) -> Constraint:
    """At most `factor` times the value at `base_D`."""
    limit = factor * mean.value(base_D)
    return Constraint(lambda w_D: limit - mean.value(w_D), lambda w_D: -mean.slope(w_D))
