"""Other objectives and fronts, on runs of a world with known losses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cuvee.base.errors import UsageError
from cuvee.base.rng import generator
from cuvee.methods.baselines import Uniform
from cuvee.methods.regression import Regression
from cuvee.mixture.feasible import Group
from cuvee.plan.choice import Choice
from cuvee.plan.problem import Guard, Problem, Target
from cuvee.plan.trial import Trial
from cuvee.study.alternatives import Front, about, alternatives, pareto, targets_of
from tests.report import fakes

pytestmark = pytest.mark.slow

METHOD = Regression(runs=48, blocks=4, rounds=1, predictor="log-linear")


@pytest.fixture(scope="module")
def question() -> Problem:
    return fakes.problem(4, guards=False)


@pytest.fixture(scope="module")
def trials(question: Problem) -> tuple[Trial, ...]:
    rng, feasible = np.random.default_rng(0), question.feasible()
    plans = METHOD.propose(question, (), rng)
    assert all(feasible.contains(p.schedule.at(0).shares) or p.schedule.at(0) == question.natural for p in plans)
    return tuple(sorted((fakes.trial(question, p.schedule.at(0), p.block, rng) for p in plans), key=lambda t: t.id))


@pytest.fixture(scope="module")
def choice(question: Problem, trials: tuple[Trial, ...]) -> Choice:
    return METHOD.choose(question, trials, generator(0, "choose", 0))


@pytest.fixture(scope="module")
def front(question: Problem, trials: tuple[Trial, ...], choice: Choice) -> Front:
    return pareto(question, trials, METHOD, choice, "math", "code_c", points=5)


def test_the_declared_choice_is_the_best_under_the_declared_objective(
    question: Problem, trials: tuple[Trial, ...], choice: Choice
) -> None:
    found = alternatives(question, trials, METHOD, choice)
    assert found.about == about(choice)
    names = ["The declared objective", "Mean over all domains", "Mean over all domains by their tokens"]
    assert [c.name for c in found.choices] == names
    first, *others = found.choices
    assert first.mixture == choice.schedule.at(0)
    assert first.declared is not None
    assert first.declared.mean == pytest.approx(choice.predicted[0].mean, abs=1e-6)
    for other in others:
        assert other.declared is not None
        assert other.own is not None
        assert other.declared.mean > first.declared.mean
        # what the mean over all domains would gain is more than what the declared choice gives it
        assert other.mixture != first.mixture


def test_an_objective_that_is_the_declared_one_is_not_asked_again(trials: tuple[Trial, ...], question: Problem) -> None:
    whole = replace(question, objective=tuple(Target(d) for d in question.domains))
    choice = METHOD.choose(whole, trials, generator(0, "choose", 0))
    rows = alternatives(whole, trials, METHOD, choice).choices
    assert rows[1].mixture == rows[0].mixture


def test_a_method_that_predicts_nothing_still_shows_shares(question: Problem) -> None:
    chosen = Uniform().choose(question, (), generator(0, "choose", 0))
    rows = alternatives(question, (), Uniform(), chosen).choices
    assert {r.mixture for r in rows} == {chosen.schedule.at(0)}
    assert all(r.declared is None and r.own is None for r in rows)
    with pytest.raises(UsageError, match="predicts nothing"):
        pareto(question, (), Uniform(), chosen, "math", "code_c")


def test_the_front_goes_from_one_best_to_the_other(front: Front, question: Problem) -> None:
    a, b = [p.a.mean for p in front.points], [p.b.mean for p in front.points]
    assert len(front.points) + front.duplicates + front.dominated == 5
    assert len(front.points) >= 3
    assert a == sorted(a)
    assert b == sorted(b, reverse=True)
    math, code = ([p.mixture.share(d) for p in front.points] for d in ("math", "code_c"))
    assert math[0] > math[-1]
    assert code[0] < code[-1]
    feasible = question.feasible()
    assert all(feasible.contains(p.mixture.shares, 1e-6) for p in front.points)
    assert all(p.a.low < p.a.mean < p.a.high for p in front.points)


def test_the_front_agrees_with_the_world(front: Front, question: Problem) -> None:
    """Its ends are better than natural where they should be, as the formula behind the runs says."""
    for point, i in ((front.points[0], 0), (front.points[-1], 1)):
        true = fakes.loss(point.mixture.shares, i) - fakes.loss(question.natural.shares, i)
        estimate = point.a if i == 0 else point.b
        assert estimate.mean == pytest.approx(true, abs=0.02)


def test_the_choice_and_the_present_blend_are_marked(
    question: Problem, trials: tuple[Trial, ...], choice: Choice, front: Front
) -> None:
    assert list(front.marks) == ["choice"]
    assert front.marks["choice"].mixture == choice.schedule.at(0)
    today = replace(question, present=question.natural)
    marked = pareto(today, trials, METHOD, choice, "math", "prose,law & order", points=3).marks
    assert list(marked) == ["choice", "present blend"]
    assert marked["present blend"].a.mean == pytest.approx(0, abs=0.01)  # natural, projected onto the caps


def test_equal_and_dominated_points_are_counted(question: Problem, trials: tuple[Trial, ...], choice: Choice) -> None:
    """A set of one mixture gives one point, whatever is asked."""
    w_D = question.feasible().project(np.full(4, 0.25))
    only = replace(
        question, groups=tuple(Group(d, (d,), float(w), float(w)) for d, w in zip(question.domains, w_D, strict=True))
    )
    found = pareto(only, trials, METHOD, choice, "math", "code_c", points=4)
    assert (len(found.points), found.duplicates, found.dominated) == (1, 3, 0)


@pytest.mark.parametrize(("a", "b", "points"), [("math", "math", 9), ("math", "code_c", 2), ("math", "math,math", 5)])
def test_fronts_that_make_no_sense_are_refused(
    question: Problem, trials: tuple[Trial, ...], choice: Choice, a: str, b: str, points: int
) -> None:
    with pytest.raises(UsageError, match="two different objectives"):
        pareto(question, trials, METHOD, choice, a, b, points)


def test_names(question: Problem) -> None:
    named = replace(
        question,
        groups=(Group("code", ("code_c",), 0, 1),),
        guards=(Guard("rest", (Target("prose", 2.0),), 0.1),),
    )
    assert targets_of(named, "math") == (Target("math"),)
    assert targets_of(named, "code") == (Target("code_c"),)
    assert targets_of(named, "rest") == (Target("prose", 2.0),)
    assert targets_of(named, "objective") == named.objective
    assert targets_of(named, "all-domains") == tuple(Target(d) for d in named.domains)
    assert targets_of(named, "math, prose") == (Target("math"), Target("prose"))
    with pytest.raises(UsageError, match=r"(?s)no target 'maths'.*did you mean 'math'"):
        targets_of(named, "maths")
