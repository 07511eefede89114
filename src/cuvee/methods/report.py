"""The choice of a method that predicts: estimates, near-optimal ranges, checks against runs, diagnostics, reasons.

Letters: N runs, D domains, T targets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from scipy.special import stdtrit

from cuvee.methods import explain
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Array, Mixture
from cuvee.plan.choice import Check, Choice, Estimate, Range, Simplified, Unconstrained
from cuvee.plan.problem import Guard
from cuvee.predict.combine import block_error, block_spearman, predict_blocks
from cuvee.predict.detect import paired_noise
from cuvee.predict.diagnose import diagnose, unconstrained
from cuvee.predict.optimise import How, near_optimal
from cuvee.predict.posterior import LEVEL
from cuvee.predict.question import ROOM, GuardRule, Question
from cuvee.predict.table import Table

TOLERANCE = 0.002
"""Bits/byte of the objective that a near-optimal range may cost."""


class Asked(Protocol):
    """What a report needs of a problem, or of another question: the names that people know it by."""

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains, in the order of shares."""

    @property
    def scored(self) -> tuple[str, ...]:
        """The targets, in the order of losses."""

    @property
    def guards(self) -> tuple[Guard, ...]:
        """What must not get worse."""

    @property
    def unit(self) -> str:
        """The unit of the objective, as sentences say it."""

    def epochs(self, mixture: Mixture) -> Array | None:
        """Passes over each domain in the run that the choice is for, shape D; None where its length is not known."""


def report(
    method: str,
    problem: Asked,
    table: Table,
    predictor: str,
    question: Question,
    guarded: bool,
    w_D: Array,
    simplified: Simplified | None,
    how: How = "starts",
    tolerance: float = TOLERANCE,
) -> Choice:
    """The choice of `w_D` as `predictor`'s fit to `table` sees it.

    Args:
        guarded: Whether a mixture was found that keeps the guards.
        simplified: What was done to the optimum to get `w_D`.
        how: The optimum was found.
        tolerance: What a near-optimal range may cost of the objective.
    """
    mixture = Mixture.from_array(problem.domains, w_D)
    predicted = estimates(problem, question, w_D)
    # where no mixture keeps the guards there is no set of good ones to give the extent of
    ranges = _ranges(problem, question, w_D, tolerance) if guarded else ()
    free = _unconstrained(problem, question, w_D, table)
    checks = _checks(question, table)
    figures = _figures(question, table)
    why = (
        explain.evidence(predictor, len(table.ids), len(table.blocks), table.left_out, figures, problem.unit),
        *explain.bounds(problem.epochs(mixture), question.feasible, w_D),
        *_guards(problem, question, predicted, w_D, guarded),
        *_simpler(simplified, problem.unit),
        explain.certainty(predicted[0], problem.unit),
        *explain.found(how),
        *explain.degenerate(diagnose(question, w_D, table), mixture),
        *(explain.unconstrained(free, predicted[0], problem.unit) if free else ()),
        *explain.few_blocks(len(table.blocks)),
        *((explain.flatness(ranges, problem.unit),) if ranges else ()),
    )
    diagnostics = {
        **figures,
        "runs": float(len(table.ids)),
        "left_out": float(table.left_out),
        "blocks": float(len(table.blocks)),
        f"predictor_{predictor}": 1.0,
        "convex": float(question.convex),
    }
    schedule = Schedule.constant(mixture)
    evidence = tuple(sorted(table.ids))
    return Choice(
        method, schedule, predicted, ranges, why, evidence, checks, diagnostics, simplified, unconstrained=free
    )


def estimates(problem: Asked, question: Question, w_D: Array) -> tuple[Estimate, ...]:
    """Differences to natural at `w_D`: the objective, everything scored, then guards (relative)."""
    units_TT = np.eye(len(problem.scored))
    wanted = [("objective", question.a_T), *zip(problem.scored, units_TT, strict=True)]
    found = []
    for name, a_T in wanted:
        d = question.posterior.difference(w_D, question.base_D, a_T)
        found.append(Estimate(name, d.mean, d.low, d.high, d.p_below))
    return (*found, *(_guard(g, question, r, w_D) for g, r in zip(problem.guards, question.guards, strict=True)))


def _guard(guard: Guard, question: Question, rule: GuardRule, w_D: Array) -> Estimate:
    d = question.posterior.difference(w_D, question.base_D, rule.a_T)
    wider = 0.0
    if rule.error and d.freedom:
        half = (d.high - d.low) / 2
        wider = math.hypot(half, float(stdtrit(d.freedom, 0.5 + LEVEL / 2)) * rule.error) - half
    mean, low, high = ((rule.above + rise) / rule.level for rise in (d.mean, d.low - wider, d.high + wider))
    return Estimate(f"guard:{guard.name}", mean, low, high, question.sureness(rule, w_D))


def _unconstrained(problem: Asked, question: Question, w_D: Array, table: Table) -> Unconstrained | None:
    free = unconstrained(question, w_D, table)
    if free is None:
        return None
    mixture = Mixture.from_array(problem.domains, free.w_D)
    d = question.posterior.difference(free.w_D, question.base_D, question.a_T)
    passes_D = problem.epochs(mixture)
    epochs = {} if passes_D is None else dict(zip(problem.domains, passes_D.tolist(), strict=True))
    return Unconstrained(mixture, Estimate("objective", d.mean, d.low, d.high, d.p_below), epochs)


def _ranges(problem: Asked, question: Question, w_D: Array, tolerance: float) -> tuple[Range, ...]:
    low_D, high_D = near_optimal(question, w_D, tolerance)
    return tuple(
        Range(domain, float(low), float(high), tolerance)
        for domain, low, high in zip(problem.domains, low_D, high_D, strict=True)
        if not math.isnan(low)
    )


def _checks(question: Question, table: Table) -> tuple[Check, ...]:
    """Each run but natural's, predicted without its block; only blocks that have natural."""
    predicted_N = table.paired(predict_blocks(question.posterior, table, question.a_T))
    measured_N = table.paired(table.objective(question.a_T))
    usable_N = ~table.natural_N & np.isfinite(predicted_N) & np.isfinite(measured_N)
    return tuple(Check(table.ids[i], float(predicted_N[i]), float(measured_N[i])) for i in np.flatnonzero(usable_N))


def _figures(question: Question, table: Table) -> Mapping[str, float]:
    """Rank correlation and error of predicting unseen runs, spread between blocks of the mixture they share."""
    return {
        "lobo_spearman": block_spearman(question.posterior, table, question.a_T),
        "lobo_rmse": block_error(question.posterior, table, question.a_T),
        "paired_noise": paired_noise(table, question.a_T),
    }


def _guards(
    problem: Asked, question: Question, predicted: tuple[Estimate, ...], w_D: Array, guarded: bool
) -> tuple[str, ...]:
    last = predicted[len(predicted) - len(problem.guards) :]
    lines = []
    for guard, rule, estimate in zip(problem.guards, question.guards, last, strict=True):
        room = question.room(rule, w_D)
        lines.append(explain.guard(guard, estimate, room < 0.1 * abs(rule.allowed), guarded or room >= -ROOM))
    return tuple(lines)


def _simpler(simplified: Simplified | None, unit: str) -> tuple[str, ...]:
    if simplified is None:
        return ()
    dropped = [f"{domain} ({explain.percent(share)})" for domain, share in simplified.dropped.items()]
    first = f"Left out for their tiny shares: {explain.listed(dropped)}; the rest" if dropped else "Shares"
    return (
        f"{first} rounded to {explain.percent(simplified.step)}, at a predicted cost of {simplified.cost:.5f} {unit}.",
    )
