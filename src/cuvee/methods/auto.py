"""The sequential search: a D-optimal first round, then batches of the runs that lower the expected regret most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from cuvee.base.errors import UsageError
from cuvee.methods import explain
from cuvee.methods.contract import Method
from cuvee.methods.deciding import FEWEST, decide, foreseen, foretold, scored, too_few
from cuvee.methods.looking import Look
from cuvee.methods.report import TOLERANCE
from cuvee.methods.rounds import check_size, everywhere, first_round, references, spread
from cuvee.mixture.weights import Mixture
from cuvee.plan.choice import Choice, Estimate
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Plan, Trial
from cuvee.predict.combine import named
from cuvee.predict.detect import detectable
from cuvee.predict.posterior import Predictor
from cuvee.predict.table import Table

LEAST_TRIALS = 32
"""Trials before which the search does not stop."""


@dataclass(frozen=True)
class Auto:
    """Searches in rounds: each batch holds the runs that are expected to lower the regret of the choice most.

    Round 0 tastes natural and a centre mixture in every block, the optimum of runs from before if there are any, and a D-optimal
    design (Fedorov 1972) of the rest. Every later batch is chosen by the knowledge gradient (Frazier, Powell & Dayanik 2009; for
    batches Wu & Frazier 2016) from joint draws of the predictor's posterior over some hundred candidates, balanced over blocks.
    Once the expected regret of the best mixture is below the tolerance, that mixture is tasted in every block; when a mixture so
    tasted still is below it, the search stops: below the tolerance in two rounds, the second of which saw the choice itself.

    Args:
        runs: Trials in total, at most.
        blocks: Blocks over which they are spread; four or more for usable intervals.
        first: Share of the runs in the first round.
        batch: Runs of every later round.
        tolerance: Expected regret in the objective's unit at which to stop; None takes the gain that a verification over as many
            blocks would find with 80 % power at the noise measured. 0 never stops early.
        predictor: The name of a predictor or an object with `fit(table)`.
        aversion: Standard errors of the predicted gain that count against a mixture, so that the choice does not run to where no
            run was.

    Raises:
        UsageError: fewer than four runs a block, `first` outside (0, 1], a batch below 1, a negative tolerance or aversion, an
            unknown predictor.
    """

    name: ClassVar[str] = "auto"
    citation: ClassVar[tuple[str, ...]] = (
        "Fedorov 1972, Theory of Optimal Experiments",
        "Frazier, Powell & Dayanik 2009, The Knowledge-Gradient Policy for Correlated Normal Beliefs",
        "Wu & Frazier 2016, The Parallel Knowledge Gradient Method for Batch Bayesian Optimization, arXiv:1606.04414",
    )
    runs: int = 48
    blocks: int = 4
    first: float = 0.5
    batch: int = 8
    tolerance: float | None = None
    predictor: str | Predictor = "auto"
    aversion: float = 0.0

    def __post_init__(self) -> None:
        check_size(self.name, self.runs, self.blocks, 4)
        if not 0 < self.first <= 1 or self.batch < 1 or (self.tolerance is not None and not self.tolerance >= 0):
            raise UsageError(
                f"auto: got first {self.first}, batch {self.batch}, tolerance {self.tolerance}",
                wanted="0 < first <= 1, batch >= 1, tolerance >= 0 (or none)",
            )
        if not 0 <= self.aversion < math.inf:
            raise UsageError(f"auto: got aversion {self.aversion}", wanted="a number of standard errors, 0 or more")
        if isinstance(self.predictor, str):
            named(self.predictor)

    def propose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> tuple[Plan, ...]:
        """The first round, then batches; nothing once the regret is low enough or all runs are used."""
        opening = min(max(round(self.first * self.runs), 3 * self.blocks), self.runs)
        table = Table.from_trials(problem, trials)
        n = min(self.batch, self.runs - len(trials)) if len(trials) >= opening else opening - len(trials)
        if n <= 0:
            return ()
        if len(trials) < opening or scored(problem, table) < FEWEST:
            foreseen_ND = () if trials else foretold(problem, self.predictor, self.aversion)
            return spread(problem, first_round(problem, n, self.blocks, rng, foreseen_ND), trials, n, self.blocks)
        look = Look.of(problem, trials, table, self.predictor, self.aversion, rng)
        tolerance = self._tolerance(look)
        low = look.regret < tolerance and len(trials) >= max(2 * len(problem.domains), LEAST_TRIALS)
        if low and look.sure_regret(self.blocks, references(problem)) < tolerance:
            return ()
        picks = [(look.mixtures[i], None) for i in look.ahead(n, max(self.blocks - 1, 1), rng).picks]
        wishes = [*everywhere(look.mixtures[0], self.blocks), *picks] if low else picks
        return spread(problem, wishes, trials, n, self.blocks)

    def choose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> Choice:
        """The optimum of the fit, with what is known of it and at stake; natural, projected, when too few runs are done."""
        table = Table.from_trials(problem, trials)
        if len(table.today.ids) < FEWEST:
            return too_few(self.name, problem, table)
        look = Look.of(problem, trials, table, self.predictor, self.aversion, rng)
        choice = decide(self.name, problem, look.fit, look.question, look.optimum)
        after = look.ahead(self.batch, self.blocks, rng).regret
        figures = {"expected_regret": after[0], "regret_after_a_batch": after[-1], "tolerance": self._tolerance(look)}
        lines = explain.stakes(problem.unit, after, self._tolerance(look))
        return replace(choice, why=(*choice.why, *lines), diagnostics={**choice.diagnostics, **figures})

    def predict(
        self, problem: Problem, trials: Sequence[Trial], mixtures: Sequence[Mixture]
    ) -> tuple[tuple[Estimate, ...], ...]:
        """The estimates of any mixtures, by the fit that `choose` would choose from; empty ones when too few runs are done."""
        return foreseen(problem, Table.from_trials(problem, trials), self.predictor, mixtures)

    def _tolerance(self, look: Look) -> float:
        """As given, or what a verification would detect; at least what a near-optimal range may cost. 0 without any noise known."""
        if self.tolerance is not None:
            return self.tolerance
        return 0.0 if math.isnan(look.noise) else max(detectable(look.noise, self.blocks), TOLERANCE)


_contract: type[Method] = Auto
