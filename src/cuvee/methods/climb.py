"""CLIMB's iterative search: Dirichlet draws first, then twice draws that the predictor ranks at the top.

Letters: M sampled mixtures, D domains.
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
from cuvee.methods.rounds import anywhere, check_size, missing, regmix_round, spread
from cuvee.mixture.designs import cloud
from cuvee.mixture.weights import Array, Mixture
from cuvee.plan.choice import Choice, Estimate
from cuvee.plan.experts import mixtures as of_mixtures
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Plan, Trial
from cuvee.predict.combine import named
from cuvee.predict.posterior import Predictor
from cuvee.predict.question import Question
from cuvee.predict.table import Table

PROPORTIONS = np.array([64, 32, 16]) / 112
"""Of the runs, over three rounds."""
TOP = 4
"""A later round is drawn from the best TOP times as many mixtures as it has runs."""
GUARDED = 512
"""Of the mixtures ranked best so many are held against guards, one by one."""


@dataclass(frozen=True)
class Climb:
    """Three rounds of 4 : 2 : 1 runs; from the second on drawn at random from the mixtures that the predictor ranks best.

    The search of CLIMB (Diao et al. 2025), without its discovery of domains: Dirichlet draws around natural, a model of the runs
    so far, the next round drawn from the best of many sampled mixtures; the choice is the one predicted best in the end.
    Departures: natural in every block of the first round, so that differences are paired; the feasible set is kept throughout; CLIMB
    gives no number for how many of the best are drawn from: here four times the round. LightGBM has RegMix's settings
    (extra `lightgbm`), which predict a constant with fewer than 40 runs: choose another predictor then. With 48 runs it does not beat
    best-of-48 random in worlds with a known best mixture (`cuvee bench worlds`: 39 of 115, three settings of six).

    Args:
        runs: Trials in total, over three rounds.
        blocks: Blocks over which they are spread, one run of natural in each.
        sampled: Mixtures sampled for each round and for the choice.
        predictor: The name of a predictor or an object with `fit(table)`.

    Raises:
        UsageError: fewer than four runs a block, no sampled mixtures, an unknown predictor.
    """

    name: ClassVar[str] = "climb"
    citation: ClassVar[tuple[str, ...]] = (
        "Diao et al. 2025, CLIMB: CLustering-based Iterative Data Mixture Bootstrapping for Language Model Pre-training, "
        "arXiv:2504.13161",
    )
    runs: int = 48
    blocks: int = 4
    sampled: int = 10_000
    predictor: str | Predictor = "lightgbm"

    def __post_init__(self) -> None:
        check_size(self.name, self.runs, self.blocks, 4)
        if self.sampled < 1:
            raise UsageError(f"climb: got {self.sampled} sampled mixtures", wanted="at least 1")
        if isinstance(self.predictor, str):
            named(self.predictor)

    def propose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> tuple[Plan, ...]:
        """The next of three rounds; its size follows from the number of trials so far."""
        trials = of_mixtures(trials)
        goals = [round(float(goal)) for goal in self.runs * np.cumsum(PROPORTIONS)]
        wanted = missing(goals, trials)
        table = Table.from_trials(problem, trials)
        if not wanted or len(table.today.ids) < FEWEST:
            return regmix_round(problem, goals[0], self.blocks, rng) if not trials else ()
        question = ask(problem, weighed(problem, table, self.predictor))
        ranked_MD = self._ranked(problem, question, rng)[: TOP * wanted]
        return spread(problem, anywhere(problem, rng.permutation(ranked_MD)), trials, wanted, self.blocks)

    def choose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> Choice:
        """The sampled or tasted mixture that is predicted best; natural, projected, when too few runs are done."""
        table = Table.from_trials(problem, trials)
        if len(table.today.ids) < FEWEST:
            return too_few(self.name, problem, table)
        found = weighed(problem, table, self.predictor)
        question = ask(problem, found)
        w_D = Mixture.from_array(problem.domains, self._ranked(problem, question, rng)[0]).shares
        choice = report(self.name, problem, found.table, found.label, question, question.holds(w_D), w_D, None)
        return found.said(problem, choice)

    def predict(
        self, problem: Problem, trials: Sequence[Trial], mixtures: Sequence[Mixture]
    ) -> tuple[tuple[Estimate, ...], ...]:
        """The estimates of any mixtures, by the fit that `choose` would choose from; empty ones when too few runs are done."""
        return foreseen(problem, Table.from_trials(problem, trials), self.predictor, mixtures)

    def _ranked(self, problem: Problem, question: Question, rng: np.random.Generator) -> Array:
        """Sampled mixtures, the best first by prediction; those that break a guard last."""
        drawn_MD = cloud(problem.around, question.feasible, self.sampled, rng)
        order_M = np.argsort(question.posterior.mean(drawn_MD) @ question.a_T, kind="stable")
        if question.guards:
            order_M = np.array(sorted(order_M[:GUARDED], key=lambda i: not question.holds(drawn_MD[i])), np.int64)
        return drawn_MD[order_M]


_contract: type[Method] = Climb
