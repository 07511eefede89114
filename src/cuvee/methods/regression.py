"""Regression over proxy runs: fit each target's loss on realised shares, compose, optimise under bounds and guards.

Round 0 is a design: natural and a centre mixture in every block, then uniform, leave-one-out mixtures and RegMix's
Dirichlet draws. Later rounds taste near the optimum of the fit so far.

Letters: D domains, T targets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from cuvee.base.errors import UsageError
from cuvee.methods.contract import Method
from cuvee.methods.report import estimates, report
from cuvee.mixture.designs import anchors, dirichlet
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Array, Mixture
from cuvee.plan.choice import Choice, Estimate, Simplified
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Plan, Trial
from cuvee.predict.combine import named, select
from cuvee.predict.optimise import minimise, simplify
from cuvee.predict.posterior import Posterior, Predictor
from cuvee.predict.question import GuardRule, Question
from cuvee.predict.table import Table, mean_weights

FEWEST = 4
"""Done runs under which nothing is fitted."""
TINY, STEP, SIMPLER = 0.002, 0.001, 0.0005
"""Shares under TINY are dropped and the rest rounded to STEP when it costs less than SIMPLER bits/byte."""


@dataclass(frozen=True)
class Regression:
    """Fits the loss of every target as a function of the mixture, and takes the best mixture under the bounds.

    The log-linear mixing law with a correction of its residuals, unless ridge on [w, log(w + eps)] or their average
    clearly predicts each block better from the others; intervals by leaving blocks out; guards at their probability.
    After RegMix (Liu et al. 2024) and Data Mixing Laws (Ye et al. 2024), with blocks, caps in the optimisation, several
    targets and intervals added.

    In worlds with a known best mixture (`cuvee bench worlds`: 6 settings of 50 seeds, 8 domains, 48 runs in 4 blocks) it
    beat best-of-n random on as many tokens in 94 to 100 % of the seeds. Nominal 90 % intervals of the gain held the truth in
    96 % of 204 worlds, with one round in 92 %; in the worst family in 91 and 85 %. The predicted gain is the best of many
    and promises up to 0.008 bits/byte too much: verify it on fresh blocks.

    Args:
        runs: Trials in total, over all rounds.
        blocks: Blocks over which they are spread; four or more for usable intervals, with two or three they are very wide.
        rounds: Rounds of proposals. The first takes `first` of the runs, the others share the rest.
        first: Share of the runs in the first round when there are several.
        predictor: `auto`, `ridge-log`, `log-linear`, `corrected-law`, `average`, or an object with `fit(table)`.
        aversion: Standard errors of the predicted gain that count against a mixture: the optimum of a prediction lies where the
            prediction errs in its favour, and the more so the fewer runs are near. 0 takes the best prediction as it is.

    Raises:
        UsageError: fewer than four runs a block, no rounds, `first` outside (0, 1), an unknown predictor, a negative aversion.
    """

    name: ClassVar[str] = "regression"
    citation: ClassVar[tuple[str, ...]] = (
        "Liu et al. 2024, RegMix: Data Mixture as Regression for Language Model Pre-training, arXiv:2407.01492",
        "Ye et al. 2024, Data Mixing Laws, arXiv:2403.16952",
    )
    runs: int = 48
    blocks: int = 4
    rounds: int = 2
    first: float = 0.6
    predictor: str | Predictor = "auto"
    aversion: float = 0.0

    def __post_init__(self) -> None:
        if self.blocks < 1 or self.runs < 4 * self.blocks:
            raise UsageError(
                f"regression: got {self.runs} runs in {self.blocks} blocks",
                wanted="at least four runs a block: natural, the centre and two more",
                fix=f"runs: {4 * max(self.blocks, 1)} or more",
            )
        if self.rounds < 1 or not 0 < self.first < 1:
            raise UsageError(
                f"regression: got rounds {self.rounds}, first {self.first}", wanted="rounds >= 1, 0 < first < 1"
            )
        if not 0 <= self.aversion < math.inf:
            raise UsageError(
                f"regression: got aversion {self.aversion}", wanted="a number of standard errors, 0 or more"
            )
        if isinstance(self.predictor, str) and self.predictor != "auto":
            named(self.predictor)

    def propose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> tuple[Plan, ...]:
        """The next round; its size follows from the number of trials so far."""
        missing = next((goal for goal in self._goals() if goal > len(trials)), 0) - len(trials)
        if missing <= 0:
            return ()
        table = Table.from_trials(problem, trials)
        known = {(t.plan.schedule.at(0), t.plan.block) for t in trials}
        enough = trials and len(table.ids) >= FEWEST
        wanted = self._near(problem, table, missing, rng) if enough else self._design(problem, missing, rng)
        return tuple(problem.plan(mixture, block) for mixture, block in _spread(wanted, known, missing, self.blocks))

    def choose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> Choice:
        """The optimum of the fit, with what is known of it; natural, projected, when too few runs are done."""
        table = Table.from_trials(problem, trials)
        if len(table.ids) < FEWEST:
            mixture = problem.feasible().project_mixture(problem.natural)
            why = f"Only {len(table.ids)} runs are done, too few to fit anything: natural it is."
            return Choice(self.name, Schedule.constant(mixture), why=(why,), evidence=table.ids)
        label, posterior = self._posterior(problem, table)
        question = replace(ask(problem, posterior, table), aversion=self.aversion)
        optimum = minimise(question, _starts(problem, table))
        simple_D = simplify(question, optimum.w_D, tiny=TINY, step=STEP, cost=SIMPLER)
        simplified = _simplified(problem, question, optimum.w_D, simple_D)
        return report(self.name, problem, table, label, question, optimum.guarded, simple_D, simplified, optimum.how)

    def predict(
        self, problem: Problem, trials: Sequence[Trial], mixtures: Sequence[Mixture]
    ) -> tuple[tuple[Estimate, ...], ...]:
        """The estimates of any mixtures, by the fit that `choose` would choose from; empty ones when too few runs are done."""
        table = Table.from_trials(problem, trials)
        if len(table.ids) < FEWEST:
            return tuple(() for _ in mixtures)
        question = ask(problem, self._posterior(problem, table)[1], table)
        return tuple(estimates(problem, question, mixture.shares) for mixture in mixtures)

    def _goals(self) -> tuple[int, ...]:
        """Trials in total after each round."""
        if self.rounds == 1:
            return (self.runs,)
        start = min(max(round(self.first * self.runs), 3 * self.blocks), self.runs)
        steps = np.linspace(start, self.runs, self.rounds)
        return tuple(round(float(s)) for s in steps)

    def _posterior(self, problem: Problem, table: Table) -> tuple[str, Posterior]:
        if self.predictor == "auto":
            return select(table, mean_weights(problem.objective, table.targets))
        predictor = named(self.predictor) if isinstance(self.predictor, str) else self.predictor
        label = self.predictor if isinstance(self.predictor, str) else type(predictor).__name__
        return label, predictor.fit(table)

    def _design(self, problem: Problem, n: int, rng: np.random.Generator) -> list[Wish]:
        """Round 0: the anchors, at most a quarter of the rest leaving one domain out, then Dirichlet draws."""
        feasible = problem.feasible()
        named_D = anchors(problem.around, feasible)
        everywhere = [problem.natural, _mixture(problem, named_D["centre"])]
        wishes: list[Wish] = [(mixture, block) for mixture in everywhere for block in range(self.blocks)]
        if problem.present is not None:
            wishes.append((problem.feasible().project_mixture(problem.present), None))
        wishes.append((_mixture(problem, named_D["uniform"]), None))
        without = [w_D for name, w_D in named_D.items() if name.startswith("without ")]
        some = rng.permutation(len(without))[: max(n - len(wishes), 0) // 4]
        wishes += [(_mixture(problem, without[i]), None) for i in some]
        drawn_ND = dirichlet(problem.around, feasible, n, rng)
        return wishes + [(_mixture(problem, w_D), None) for w_D in drawn_ND]

    def _near(self, problem: Problem, table: Table, n: int, rng: np.random.Generator) -> list[Wish]:
        """Later rounds: the optimum in every block, the optima without each block, then mixtures on the way to others."""
        _, posterior = self._posterior(problem, table)
        question, starts = replace(ask(problem, posterior, table), aversion=self.aversion), _starts(problem, table)
        best_D = minimise(question, starts).w_D
        wishes: list[Wish] = [(_mixture(problem, best_D), block) for block in range(self.blocks)]
        for fit in posterior.replicates.values():
            other = replace(question, posterior=Posterior(fit, {}, posterior.usual_TT))
            wishes.append((_mixture(problem, minimise(other, [best_D]).w_D), None))
        drawn_ND = dirichlet(best_D + 1e-3, question.feasible, n, rng)
        steps_N = rng.uniform(0.1, 0.5, n)
        near_ND = (1 - steps_N[:, None]) * best_D + steps_N[:, None] * drawn_ND
        return wishes + [(_mixture(problem, question.feasible.project(w_D)), None) for w_D in near_ND]


Wish = tuple[Mixture, int | None]
"""A mixture to taste, in a block or in whichever has the fewest runs."""
_contract: type[Method] = Regression


def ask(problem: Problem, posterior: Posterior, table: Table) -> Question:
    """The problem's objective, bounds and guards on the predictions of `posterior`, the fit to `table`."""
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
    return Question(posterior, problem.feasible(), natural_D, objective_T, tuple(rules))


def _level_error(table: Table, a_T: Array) -> float:
    """Standard error of natural's own level: blocks move it against the checkpoint, which all of them start from."""
    level_N = (table.loss_NT @ a_T)[table.natural_N]
    return float(np.std(level_N, ddof=1) / np.sqrt(len(level_N))) if len(level_N) > 1 else 0.0


def _simplified(problem: Problem, question: Question, optimum_D: Array, w_D: Array) -> Simplified | None:
    if np.array_equal(w_D, optimum_D):
        return None
    triples = zip(problem.domains, optimum_D.tolist(), w_D.tolist(), strict=True)
    dropped = {domain: share for domain, share, left in triples if left == 0 and share > 1e-9}
    cost = float(question.value(w_D) - question.value(optimum_D))
    return Simplified(dropped, STEP, max(cost, 0.0))


def _mixture(problem: Problem, w_D: Array) -> Mixture:
    return Mixture.from_array(problem.domains, w_D)


def _starts(problem: Problem, table: Table) -> list[Array]:
    """Natural, the centre, uniform, the present blend, and the three best runs by their difference to natural."""
    named_D = anchors(problem.around, problem.feasible())
    value_N = table.loss_NT @ mean_weights(problem.objective, table.targets)
    gain_N = np.where(np.isfinite(table.paired(value_N)), table.paired(value_N), np.inf)
    best = np.argsort(gain_N, kind="stable")[:3]
    own = [] if problem.present is None else [problem.feasible().project(problem.present.shares)]
    return [problem.natural.shares, named_D["centre"], named_D["uniform"], *own, *table.shares_ND[best]]


def _spread(wishes: list[Wish], known: set[tuple[Mixture, int]], n: int, blocks: int) -> list[tuple[Mixture, int]]:
    """The first `n` wishes that are new, those without a block where the fewest runs are."""
    taken, counts = set(known), [0] * blocks
    found: list[tuple[Mixture, int]] = []
    for mixture, wanted in wishes:
        block = min(range(blocks), key=lambda b: (counts[b], b)) if wanted is None else wanted
        if len(found) < n and (mixture, block) not in taken:
            taken.add((mixture, block))
            counts[block] += 1
            found.append((mixture, block))
    return found
