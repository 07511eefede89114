"""The optimiser against brute force and the optimality conditions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cuvee.mixture.feasible import FeasibleSet, Group
from cuvee.mixture.rows import Row
from cuvee.mixture.weights import Array
from cuvee.predict.loglinear import LogLinear, LogLinearFit
from cuvee.predict.optimise import minimise, near_optimal, simplify
from cuvee.predict.posterior import Posterior
from cuvee.predict.question import GuardRule, Question
from cuvee.predict.ridge import RidgeFit
from tests.predict.tables import make
from tests.predict.test_predictors import law

pytestmark = pytest.mark.slow

NAMES = ("a", "b", "c")
SLOPES = np.array([[-2.0, 0.4], [-0.5, -1.5], [0.3, -0.2]])
CAPPED = FeasibleSet(NAMES, (0.05, 0, 0), (0.6, 0.7, 1.0), (Group("bc", ("b", "c"), 0.0, 0.8),))
BASE = np.array([0.2, 0.3, 0.5])
BOTH = np.array([0.5, 0.5])


def certain(fit: LogLinearFit | RidgeFit) -> Posterior:
    return Posterior(fit, {}, np.zeros((2, 2)))


def convex_question(guards: tuple[GuardRule, ...] = ()) -> Question:
    return Question(certain(LogLinearFit(np.ones(2), SLOPES)), CAPPED, BASE, BOTH, guards)


def grid(feasible: FeasibleSet, step: float = 0.01) -> Array:
    ticks = np.arange(0, 1 + step, step)
    rows = [np.array([a, b, 1 - a - b]) for a, b in itertools.product(ticks, ticks) if a + b <= 1]
    return np.array([w_D for w_D in rows if feasible.contains(w_D)])


def values(question: Question, w_ND: Array, a_T: Array = BOTH) -> Array:
    """Objectives against the base, shape N."""
    predicted = question.posterior.mean(np.vstack([question.base_D, w_ND])) @ a_T
    return np.asarray(predicted[1:] - predicted[0], np.float64)


def test_convex_optimum_is_that_of_brute_force() -> None:
    question = convex_question()
    found = minimise(question, [BASE])
    best = values(question, grid(CAPPED)).min()
    assert CAPPED.contains(found.w_D)
    assert found.value <= best + 1e-9
    assert found.value == pytest.approx(best, abs=2e-4)


def test_optimality_conditions_hold_from_any_start() -> None:
    """At the optimum of a convex objective no feasible direction descends, whatever the start."""
    question = convex_question()
    rng = np.random.default_rng(0)
    starts = [rng.dirichlet(np.ones(3)) for _ in range(5)]
    ends = [minimise(question, [start]).w_D for start in starts]
    slope_D = question.slope(ends[0])
    for w_D in grid(CAPPED, 0.04):
        assert slope_D @ (w_D - ends[0]) >= -1e-5
    for end in ends:
        np.testing.assert_allclose(end, ends[0], atol=1e-3)


def test_several_basins_need_several_starts() -> None:
    """A ridge fit with a positive logarithm has a basin per corner; the best start wins."""
    two = RidgeFit(np.zeros(2), np.array([[0.0, 0.0], [0.2, 0.2], [0.3, 0.3]]), np.full((3, 2), 0.1), 1e-3)
    free = FeasibleSet(NAMES, (0, 0, 0), (1, 1, 1))
    question = Question(certain(two), free, BASE, BOTH)
    found = minimise(question, [BASE, *np.eye(3)])
    assert found.value <= values(question, grid(free)).min() + 1e-9


def test_guard_binds_and_costs() -> None:
    loose, second = minimise(convex_question(), [BASE]), np.array([0.0, 1.0])
    rise = convex_question().posterior.value(loose.w_D, BASE, second)
    rule = GuardRule("second", second, rise - 0.02, 0.9)
    question = convex_question((rule,))
    found = minimise(question, [BASE])
    assert found.guarded
    assert question.room(rule, found.w_D) == pytest.approx(0.0, abs=1e-5)
    rows = grid(CAPPED)
    allowed = rows[values(question, rows, second) <= rule.allowed]
    assert found.value <= values(question, allowed).min() + 1e-6
    assert found.value > loose.value


def test_a_guard_that_cannot_hold_is_answered_by_the_safest_mixture() -> None:
    rule = GuardRule("second", np.array([0.0, 1.0]), -1.0, 0.9)
    question = convex_question((rule,))
    found = minimise(question, [BASE])
    assert not found.guarded
    best_room = rule.allowed - values(question, grid(CAPPED), rule.a_T).min()
    assert question.room(rule, found.w_D) >= best_room - 1e-4


def test_guards_of_uncertain_posteriors_hold_at_their_probability() -> None:
    posterior = LogLinear().fit(make(law, noise=0.05, domains=5))
    free = FeasibleSet(("a", "b", "c", "d", "e"), (0,) * 5, (1,) * 5)
    base_D = np.full(5, 0.2)
    rule = GuardRule("first", np.array([1.0, 0.0, 0.0]), 0.01, 0.9)
    question = Question(posterior, free, base_D, np.array([0.0, 0.5, 0.5]), (rule,))
    found = minimise(question, [base_D])
    assert found.guarded
    assert found.value < 0
    assert posterior.difference(found.w_D, base_D, rule.a_T).probability_below(rule.allowed) >= 0.9 - 1e-4


def test_near_optimal_range_is_that_of_brute_force() -> None:
    question = convex_question()
    best = minimise(question, [BASE])
    low_D, high_D = near_optimal(question, best.w_D, 0.01)
    rows = grid(CAPPED)
    good = rows[values(question, rows) <= best.value + 0.01]
    np.testing.assert_allclose(low_D, good.min(0), atol=0.011)
    np.testing.assert_allclose(high_D, good.max(0), atol=0.011)


def test_near_optimal_ranges_of_fits_hold_the_optimum_and_the_tolerance() -> None:
    posterior = LogLinear().fit(make(law, noise=0.02, domains=5))
    free = FeasibleSet(("a", "b", "c", "d", "e"), (0,) * 5, (0.5,) * 5)
    question = Question(posterior, free, np.full(5, 0.2), np.full(3, 1 / 3))
    best = minimise(question, [np.full(5, 0.2)])
    low_D, high_D = near_optimal(question, best.w_D, 0.002)
    assert np.all(low_D <= best.w_D + 1e-9)
    assert np.all(high_D >= best.w_D - 1e-9)
    for i, share in itertools.product(range(5), (0, 1)):
        bounds = [low_D, high_D][share][i]
        # holding this domain beyond its range costs more than the tolerance, whatever the others do
        beyond = bounds + (-0.01, 0.01)[share]
        if 0 <= beyond <= 0.5:
            low, high = list(free.low), list(free.high)
            low[i] = high[i] = beyond
            fixed = FeasibleSet(free.domains, tuple(low), tuple(high))
            held = minimise(Question(posterior, fixed, np.full(5, 0.2), np.full(3, 1 / 3)), [best.w_D])
            assert held.value > best.value + 0.002 - 1e-5


@pytest.mark.parametrize(("cost", "dropped"), [(0.05, True), (0.0, False)])
def test_tiny_shares_are_dropped_when_it_is_cheap(cost: float, dropped: bool) -> None:
    free = FeasibleSet(NAMES, (0, 0, 0), (0.6, 0.7, 1))
    # the reversed objective: every step away costs
    question = Question(convex_question().posterior, free, BASE, -BOTH)
    w_D = np.array([0.5803, 0.3698, 0.0499])
    simple_D = simplify(question, w_D, tiny=0.06, step=0.001, cost=cost)
    assert free.contains(simple_D, 1e-9)
    assert bool(simple_D[2] == 0) == dropped
    assert np.array_equal(simple_D, w_D) != dropped


def test_rounding_leaves_caps_alone_and_respects_floors() -> None:
    bounded = FeasibleSet(("a", "b", "c", "d"), (0, 0, 0.0012, 0), (0.61234, 1, 1, 1))
    flat = LogLinearFit(np.ones(2), np.zeros((4, 2)))
    question = Question(certain(flat), bounded, np.full(4, 0.25), BOTH)
    simple_D = simplify(question, np.array([0.61234, 0.3856, 0.0012, 0.00086]), tiny=0.002, step=0.001, cost=1e-4)
    assert simple_D[0] == pytest.approx(0.61234, abs=1e-9)
    assert simple_D[3] == 0
    assert bounded.contains(simple_D, 1e-9)


def test_guarded_ranges_miss_no_mixture_that_is_good_and_allowed() -> None:
    """Random mixtures near the optimum: every one that meets objective and guard lies inside the ranges."""
    posterior = LogLinear().fit(make(law, noise=0.05, domains=5))
    free = FeasibleSet(("a", "b", "c", "d", "e"), (0,) * 5, (0.45,) * 5)
    base_D = np.full(5, 0.2)
    rule = GuardRule("first", np.array([1.0, 0.0, 0.0]), 0.03, 0.9)
    question = Question(posterior, free, base_D, np.array([0.0, 0.5, 0.5]), (rule,))
    best = minimise(question, [base_D])
    low_D, high_D = near_optimal(question, best.w_D, 0.02)
    rng = np.random.default_rng(0)
    near = [free.project(best.w_D + rng.normal(0, 0.05, 5)) for _ in range(300)]
    good = np.array([w_D for w_D in near if question.value(w_D) <= best.value + 0.02 and question.holds(w_D)])
    assert len(good) > 20
    assert np.all(good >= low_D - 1e-4)
    assert np.all(good <= high_D + 1e-4)
    assert best.value <= min(question.value(w_D) for w_D in good) + 1e-6


def test_convex_questions_are_solved_once_and_said_to_be_exact() -> None:
    found = minimise(convex_question(), [BASE, *np.eye(3)])
    assert found.how == "exact"
    many = minimise(Question(certain(LogLinearFit(np.ones(2), SLOPES)), CAPPED, BASE, -BOTH), [BASE, *np.eye(3)])
    assert many.how == "starts"


def test_one_mixture_left_by_caps_and_two_domains() -> None:
    fit = LogLinearFit(np.ones(2), SLOPES)
    only = FeasibleSet(NAMES, (0, 0, 0), (0.5, 0.3, 0.2))
    found = minimise(Question(certain(fit), only, BASE, BOTH), [BASE])
    np.testing.assert_allclose(found.w_D, [0.5, 0.3, 0.2], atol=1e-9)
    low_D, high_D = near_optimal(Question(certain(fit), only, BASE, BOTH), found.w_D, 0.01)
    np.testing.assert_allclose(high_D - low_D, 0.0, atol=1e-9)
    two = FeasibleSet(("a", "b"), (0, 0), (1, 1))
    pair = Question(certain(LogLinearFit(np.ones(2), SLOPES[:2])), two, np.array([0.5, 0.5]), BOTH)
    share_N = np.linspace(0, 1, 1001)
    value_N = values(pair, np.column_stack([share_N, 1 - share_N]))
    assert minimise(pair, [np.array([0.5, 0.5])]).w_D[0] == pytest.approx(share_N[value_N.argmin()], abs=2e-3)


def test_rows_bind_like_any_other_bound() -> None:
    row = Row("a per b", (("a", 1.0), ("b", -0.5)), high=0.0)
    bounded = FeasibleSet(NAMES, (0, 0, 0), (1, 1, 1), (), (row,))
    question = Question(certain(LogLinearFit(np.ones(2), SLOPES)), bounded, BASE, BOTH)
    found = minimise(question, [BASE])
    assert bounded.contains(found.w_D, 1e-9)
    best = values(question, grid(bounded)).min()
    assert best - 3e-3 < found.value <= best + 1e-9
