"""The sequential search: a D-optimal first round, then batches of the runs that lower the expected regret most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import numpy as np

from cuvee.base.errors import UsageError
from cuvee.methods import evidence, explain
from cuvee.methods.contract import Method
from cuvee.methods.deciding import FEWEST, decide, foreseen, foretold, scored, too_few
from cuvee.methods.looking import Look
from cuvee.methods.report import TOLERANCE
from cuvee.methods.rounds import check_aversion, check_size, everywhere, first_round, references, spread
from cuvee.mixture.weights import Mixture
from cuvee.plan.choice import Choice, Estimate
from cuvee.plan.experts import mixtures as mixture_runs
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Plan, Trial
from cuvee.predict.combine import DEFAULT, named
from cuvee.predict.detect import detectable
from cuvee.predict.posterior import Predictor
from cuvee.predict.table import Table

Evidence = Literal["none", "ngrams"]
LEAST_TRIALS = 32
"""Runs that ended well before which the search does not stop."""


@dataclass(frozen=True)
class Auto:
    """Searches in rounds: each batch holds the runs that are expected to lower the regret of the choice most.

    Round 0 tastes natural and a centre mixture in every block, the optimum of runs from before if there are any, and a D-optimal
    design (Fedorov 1972) of the rest. Every later batch is chosen by the knowledge gradient (Frazier, Powell & Dayanik 2009; for
    batches Wu & Frazier 2016) from joint draws of the predictor's posterior over some hundred candidates, balanced over blocks.
    Once the expected regret of the best mixture is below the tolerance, that mixture is tasted in every block; when a mixture so
    tasted still is below it, the search stops: below the tolerance in two rounds, the second of which saw the choice itself.

    In worlds with a known best mixture (`cuvee bench worlds`: six settings of 50 seeds, 8 domains, at most 48 runs in 4 blocks) it
    beat best-of-48 random in all 300, with 40 runs and a mean regret of 0.0009 bits/byte (random's: 0.042); nominal 90 % intervals of
    the gain held the truth in 91 %, in 82 % where repetition hurts and the target is the mean of all domains.

    With `evidence: ngrams` the first round also counts an n-gram model of every domain, seconds each. What their mixtures say of
    the targets is the mean function of a part of the stack; on real runs 8 runs with it ranked mixtures better per target than 32 without
    (docs/cheap-evidence.md). In the worlds of `cuvee bench worlds` there are no texts, and what n-grams say is made up.

    Args:
        runs: Runs of mixtures in total, at most; n-gram models do not count.
        blocks: Blocks over which they are spread; four or more for usable intervals. With one the search never stops early.
        first: Share of the runs in the first round.
        batch: Runs of every later round.
        tolerance: Expected regret in the objective's unit at which to stop; None takes the gain that a verification over as many
            blocks would find with 80 % power at the noise measured. 0 never stops early.
        predictor: The name of a predictor or an object with `fit(table)`.
        aversion: Standard errors of the predicted gain that count against a mixture, so that the choice does not run to where no
            run was.
        evidence: What is known besides runs: `none`, or `ngrams`. Targets that are no likelihood of a text go without.

    Raises:
        UsageError: fewer than four runs a block, `first` outside (0, 1], a batch below 1, a negative tolerance or aversion, an
            unknown predictor, evidence that there is none of or that the predictor cannot use; from the calls, n-grams with an
            outside trainer.
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
    evidence: Evidence = "none"

    def __post_init__(self) -> None:
        check_size(self.name, self.runs, self.blocks, 4)
        if not 0 < self.first <= 1 or self.batch < 1 or (self.tolerance is not None and not self.tolerance >= 0):
            raise UsageError(
                f"auto: got first {self.first}, batch {self.batch}, tolerance {self.tolerance}",
                wanted="0 < first <= 1, batch >= 1, tolerance >= 0 (or none)",
            )
        check_aversion(self.name, self.aversion)
        if self.evidence not in get_args(Evidence):
            raise UsageError(f"auto: got evidence {self.evidence!r}", wanted=" or ".join(get_args(Evidence)))
        if isinstance(self.predictor, str):
            named(self.predictor)
        if self.evidence != "none" and self.predictor not in ("auto", DEFAULT):
            raise UsageError(
                f"auto: got evidence {self.evidence} and the predictor {self.predictor}",
                wanted="the default predictor, of which evidence becomes a part",
                fix="leave predictor out",
            )

    def propose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> tuple[Plan, ...]:
        """The first round, with it the n-gram models, then batches; nothing once the regret is low enough or all runs are used."""
        return (*self._experts(problem, trials), *self._runs(problem, trials, rng))

    def choose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> Choice:
        """The optimum of the fit, with what is known of it and at stake; natural, projected, when too few runs are done."""
        predictor, known = self._known(problem, trials)
        table = Table.from_trials(problem, trials)
        if len(table.today.ids) < FEWEST:
            return too_few(self.name, problem, table)
        look = Look.of(problem, mixture_runs(trials), table, predictor, self.aversion, rng)
        choice = decide(self.name, problem, look.fit, look.question, look.optimum)
        after = look.ahead(self.batch, self.blocks, rng).regret
        figures = {"expected_regret": after[0], "regret_after_a_batch": after[-1], "tolerance": self._tolerance(look)}
        lines = explain.stakes(problem.unit, after, self._tolerance(look))
        where = explain.where_best(problem.domains, *look.stakes.best_shares())
        return replace(choice, why=(*choice.why, *known, *where, *lines), diagnostics={**choice.diagnostics, **figures})

    def predict(
        self, problem: Problem, trials: Sequence[Trial], mixtures: Sequence[Mixture]
    ) -> tuple[tuple[Estimate, ...], ...]:
        """The estimates of any mixtures, by the fit that `choose` would choose from; empty ones when too few runs are done."""
        predictor, _ = self._known(problem, trials)
        return foreseen(problem, Table.from_trials(problem, trials), predictor, mixtures)

    def _runs(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> tuple[Plan, ...]:
        """The next runs of mixtures."""
        runs = mixture_runs(trials)
        opening = min(max(round(self.first * self.runs), 3 * self.blocks), self.runs)
        table = Table.from_trials(problem, runs)
        n = min(self.batch, self.runs - len(runs)) if len(runs) >= opening else opening - len(runs)
        if n <= 0:
            return ()
        if len(runs) < opening or scored(problem, table) < FEWEST:
            foreseen_ND = () if runs else foretold(problem, self.predictor, self.aversion)
            return spread(problem, first_round(problem, n, self.blocks, rng, foreseen_ND), runs, n, self.blocks)
        predictor, _ = self._known(problem, trials)
        look = Look.of(problem, runs, table, predictor, self.aversion, rng)
        tolerance = self._tolerance(look)
        # with one block nothing tells that the regret was low before the choice was tasted
        enough = self.blocks > 1 and len(table.ids) >= max(2 * len(problem.domains), LEAST_TRIALS)
        low = enough and look.regret < tolerance
        if low and look.sure_regret(self.blocks, references(problem)) < tolerance:
            return ()
        picks = [(look.mixtures[i], None) for i in look.ahead(n, max(self.blocks - 1, 1), rng).picks]
        wishes = [*everywhere(look.mixtures[0], self.blocks), *picks] if low else picks
        return spread(problem, wishes, runs, n, self.blocks)

    def _experts(self, problem: Problem, trials: Sequence[Trial]) -> tuple[Plan, ...]:
        """The n-gram models that are wanted and did not end yet."""
        if self.evidence == "none":
            return ()
        evidence.check_trainer(problem)
        return evidence.missing(problem, trials, "ngrams", "tokens", 1)

    def _known(self, problem: Problem, trials: Sequence[Trial]) -> tuple[str | Predictor, tuple[str, ...]]:
        """The predictor, informed by the n-gram models where there is one of every domain, and what to say of them."""
        if self.evidence == "none":
            return self.predictor, ()
        evidence.check_trainer(problem)
        surface = evidence.surface(problem, trials, "ngrams", "tokens")
        if surface is None:
            return self.predictor, (explain.NO_NGRAMS,)
        without = tuple(name for name in problem.scored if name not in surface.targets)
        return evidence.informed(surface), explain.ngrams(without)

    def _tolerance(self, look: Look) -> float:
        """As given, or what a verification would detect; at least what a near-optimal range may cost. 0 without any noise known."""
        if self.tolerance is not None:
            return self.tolerance
        return 0.0 if math.isnan(look.noise) else max(detectable(look.noise, self.blocks), TOLERANCE)


_contract: type[Method] = Auto
