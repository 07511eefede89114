"""What runs from before are worth to a choice: judged by blocks of today that the fit did not see, with and without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from cuvee.methods.explain import levels
from cuvee.plan.choice import Choice
from cuvee.plan.past import Past
from cuvee.plan.problem import Guard, Problem, Target
from cuvee.predict.combine import block_error
from cuvee.predict.posterior import Posterior
from cuvee.predict.table import PAST, Table, mean_weights

CLEARLY = 1.25
"""Runs from before are left out where the error with them is so many times that without: mixtures that were tasted in every
block are foretold best by themselves, so a little worse is not worse where none was tasted."""


class Asking(Protocol):
    """What is needed of a problem, or of another question."""

    @property
    def objective(self) -> tuple[Target, ...]:
        """The mean of targets that counts."""

    @property
    def guards(self) -> tuple[Guard, ...]:
        """What must not get worse."""

    @property
    def past(self) -> tuple[Past, ...]:
        """Runs from before."""


@dataclass(frozen=True, eq=False)
class Weighed:
    """The table to choose from, its fit, and what there is to say of the runs from before.

    Args:
        table: With the runs from before, or without them where they mislead.
        label, posterior: The predictor and its fit to that table.
        why, figures: For the choice.
    """

    table: Table
    label: str
    posterior: Posterior
    why: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)

    def said(self, problem: Problem, choice: Choice) -> Choice:
        """The choice with its shares by level of the problem's tree, and what the runs from before were worth."""
        groups = levels(problem, choice.schedule.at(0).shares)
        return replace(
            choice, why=(*choice.why, *groups, *self.why), diagnostics={**choice.diagnostics, **self.figures}
        )


def weigh(problem: Asking, table: Table, fit: Callable[[Table], tuple[str, Posterior]]) -> Weighed:
    """The fit to `table`, but for runs from before that make it predict unseen blocks of today worse.

    Args:
        fit: A table to the predictor's name and its fit.
    """
    label, posterior = fit(table)
    if table.today_N.all():
        return Weighed(table, label, posterior)
    lifted_N, a_T = ~table.today_N, mean_weights(problem.objective, table.targets)
    figures = {"lifted_runs": float(lifted_N.sum()), "lifted_weight": float(table.weight_N[lifted_N].sum())}
    why = [_story(problem, table, number) for number in range(1, len(problem.past) + 1)] + _new_targets(table, problem)
    with_them = Weighed(table, label, posterior, tuple(why), figures)
    if table.judged_N.all():
        return with_them
    alone = Weighed(table.today, *fit(table.today))
    found, plain = block_error(posterior, table, a_T), block_error(alone.posterior, alone.table, a_T)
    figures |= {
        "lobo_rmse_with_lifted": found,
        "lobo_rmse_without_lifted": plain,
        "lifted_used": float(found <= CLEARLY * plain),
    }
    why.append(
        f"Blocks of today that the fit did not see are missed by {found:.4f} bits/byte with the runs from before and by "
        f"{plain:.4f} without them{'.' if figures['lifted_used'] else ': they are left out.'}"
    )
    return replace(with_them if figures["lifted_used"] else alone, why=tuple(why), figures=figures)


def _story(problem: Asking, table: Table, number: int) -> str:
    past, its_N = problem.past[number - 1], (table.block_N // PAST) == number
    used = "" if its_N.sum() == len(past.runs) else f", of which {its_N.sum()} were scored on targets of today"
    return f"Runs from before: {past.story()}{used}; they count as {table.weight_N[its_N].sum():.1f} runs of today."


def _new_targets(table: Table, problem: Asking) -> list[str]:
    """Targets of the objective and guards that no run from before was scored on."""
    asked = {t.name for mean in (problem.objective, *(g.targets for g in problem.guards)) for t in mean}
    scored_T = [bool(np.isfinite(column_N[~table.today_N]).any()) for column_N in table.loss_NT.T]
    new = [name for name, scored in zip(table.targets, scored_T, strict=True) if not scored and name in asked]
    return (
        [f"Runs from before were not scored on {', '.join(new)}: runs of today alone say what helps them."]
        if new
        else []
    )
