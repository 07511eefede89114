"""RegMix as published, in one round: a Dirichlet design, trees per target, the mean of the best of many simulated mixtures.

Letters: M simulated mixtures, D domains, T targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cuvee.base.errors import UsageError
from cuvee.methods.contract import Method
from cuvee.methods.deciding import FEWEST, ask, foreseen, too_few, weighed
from cuvee.methods.report import report
from cuvee.methods.rounds import check_size, regmix_round
from cuvee.mixture.weights import Array, Mixture
from cuvee.plan.choice import Choice, Estimate
from cuvee.plan.experts import mixtures as of_mixtures
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Plan, Trial
from cuvee.predict.combine import named
from cuvee.predict.posterior import Posterior, Predictor
from cuvee.predict.table import Table

CHUNK = 20_000
"""Mixtures predicted at a time."""


@dataclass(frozen=True)
class RegMix:
    """One round of Dirichlet draws around natural, a model per target, and the mean of the best of 100,000 simulated mixtures.

    As published (Liu et al. 2024): the design, LightGBM with its settings (extra `lightgbm`), and simulation around natural
    without tempering. Departures: natural in every block, so that differences are paired; losses less their block's offset; the
    objective is composed from every target's prediction; the mean is projected onto the bounds, which RegMix does not know.
    Published with 512 runs: LightGBM needs 20 runs in each leaf, so with fewer than 40 it predicts a constant, and the
    choice is about natural. With 48 runs it is not known to beat best-of-48 random in the 80 % asked of a method
    (`cuvee bench worlds`: 12 of 20, two settings of six).

    Args:
        runs: Trials in total.
        blocks: Blocks over which they are spread, one run of natural in each.
        simulated: Mixtures drawn from Dirichlet(natural).
        best: How many of them, the best by prediction, are averaged.
        predictor: The name of a predictor or an object with `fit(table)`.

    Raises:
        UsageError: fewer than two runs a block, no simulated mixtures, an unknown predictor.
    """

    name: ClassVar[str] = "regmix"
    citation: ClassVar[tuple[str, ...]] = (
        "Liu et al. 2024, RegMix: Data Mixture as Regression for Language Model Pre-training, arXiv:2407.01492",
    )
    runs: int = 48
    blocks: int = 4
    simulated: int = 100_000
    best: int = 128
    predictor: str | Predictor = "lightgbm"

    def __post_init__(self) -> None:
        check_size(self.name, self.runs, self.blocks, 2)
        if not 1 <= self.best <= self.simulated:
            raise UsageError(
                f"regmix: got best {self.best} of {self.simulated} simulated", wanted="1 <= best <= simulated"
            )
        if isinstance(self.predictor, str):
            named(self.predictor)

    def propose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> tuple[Plan, ...]:
        """One round of all runs."""
        return () if of_mixtures(trials) else regmix_round(problem, self.runs, self.blocks, rng)

    def choose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> Choice:
        """The mean of the best simulated mixtures, projected; natural, projected, when too few runs are done."""
        table = Table.from_trials(problem, trials)
        if len(table.today.ids) < FEWEST:
            return too_few(self.name, problem, table)
        found = weighed(problem, table, self.predictor)
        question = ask(problem, found)
        w_D = simulate(found.posterior, problem.around, question.a_T, rng, count=self.simulated, best=self.best)
        w_D = Mixture.from_array(problem.domains, question.feasible.project(w_D)).shares
        choice = report(self.name, problem, found.table, found.label, question, question.holds(w_D), w_D, None)
        return found.said(problem, choice)

    def predict(
        self, problem: Problem, trials: Sequence[Trial], mixtures: Sequence[Mixture]
    ) -> tuple[tuple[Estimate, ...], ...]:
        """The estimates of any mixtures, by the fit that `choose` would choose from; empty ones when too few runs are done."""
        return foreseen(problem, Table.from_trials(problem, trials), self.predictor, mixtures)


def simulate(
    posterior: Posterior, prior_D: Array, a_T: Array, rng: np.random.Generator, *, count: int, best: int
) -> Array:
    """The mean of the `best` of `count` draws from Dirichlet(prior) by the predicted mean of targets. Shape D."""
    drawn_MD = rng.dirichlet(np.maximum(prior_D, 1e-6), count)
    value_M = np.concatenate([posterior.mean(part) @ a_T for part in np.array_split(drawn_MD, -(-count // CHUNK))])
    return np.asarray(drawn_MD[np.argsort(value_M, kind="stable")[:best]].mean(0), np.float64)


_contract: type[Method] = RegMix
