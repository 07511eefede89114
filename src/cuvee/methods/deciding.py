"""From a posterior to a choice, shared by methods that predict: the question, the optimum, its simpler form, the report.

Letters: D domains, T targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from cuvee.methods.past import Weighed, weigh
from cuvee.methods.report import estimates, report
from cuvee.mixture.designs import anchors
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Array, Mixture
from cuvee.plan.choice import Choice, Estimate, Simplified
from cuvee.plan.problem import Problem
from cuvee.predict.combine import DEFAULT, named
from cuvee.predict.optimise import Optimum, minimise, simplify
from cuvee.predict.posterior import Posterior, Predictor
from cuvee.predict.question import GuardRule, Question
from cuvee.predict.table import Table, mean_weights

FEWEST = 4
"""Done runs of today under which nothing is chosen."""
TINY, STEP, SIMPLER = 0.002, 0.001, 0.0005
"""Shares under TINY are dropped and the rest rounded to STEP when it costs less than SIMPLER bits/byte."""


def fitted(predictor: str | Predictor, table: Table) -> tuple[str, Posterior]:
    """The name and the posterior of a predictor, given by its name or itself; `auto` is the default one."""
    if isinstance(predictor, str):
        return DEFAULT if predictor == "auto" else predictor, named(predictor).fit(table)
    return type(predictor).__name__, predictor.fit(table)


def weighed(problem: Problem, table: Table, predictor: str | Predictor) -> Weighed:
    """The predictor's fit to `table`, or to its runs of today alone where those from before mislead."""
    return weigh(problem, table, partial(fitted, predictor))


def scored(problem: Problem, table: Table) -> int:
    """How many runs were scored on all of the objective."""
    return int(np.isfinite(table.objective(mean_weights(problem.objective, table.targets))).sum())


def foretold(problem: Problem, predictor: str | Predictor, aversion: float = 0.0) -> list[Array]:
    """The optimum of the runs from before alone; nothing where there are too few."""
    table = Table.from_trials(problem, ())
    if scored(problem, table) < FEWEST:
        return []
    question = ask(problem, weighed(problem, table, predictor), aversion)
    return [minimise(question, starts(problem, table)).w_D]


def ask(problem: Problem, found: Weighed, aversion: float = 0.0) -> Question:
    """The problem's objective, bounds and guards on the predictions of the fit."""
    table, posterior = found.table, found.posterior
    natural_D = problem.natural.shares
    rules = []
    for guard in problem.guards:
        a_T = mean_weights(guard.targets, problem.scored)
        level = float(posterior.mean(natural_D[None])[0] @ a_T)
        base, error = level, 0.0
        if guard.against == "checkpoint" and table.start_T is not None:
            base, error = float(table.start_T @ a_T), _level_error(table, a_T)
        allowed = base + guard.tolerance * abs(base) - level
        rules.append(GuardRule(guard.name, a_T, allowed, guard.probability, level - base, abs(base), error))
    objective_T = mean_weights(problem.objective, problem.scored)
    return Question(posterior, problem.feasible(), natural_D, objective_T, tuple(rules), aversion)


def starts(problem: Problem, table: Table) -> list[Array]:
    """Natural, the centre, uniform, the present blend, and the three best runs of today by their difference to natural."""
    table = table.today
    named_D = anchors(problem.around, problem.feasible())
    value_N = table.loss_NT @ mean_weights(problem.objective, table.targets)
    gain_N = np.where(np.isfinite(table.paired(value_N)), table.paired(value_N), np.inf)
    best = np.argsort(gain_N, kind="stable")[:3]
    own = [] if problem.present is None else [problem.feasible().project(problem.present.shares)]
    return [problem.natural.shares, named_D["centre"], named_D["uniform"], *own, *table.shares_ND[best]]


def replicate_optima(question: Question, start_D: Array) -> list[Array]:
    """The optima without each block, from `start_D`."""
    fits = question.posterior.replicates.values()
    alone = [replace(question, posterior=Posterior(fit, {}, question.posterior.usual_TT)) for fit in fits]
    return [minimise(other, [start_D]).w_D for other in alone]


def decide(method: str, problem: Problem, found: Weighed, question: Question, optimum: Optimum) -> Choice:
    """The choice of the optimum, with tiny shares dropped and the rest rounded where that costs next to nothing."""
    simple_D, simplified = simpler(problem.domains, question, optimum.w_D, SIMPLER)
    choice = report(
        method, problem, found.table, found.label, question, optimum.guarded, simple_D, simplified, optimum.how
    )
    return found.said(problem, choice)


def too_few(method: str, problem: Problem, table: Table) -> Choice:
    """Natural, projected, for want of runs."""
    mixture = problem.feasible().project_mixture(problem.natural)
    ids = table.today.ids
    why = f"Only {len(ids)} runs are done, too few to fit anything: natural it is."
    return Choice(method, Schedule.constant(mixture), why=(why,), evidence=ids)


def foreseen(
    problem: Problem, table: Table, predictor: str | Predictor, mixtures: Sequence[Mixture]
) -> tuple[tuple[Estimate, ...], ...]:
    """For each mixture the estimates that a choice of it would carry; empty ones when too few runs are done."""
    if len(table.today.ids) < FEWEST:
        return tuple(() for _ in mixtures)
    question = ask(problem, weighed(problem, table, predictor))
    return tuple(estimates(problem, question, mixture.shares) for mixture in mixtures)


def _level_error(table: Table, a_T: Array) -> float:
    """Standard error of natural's own level: blocks move it against the checkpoint, which all of them start from."""
    level_N = table.objective(a_T)[table.natural_N]
    return float(np.std(level_N, ddof=1) / np.sqrt(len(level_N))) if len(level_N) > 1 else 0.0


def simpler(
    domains: Sequence[str], question: Question, optimum_D: Array, most: float
) -> tuple[Array, Simplified | None]:
    """The optimum without tiny shares, the rest rounded, where that costs at most `most`, and what was done to it."""
    w_D = simplify(question, optimum_D, tiny=TINY, step=STEP, cost=most)
    if np.array_equal(w_D, optimum_D):
        return w_D, None
    triples = zip(domains, optimum_D.tolist(), w_D.tolist(), strict=True)
    dropped = {domain: share for domain, share, left in triples if left == 0 and share > 1e-9}
    cost = float(question.value(w_D) - question.value(optimum_D))
    return w_D, Simplified(dropped, STEP, max(cost, 0.0))
