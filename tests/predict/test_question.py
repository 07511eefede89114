"""The objective with aversion and pull: values, slopes, closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cuvee.base.errors import UsageError
from cuvee.mixture.feasible import FeasibleSet
from cuvee.mixture.weights import Array
from cuvee.predict.loglinear import LogLinear, LogLinearFit
from cuvee.predict.optimise import minimise
from cuvee.predict.posterior import Posterior
from cuvee.predict.question import GuardRule, Question, divergence
from cuvee.predict.ridge import RidgeFit, RidgeLog
from tests.predict.tables import make
from tests.predict.test_predictors import law

FIVE = FeasibleSet(("a", "b", "c", "d", "e"), (0,) * 5, (1,) * 5)
BASE = np.array([0.1, 0.3, 0.2, 0.25, 0.15])
MEAN = np.full(3, 1 / 3)


def uncertain() -> Posterior:
    return RidgeLog().fit(make(law, noise=0.05, domains=5))


@pytest.mark.parametrize(("aversion", "pull"), [(0.0, 0.0), (1.0, 0.0), (0.0, 0.02), (0.7, 0.03)])
def test_slopes_are_the_derivatives(aversion: float, pull: float) -> None:
    question = Question(uncertain(), FIVE, BASE, MEAN, (), aversion, pull)
    for w_D in np.random.default_rng(0).dirichlet(np.ones(5), 5):
        step = 1e-6 * np.eye(5)
        numeric = [(question.value(w_D + s) - question.value(w_D - s)) / 2e-6 for s in step]
        np.testing.assert_allclose(question.slope(w_D), numeric, rtol=1e-4, atol=1e-6)


def test_the_objective_is_the_prediction_with_its_error_and_distance() -> None:
    posterior = uncertain()
    question = Question(posterior, FIVE, BASE, MEAN, (), 2.0, 0.1)
    w_D = np.array([0.5, 0.0, 0.1, 0.2, 0.2])
    error = posterior.error(w_D, BASE, MEAN)
    distance = sum(w * math.log(w / b) for w, b in zip(w_D, BASE, strict=True) if w > 0)
    wanted = posterior.value(w_D, BASE, MEAN) + 2.0 * error + 0.1 * distance
    assert question.value(w_D) == pytest.approx(wanted, abs=3e-4)  # the kink of the error is rounded off
    assert question.value(BASE) == pytest.approx(0.0, abs=1e-12)


def test_a_pull_on_a_linear_loss_gives_the_softmax() -> None:
    """min loss @ w + pull KL(w || base): base x exp(-loss / pull), normalised."""
    loss_D, pull = np.array([0.05, 0.01, 0.0, 0.03, -0.02]), 0.05
    fit = RidgeFit(np.zeros(1), loss_D[:, None], np.zeros((5, 1)), 1e-3)
    question = Question(Posterior(fit, {}, np.zeros((1, 1))), FIVE, BASE, np.ones(1), pull=pull)
    wanted_D = BASE * np.exp(-loss_D / pull)
    found = minimise(question, [np.full(5, 0.2)])
    assert found.how == "exact"
    np.testing.assert_allclose(found.w_D, wanted_D / wanted_D.sum(), atol=2e-4)


def test_what_the_base_lacks_is_far_and_not_infinite() -> None:
    base_D = np.array([0.5, 0.5, 0.0])
    assert divergence(np.array([1.0, 0.0, 0.0]), base_D) == pytest.approx(math.log(2))
    assert 1 < divergence(np.array([0.4, 0.4, 0.2]), base_D) < 10


def test_aversion_gives_up_prediction_for_sureness() -> None:
    posterior = uncertain()
    bold, wary = (minimise(Question(posterior, FIVE, BASE, MEAN, (), a), [BASE, np.full(5, 0.2)]) for a in (0.0, 3.0))
    assert posterior.value(wary.w_D, BASE, MEAN) >= posterior.value(bold.w_D, BASE, MEAN) - 1e-9
    assert posterior.error(wary.w_D, BASE, MEAN) < posterior.error(bold.w_D, BASE, MEAN)


def test_without_an_error_aversion_counts_for_nothing() -> None:
    one = Posterior(LogLinearFit(np.ones(3), np.zeros((5, 3))), {}, np.zeros((3, 3)))
    assert not Question(one, FIVE, BASE, MEAN, aversion=1.0).averse
    assert Question(one, FIVE, BASE, MEAN, aversion=1.0).value(np.full(5, 0.2)) == pytest.approx(0.0)


def test_convex_only_where_all_of_it_is() -> None:
    posterior = LogLinear().fit(make(law, domains=5))
    certain = Posterior(posterior.full, {}, posterior.usual_TT)
    rule = GuardRule("g", np.eye(3)[0], 0.01, 0.9)
    assert Question(posterior, FIVE, BASE, MEAN, pull=0.1).convex
    assert Question(certain, FIVE, BASE, MEAN, (rule,)).convex
    assert not Question(posterior, FIVE, BASE, MEAN, (rule,)).convex, "a guard's error is not convex"
    assert not Question(posterior, FIVE, BASE, MEAN, aversion=0.1).convex
    assert not Question(posterior, FIVE, BASE, -MEAN).convex


def test_a_mixture_is_predicted_once_for_value_slope_and_guards() -> None:
    calls: list[str] = []

    class Counted(LogLinearFit):
        def loss(self, w_ND: Array) -> Array:
            calls.append("loss")
            return super().loss(w_ND)

    fit = Counted(np.ones(3), np.ones((5, 3)))
    rule = GuardRule("g", np.eye(3)[0], 0.01, 0.9)
    question = Question(Posterior(fit, {}, np.zeros((3, 3))), FIVE, BASE, MEAN, (rule,))
    for w_D in (np.full(5, 0.2), np.full(5, 0.2)):
        question.value(w_D), question.slope(w_D), question.room(rule, w_D), question.holds(w_D)
    assert len(calls) == 2, "the mixture and the base"


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf")])
def test_bad_weights_are_refused(bad: float) -> None:
    for fields in ((bad, 0.0), (0.0, bad)):
        with pytest.raises(UsageError):
            Question(uncertain(), FIVE, BASE, MEAN, (), *fields)
