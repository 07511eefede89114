"""Methods broken on purpose: the suite must catch each by the check that is meant for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest

from cuvee.methods.baselines import Natural
from cuvee.methods.contract import Method
from cuvee.methods.random import Random
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.plan.choice import Choice, Estimate
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Plan, Trial
from cuvee.testing.methods import CHECKS, failures

SMALL = Random(runs=9, blocks=3)
Trials = Sequence[Trial]
Rng = np.random.Generator


@dataclass(frozen=True)
class Sound:
    """Sound, and what the broken methods below change one thing of."""

    name: ClassVar[str] = "sound"

    def propose(self, problem: Problem, trials: Trials, rng: Rng) -> tuple[Plan, ...]:
        return SMALL.propose(problem, trials, rng)

    def choose(self, problem: Problem, trials: Trials, rng: Rng) -> Choice:
        return replace(SMALL.choose(problem, trials, rng), method=self.name)


@dataclass
class NotFrozen:
    """Broken: a dataclass that may be changed between the calls of a study."""

    name: ClassVar[str] = "not frozen"
    runs: int = 3

    def propose(self, problem: Problem, trials: Trials, rng: Rng) -> tuple[Plan, ...]:
        return ()

    def choose(self, problem: Problem, trials: Trials, rng: Rng) -> Choice:
        return Natural().choose(problem, trials, rng)


@dataclass(frozen=True)
class NoCard(Sound):
    __doc__ = None


@dataclass(frozen=True)
class Remembers(Sound):
    """Broken: what it proposes depends on what it was asked before."""

    asked: list[int] = field(default_factory=list, compare=False)

    def propose(self, problem: Problem, trials: Trials, rng: Rng) -> tuple[Plan, ...]:
        self.asked.append(1)
        return super().propose(problem, trials, np.random.default_rng(len(self.asked)))


@dataclass(frozen=True)
class OwnDice(Sound):
    """Broken: draws from a generator that nobody seeded."""

    def propose(self, problem: Problem, trials: Trials, rng: Rng) -> tuple[Plan, ...]:
        return super().propose(problem, trials, np.random.default_rng())


@dataclass(frozen=True)
class OwnDiceInChoice(Sound):
    """Broken: the choice depends on chance that the study does not hold."""

    def choose(self, problem: Problem, trials: Trials, rng: Rng) -> Choice:
        w_D = problem.feasible().project(np.random.default_rng().random(len(problem.domains)))
        return Choice(self.name, Schedule.constant(Mixture.from_array(problem.domains, w_D)), why=("By chance.",))


@dataclass(frozen=True)
class FirstCome(Sound):
    """Broken: takes the first trial of those it is given, so the order decides."""

    def choose(self, problem: Problem, trials: Trials, rng: Rng) -> Choice:
        done = [t for t in trials if t.status == "done" and problem.feasible().contains(t.plan.schedule.at(0).shares)]
        return (
            replace(super().choose(problem, trials, rng), schedule=done[0].plan.schedule)
            if done
            else Natural().choose(problem, trials, rng)
        )


@dataclass(frozen=True)
class Corner(Sound):
    """Broken: puts everything on one domain, whatever the caps say."""

    def choose(self, problem: Problem, trials: Trials, rng: Rng) -> Choice:
        corner = Mixture.from_array(problem.domains, np.eye(len(problem.domains))[-1])
        return replace(super().choose(problem, trials, rng), schedule=Schedule.constant(corner))


@dataclass(frozen=True)
class TastesOutside(Sound):
    """Broken: proposes runs outside the feasible set."""

    def propose(self, problem: Problem, trials: Trials, rng: Rng) -> tuple[Plan, ...]:
        corner = Mixture.from_array(problem.domains, np.eye(len(problem.domains))[-1])
        return () if trials else (problem.plan(corner, 0),)


@dataclass(frozen=True)
class Endless(Sound):
    """Broken: never has enough."""

    def propose(self, problem: Problem, trials: Trials, rng: Rng) -> tuple[Plan, ...]:
        return SMALL.propose(problem, (), rng)[-2:]


@dataclass(frozen=True)
class Retries(Sound):
    """Broken: proposes failed plans again, for ever the same ids."""

    def propose(self, problem: Problem, trials: Trials, rng: Rng) -> tuple[Plan, ...]:
        return tuple(t.plan for t in trials if t.status != "done") if trials else super().propose(problem, trials, rng)


@dataclass(frozen=True)
class Peeks(Sound):
    """Broken: scores its proxies on the verify split."""

    def propose(self, problem: Problem, trials: Trials, rng: Rng) -> tuple[Plan, ...]:
        return tuple(replace(p, split="verify") for p in super().propose(problem, trials, rng))


@dataclass(frozen=True)
class Enlarges(Sound):
    """Broken: gives its proxies larger pools than the problem's."""

    def propose(self, problem: Problem, trials: Trials, rng: Rng) -> tuple[Plan, ...]:
        return tuple(replace(p, pools=tuple(2 * n for n in p.pools)) for p in super().propose(problem, trials, rng))


@dataclass(frozen=True)
class TrustsFailures(Sound):
    """Broken: rests on every trial, failed ones too."""

    def choose(self, problem: Problem, trials: Trials, rng: Rng) -> Choice:
        return replace(super().choose(problem, trials, rng), evidence=tuple(t.id for t in trials))


@dataclass(frozen=True)
class NeedsTrials(Sound):
    """Broken: crashes when asked before any run ended."""

    def choose(self, problem: Problem, trials: Trials, rng: Rng) -> Choice:
        assert trials[0].plan
        return super().choose(problem, trials, rng)


@dataclass(frozen=True)
class Invents(Sound):
    """Broken: names evidence that nobody gave it."""

    def choose(self, problem: Problem, trials: Trials, rng: Rng) -> Choice:
        return replace(super().choose(problem, trials, rng), evidence=("0" * 32,))


@dataclass(frozen=True)
class Impostor(Sound):
    """Broken: signs with another method's name."""

    def choose(self, problem: Problem, trials: Trials, rng: Rng) -> Choice:
        return replace(super().choose(problem, trials, rng), method="regression")


@dataclass(frozen=True)
class Silent(Sound):
    """Broken: gives no reason."""

    def choose(self, problem: Problem, trials: Trials, rng: Rng) -> Choice:
        return replace(super().choose(problem, trials, rng), why=())


@dataclass(frozen=True)
class Arrays(Sound):
    """Broken: puts a numpy array where a figure belongs."""

    def choose(self, problem: Problem, trials: Trials, rng: Rng) -> Choice:
        return replace(super().choose(problem, trials, rng), diagnostics={"x": np.zeros(2)})  # type: ignore[dict-item]


@dataclass(frozen=True)
class Overconfident(Sound):
    """Broken: an interval that does not hold its mean."""

    def choose(self, problem: Problem, trials: Trials, rng: Rng) -> Choice:
        names = ["objective", *problem.domains, *(f"guard:{g.name}" for g in problem.guards)]
        wrong = tuple(Estimate(name, -0.1, 0.1, 0.2, 0.9) for name in names)
        return replace(super().choose(problem, trials, rng), predicted=wrong)


@dataclass(frozen=True)
class FewDomains(Sound):
    """Broken: works with at most ten domains."""

    def choose(self, problem: Problem, trials: Trials, rng: Rng) -> Choice:
        if len(problem.domains) > 10:
            raise IndexError("too many")
        return super().choose(problem, trials, rng)


@dataclass(frozen=True)
class NeedsSpread(Sound):
    """Broken: divides by the spread of the losses."""

    def choose(self, problem: Problem, trials: Trials, rng: Rng) -> Choice:
        losses = [t.loss(problem.domains[0]) for t in trials if t.status == "done"]
        if losses and np.ptp(losses) == 0:
            raise ZeroDivisionError
        return super().choose(problem, trials, rng)


BROKEN: list[tuple[Method, str]] = [
    (NotFrozen(), "card"),
    (NoCard(), "card"),
    (Remembers(), "repeatable"),
    (OwnDice(), "repeatable"),
    (OwnDiceInChoice(), "repeatable"),
    (FirstCome(), "order of trials"),
    (Corner(), "choice"),
    (TastesOutside(), "plans"),
    (Endless(), "plans"),
    (Retries(), "failures"),
    (Peeks(), "plans"),
    (Enlarges(), "plans"),
    (TrustsFailures(), "failures"),
    (NeedsTrials(), "choice"),
    (Invents(), "choice"),
    (Impostor(), "choice"),
    (Silent(), "choice"),
    (Arrays(), "json"),
    (Overconfident(), "choice"),
    (FewDomains(), "strange problems"),
    (NeedsSpread(), "strange trials"),
]


def test_the_sound_method_passes() -> None:
    assert failures(Sound()) == {}


@pytest.mark.parametrize(("method", "check"), BROKEN, ids=[type(m).__name__ for m, _ in BROKEN])
def test_broken_methods_are_caught(method: Method, check: str) -> None:
    with pytest.raises(Exception):  # noqa: B017
        CHECKS[check](method)


def test_every_check_catches_something() -> None:
    assert {check for _, check in BROKEN} == set(CHECKS)


def test_failures_says_what_is_broken() -> None:
    broken = failures(Silent())
    assert "choice" in broken
    assert "says why" in broken["choice"]
