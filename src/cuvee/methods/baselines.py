"""Mixtures without training: natural, uniform, temperature, UniMax, each projected onto the feasible set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cuvee.base.errors import UsageError
from cuvee.methods.explain import percent
from cuvee.mixture import closed_form
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Array, Mixture
from cuvee.plan.choice import Choice
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Plan, Trial


@dataclass(frozen=True)
class Natural:
    """The corpus's own shares of tokens: what every gain is measured against. Proposes no runs.

    In worlds with a known best mixture (`cuvee bench worlds`) it beat best-of-48 random in 13 % of 300.
    """

    name: ClassVar[str] = "natural"

    def propose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> tuple[Plan, ...]:
        """Nothing."""
        return ()

    def choose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> Choice:
        """Natural, projected onto the caps."""
        return _fixed(self.name, problem, problem.natural, "The corpus's own shares of tokens.")


@dataclass(frozen=True)
class Uniform:
    """The same share for every domain. Often hard to beat on the mean over all domains. Proposes no runs.

    In worlds with a known best mixture (`cuvee bench worlds`) it beat best-of-48 random in 61 % of 300: less than the 80 % asked.
    """

    name: ClassVar[str] = "uniform"

    def propose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> tuple[Plan, ...]:
        """Nothing."""
        return ()

    def choose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> Choice:
        """Uniform, projected onto the caps."""
        return _fixed(self.name, problem, _mixture(problem, closed_form.uniform(problem.tokens)), "Equal shares.")


@dataclass(frozen=True)
class Temperature:
    """Shares in proportion to n_i^(1/tau): natural at tau = 1, uniform as tau grows. Proposes no runs.

    In worlds with a known best mixture (`cuvee bench worlds`) tau 2 beat best-of-48 random in 44 % of 300: less than the 80 % asked.

    Args:
        tau: The temperature; 2 gives square roots of the token counts.
    """

    name: ClassVar[str] = "temperature"
    citation: ClassVar[tuple[str, ...]] = (
        "Conneau et al. 2020, Unsupervised Cross-lingual Representation Learning at Scale, arXiv:1911.02116",
    )
    tau: float = 2.0

    def __post_init__(self) -> None:
        if not self.tau > 0:
            raise UsageError(f"temperature: got tau {self.tau}", wanted="tau > 0: 1 is natural, larger is flatter")

    def propose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> tuple[Plan, ...]:
        """Nothing."""
        return ()

    def choose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> Choice:
        """The tempered mixture, projected onto the caps."""
        w_D = closed_form.temperature(problem.tokens, self.tau)
        why = f"Shares in proportion to token counts to the power 1/{self.tau:g}."
        return _fixed(self.name, problem, _mixture(problem, w_D), why)


@dataclass(frozen=True)
class UniMax:
    """As uniform as a cap on epochs allows (Chung et al. 2023). Proposes no runs.

    In worlds with a known best mixture (`cuvee bench worlds`) it beat best-of-48 random in 61 % of 300: less than the 80 % asked.

    Args:
        max_epochs: Largest passes over any domain in the target run; None takes the problem's, or 4 without one.
    """

    name: ClassVar[str] = "unimax"
    citation: ClassVar[tuple[str, ...]] = (
        "Chung et al. 2023, UniMax: Fairer and more Effective Language Sampling, arXiv:2304.09151",
    )
    max_epochs: float | None = None

    def __post_init__(self) -> None:
        if self.max_epochs is not None and not self.max_epochs > 0:
            raise UsageError(f"unimax: got max_epochs {self.max_epochs}", wanted="max_epochs > 0")

    def propose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> tuple[Plan, ...]:
        """Nothing."""
        return ()

    def choose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> Choice:
        """UniMax's mixture, projected onto the caps."""
        epochs = self.max_epochs or problem.max_epochs or 4.0
        w_D = closed_form.unimax(problem.tokens, problem.target_tokens, epochs)
        why = f"Equal shares, but no domain seen more than {epochs:g} times in {problem.target_tokens:,} tokens."
        return _fixed(self.name, problem, _mixture(problem, w_D), why)


def _mixture(problem: Problem, w_D: Array) -> Mixture:
    return Mixture.from_array(problem.domains, w_D)


def _fixed(name: str, problem: Problem, wanted: Mixture, why: str) -> Choice:
    mixture = problem.feasible().project_mixture(wanted)
    moved = float(np.abs(mixture.shares - wanted.shares).sum()) / 2
    projected = (f"The bounds moved {percent(moved)} of the tokens.",) if mixture != wanted else ()
    return Choice(method=name, schedule=Schedule.constant(mixture), why=(why, *projected))
