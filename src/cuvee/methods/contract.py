"""The contract of a method: trials in, plans or a choice out. `cuvee.testing.methods` checks it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from cuvee.mixture.weights import Mixture
from cuvee.plan.choice import Choice, Estimate
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Plan, Trial


class Method(Protocol):
    """A frozen dataclass of hyperparameters without state; its docstring is its card.

    Both calls depend on their arguments only. `trials` are the trials of earlier search rounds, done and not, sorted by
    id; `rng` is a fresh generator for the call, so the same study proposes and chooses the same again. A method never
    changes its arguments. What the rule is from stands in a class variable `citation`, a tuple of strings, if anything.
    """

    name: ClassVar[str]

    def propose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> tuple[Plan, ...]:
        """The next round of plans, made by `problem.plan`; empty when enough was seen.

        Called when every plan of the last round has ended. Plans of trials that ended are not proposed again, whatever
        their end. Mixtures lie in `problem.feasible()`, but for natural, the reference. Experts (`cuvee.plan.experts`), which are
        evidence about one domain and no candidates, lie where they do.
        """

    def choose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> Choice:
        """The schedule to use, given the trials so far (perhaps none): always in `problem.feasible()`."""


@runtime_checkable
class Staged(Protocol):
    """A method whose runs do not all see as many tokens: it says beforehand how many of each it makes."""

    def stages(self, problem: Problem) -> tuple[tuple[Plan, int], ...]:
        """How many runs like which plan, when none fails."""


@runtime_checkable
class Predictive(Protocol):
    """A method that can also say what mixtures would do which it did not choose."""

    def predict(
        self, problem: Problem, trials: Sequence[Trial], mixtures: Sequence[Mixture]
    ) -> tuple[tuple[Estimate, ...], ...]:
        """For each mixture the estimates that a choice of it would carry; empty ones when too few runs are done."""
