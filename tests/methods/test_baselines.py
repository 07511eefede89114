from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cuvee.base.errors import UsageError
from cuvee.methods import Natural, Temperature, Uniform, UniMax
from cuvee.methods.contract import Method
from cuvee.mixture.weights import Array
from cuvee.plan.problem import Problem, Proxy, Target

CHARACTERS = (179_955_884_499, 184_595_788_282, 42_541_080_893, 10_027_573_389, 549_707_867)
LANGUAGES = Problem(
    domains=("swe", "fas", "ekk", "isl", "fao"),
    tokens=CHARACTERS,
    target_tokens=250_000_000_000,
    objective=(Target("swe"),),
    proxy=Proxy(tokens=10_000_000_000),
    max_epochs=4.0,
)
RNG = np.random.default_rng(0)


def shares(method: Method, problem: Problem = LANGUAGES) -> Array:
    return method.choose(problem, (), RNG).schedule.at(0).shares


def test_unimax_is_its_published_example() -> None:
    tokens = shares(UniMax()) * 250e9
    np.testing.assert_allclose(tokens[[4, 3]], [2_198_831_468, 40_110_293_556], rtol=1e-6)
    np.testing.assert_allclose(tokens[:3], [69.23e9] * 3, rtol=1e-4)


def test_natural_uniform_and_the_limits_of_temperature() -> None:
    free = replace(LANGUAGES, max_epochs=None)
    np.testing.assert_allclose(shares(Natural(), free), np.array(CHARACTERS) / sum(CHARACTERS), atol=1e-9)
    np.testing.assert_allclose(shares(Uniform(), free), np.full(5, 0.2), atol=1e-9)
    np.testing.assert_allclose(shares(Temperature(1.0), free), shares(Natural(), free), atol=1e-9)
    np.testing.assert_allclose(shares(Temperature(1e9), free), shares(Uniform(), free), atol=1e-6)


def test_caps_move_baselines_and_they_say_so() -> None:
    choice = Uniform().choose(LANGUAGES, (), RNG)
    assert LANGUAGES.feasible().contains(choice.schedule.at(0).shares)
    assert any("bounds moved" in line for line in choice.why)
    assert choice.predicted == ()


def test_bad_hyperparameters() -> None:
    with pytest.raises(UsageError):
        Temperature(0.0)
    with pytest.raises(UsageError):
        UniMax(max_epochs=0.0)
