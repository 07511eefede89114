"""Best of n random mixtures: the floor that any method has to beat at equal total tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cuvee.methods.rounds import check_size, regmix_round
from cuvee.mixture.schedule import Schedule
from cuvee.plan.choice import Choice
from cuvee.plan.experts import mixtures
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Plan, Trial
from cuvee.predict.table import Table, mean_weights


@dataclass(frozen=True)
class Random:
    """Best of n: natural in every block, the rest of the runs from RegMix's Dirichlet design; the best difference wins.

    The floor: a method that does not beat it at equal total tokens is not worth its code. The winner's own figure is
    the luckiest of n and overstates the gain.

    Args:
        runs: Trials in total.
        blocks: Blocks over which they are spread, one run of natural in each.
    """

    name: ClassVar[str] = "random"
    citation: ClassVar[tuple[str, ...]] = (
        "Liu et al. 2024, RegMix: Data Mixture as Regression for Language Model Pre-training, arXiv:2407.01492",
    )
    runs: int = 48
    blocks: int = 4

    def __post_init__(self) -> None:
        check_size(self.name, self.runs, self.blocks, 2)

    def propose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> tuple[Plan, ...]:
        """One round of all runs."""
        return () if mixtures(trials) else regmix_round(problem, self.runs, self.blocks, rng)

    def choose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> Choice:
        """The mixture with the best objective against natural in its block; natural, projected, without any."""
        table = Table.from_trials(problem, trials).today
        gain_N = table.paired(table.loss_NT @ mean_weights(problem.objective, table.targets))
        feasible = problem.feasible()
        schedules = {t.id: t.plan.schedule for t in trials}
        allowed = [i for i, trial in enumerate(table.ids) if feasible.contains(schedules[trial].at(0).shares)]
        ranked = sorted((float(gain_N[i]), table.ids[i]) for i in allowed if np.isfinite(gain_N[i]))
        if not ranked:
            mixture = feasible.project_mixture(problem.natural)
            return Choice(
                self.name, Schedule.constant(mixture), why=("No run can be compared with natural: natural it is.",)
            )
        gain, best = ranked[0]
        why = (
            f"The best of {len(ranked)} runs: {gain:+.4f} bits/byte against natural in its block.",
            "The luckiest of many runs overstates its gain.",
        )
        return Choice(self.name, schedules[best], why=why, evidence=table.ids)
