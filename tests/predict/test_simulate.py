"""Optima of fits without gradients: a step function of a known law."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from cuvee.mixture.feasible import FeasibleSet, Group
from cuvee.mixture.rows import Row
from cuvee.mixture.weights import Array
from cuvee.predict import simulate
from cuvee.predict.loglinear import LogLinearFit
from cuvee.predict.optimise import minimise, near_optimal
from cuvee.predict.posterior import Posterior, Smooth
from cuvee.predict.question import ROOM, GuardRule, Question

pytestmark = pytest.mark.slow

LAW = LogLinearFit(np.ones(2), np.array([[-2.0, 0.4], [-0.5, -1.5], [0.3, -0.2], [0.1, 0.1]]))
SET = FeasibleSet(
    ("a", "b", "c", "d"), (0.05, 0, 0, 0), (0.6, 0.7, 1.0, 1.0), (Group("bc", ("b", "c"), 0.0, 0.5),),
    (Row("a per d", (("a", 1.0), ("d", -3.0)), high=0.0),),
)  # fmt: skip
BASE = np.array([0.2, 0.25, 0.25, 0.3])
BOTH = np.array([0.5, 0.5])


@dataclass(frozen=True, eq=False)
class Steps:
    """The law rounded to steps: no derivatives."""

    size: float = 0.005

    def loss(self, w_ND: Array) -> Array:
        return np.asarray(np.round(LAW.loss(w_ND) / self.size) * self.size, np.float64)


@pytest.fixture(autouse=True)
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "DRAWS", 20_000)


def asked(fit: Steps | LogLinearFit, guards: tuple[GuardRule, ...] = ()) -> Question:
    return Question(Posterior(fit, {}, np.zeros((2, 2))), SET, BASE, BOTH, guards)


def test_steps_are_not_smooth() -> None:
    assert not isinstance(Steps(), Smooth)
    assert isinstance(LAW, Smooth)


def test_the_simulated_optimum_is_near_the_true_one_and_inside() -> None:
    true, found = minimise(asked(LAW), [BASE]), minimise(asked(Steps()), [BASE])
    assert (true.how, found.how) == ("exact", "simulation")
    assert SET.contains(found.w_D, 1e-9)
    assert asked(LAW).value(found.w_D) < true.value + 0.01
    assert found.w_D.tolist() == minimise(asked(Steps()), [BASE]).w_D.tolist(), "the same every time"


def test_guards_are_kept_or_the_safest_is_said_to_break_them() -> None:
    rule = GuardRule("second", np.array([0.0, 1.0]), -0.19, 0.9)
    loose, held = minimise(asked(Steps()), [BASE]), minimise(asked(Steps(), (rule,)), [BASE])
    question = asked(Steps(), (rule,))
    assert question.room(rule, loose.w_D) < 0
    assert held.guarded
    assert question.room(rule, held.w_D) >= -ROOM
    hopeless = GuardRule("second", np.array([0.0, 1.0]), -1.0, 0.9)
    assert not minimise(asked(Steps(), (hopeless,)), [BASE]).guarded


def test_ranges_hold_the_optimum_and_keep_the_tolerance() -> None:
    question = asked(Steps())
    best = minimise(question, [BASE])
    low_D, high_D = near_optimal(question, best.w_D, 0.02)
    assert np.all(low_D <= best.w_D)
    assert np.all(high_D >= best.w_D)
    assert np.any(high_D - low_D > 0.02)
    true_low_D, true_high_D = near_optimal(asked(LAW), minimise(asked(LAW), [BASE]).w_D, 0.04)
    assert np.all(low_D >= true_low_D - 0.02)
    assert np.all(high_D <= true_high_D + 0.02)
