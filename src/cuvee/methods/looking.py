"""A look at a search so far: the fit, its optimum, candidates around it, and what is at stake over joint draws of them.

Letters: N runs, M candidates, D domains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from cuvee.methods.deciding import ask, replicate_optima, starts, weighed
from cuvee.methods.past import Weighed
from cuvee.mixture.designs import cloud
from cuvee.mixture.weights import Array, Mixture
from cuvee.plan.experts import mixtures as of_mixtures
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Trial
from cuvee.predict.combine import block_error
from cuvee.predict.detect import paired_noise
from cuvee.predict.optimise import Optimum, minimise
from cuvee.predict.posterior import Predictor
from cuvee.predict.question import Question
from cuvee.predict.regret import Batch, Stakes, batch
from cuvee.predict.table import Table

DRAWN = 100
"""Candidates drawn around the best, half of them towards corners of the set."""


@dataclass(frozen=True, eq=False)
class Look:
    """What a search knows.

    Args:
        fit: The predictor's, to the runs that it learns from.
        question: Its posterior, with the problem's objective, bounds and guards.
        optimum: The best mixture.
        mixtures: Candidates, of which the first is the optimum.
        tasted, done: Candidate -> the blocks in which it ended, and those in which it ended well.
        stakes: Joint draws at the candidates.
        noise: Paired noise between blocks, bits/byte; NaN where no mixture was tasted in two.
        missed: By how much the fit misses runs that it did not see, bits/byte.
    """

    fit: Weighed
    question: Question
    optimum: Optimum
    mixtures: tuple[Mixture, ...]
    tasted: dict[Mixture, frozenset[int]]
    done: dict[Mixture, frozenset[int]]
    stakes: Stakes
    noise: float
    missed: float

    @classmethod
    def of(
        cls,
        problem: Problem,
        trials: Sequence[Trial],
        table: Table,
        predictor: str | Predictor,
        aversion: float,
        rng: np.random.Generator,
    ) -> Self:
        """A look at the runs of `table`, those of `trials` that are done."""
        fit = weighed(problem, table, predictor)
        question = ask(problem, fit, aversion)
        optimum = minimise(question, starts(problem, table))
        tasted: dict[Mixture, frozenset[int]] = {}
        done: dict[Mixture, frozenset[int]] = {}
        known_ids = set(table.ids)
        for trial in sorted(of_mixtures(trials), key=lambda trial: trial.id):
            mixture = trial.plan.schedule.at(0)
            for blocks in (tasted, done) if trial.id in known_ids else (tasted,):
                blocks[mixture] = blocks.get(mixture, frozenset()) | {trial.plan.block}
        known = [m for m in tasted if question.feasible.contains(m.shares, 1e-9)]
        mixtures = tuple(dict.fromkeys(_candidates(problem, question, optimum.w_D, known, rng)))
        stakes = Stakes.of(question, np.array([m.shares for m in mixtures]), rng)
        noise, missed = paired_noise(table, question.a_T), block_error(fit.posterior, fit.table, question.a_T)
        return cls(fit, question, optimum, mixtures, tasted, done, stakes, noise, missed)

    @property
    def run_noise(self) -> float:
        """Standard deviation of one run of the objective, bits/byte: a paired difference holds the noise of two. Where no mixture
        was tasted in two blocks, what the fit misses of runs that it did not see, which is more, never less."""
        return self.missed if math.isnan(self.noise) else self.noise / math.sqrt(2)

    @property
    def regret(self) -> float:
        """The expected regret of the optimum; infinite where no mixture was found that keeps the guards."""
        return self.stakes.regret(0) if self.optimum.guarded else math.inf

    def sure_regret(self, blocks: int, but: Sequence[Mixture]) -> float:
        """The least expected regret of a mixture that was tasted in every block with success and is likelier than not to keep the
        guards; infinite without one."""
        ended = [i for i, m in enumerate(self.mixtures) if len(self.done.get(m, ())) >= blocks and m not in but]
        everywhere = [i for i in ended if self.stakes.sure_M[i] >= 0.5]
        return min((self.stakes.regret(i) for i in everywhere), default=math.inf)

    def ahead(self, count: int, most: int, rng: np.random.Generator) -> Batch:
        """The `count` runs to make next, none of a mixture that then would have been tasted more than `most` times."""
        limit_M = np.array([max(most - len(self.tasted.get(m, ())), 0) for m in self.mixtures], np.int64)
        return batch(self.stakes, self.run_noise, limit_M, count, rng)


def _candidates(
    problem: Problem, question: Question, best_D: Array, tasted: Sequence[Mixture], rng: np.random.Generator
) -> list[Mixture]:
    """Feasible mixtures that may be worth a run or a choice, the best first.

    Draws around the best, what was tasted, the optima without each block, and means of these with each
    other and with the best, which are feasible because the set is convex.
    """
    feasible = question.feasible
    drawn_ND = cloud(best_D, feasible, DRAWN, rng)
    corners_ND = np.vstack([*replicate_optima(question, best_D), drawn_ND, *(m.shares for m in tasted)])
    steps_N1 = rng.uniform(0.02, 0.6, (len(corners_ND), 1))
    towards_ND = (1 - steps_N1) * best_D + steps_N1 * corners_ND
    halves_N1 = rng.uniform(size=(len(corners_ND), 1))
    between_ND = halves_N1 * corners_ND + (1 - halves_N1) * rng.permutation(corners_ND)
    every_ND = np.vstack([best_D, corners_ND, towards_ND, between_ND])
    best, *others = [Mixture.from_array(problem.domains, w_D) for w_D in every_ND]
    return [best, *tasted, *others]
