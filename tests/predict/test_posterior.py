"""Intervals must know the blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cuvee.methods.random import Random
from cuvee.predict.loglinear import LogLinear
from cuvee.predict.posterior import Difference
from cuvee.predict.ridge import RidgeLog
from cuvee.predict.table import Table
from cuvee.testing.worlds import play, world
from tests.predict.tables import make
from tests.predict.test_predictors import law

HERE, BASE = np.array([0.3, 0.3, 0.2, 0.1, 0.1]), np.full(5, 0.2)
ONE = np.array([1.0, 0.0, 0.0])


def test_one_block_gives_no_interval() -> None:
    difference = LogLinear().fit(make(law, blocks=1, noise=0.01)).difference(HERE, BASE, ONE)
    assert math.isfinite(difference.mean)
    assert math.isnan(difference.low)
    assert math.isnan(difference.p_below)
    assert math.isnan(difference.probability_below(1.0))


def test_interval_is_student_s_around_the_mean() -> None:
    d = RidgeLog().fit(make(law, blocks=4, noise=0.02)).difference(HERE, BASE, ONE)
    assert d.freedom == 3
    assert d.high - d.mean == pytest.approx(2.353 * d.error, rel=1e-3)
    assert d.probability_below(d.high) == pytest.approx(0.95, abs=1e-6)
    assert Difference(0.0, 0.0, 0.0, 0.0, 0.5, 3).probability_below(0.1) == 1.0


def test_nothing_is_surer_than_no_difference() -> None:
    d = RidgeLog().fit(make(law, noise=0.02)).difference(BASE, BASE, ONE)
    assert (d.mean, d.error) == (0.0, 0.0)


def test_error_slope_is_the_derivative() -> None:
    posterior, a_T = RidgeLog().fit(make(law, noise=0.02)), np.array([0.5, 0.2, 0.3])
    step = 1e-6
    numeric = [
        (posterior.error(HERE + step * e, BASE, a_T) - posterior.error(HERE - step * e, BASE, a_T)) / (2 * step)
        for e in np.eye(5)
    ]
    np.testing.assert_allclose(posterior.error_slope(HERE, BASE, a_T), numeric, rtol=1e-4, atol=1e-7)


def test_intervals_cover_at_a_mixture_fixed_beforehand() -> None:
    """Uniform minus natural in 16 worlds of the law, where blocks bend: nominal 90 %, expected 14 of 16."""
    covered = 0
    for seed in range(16):
        w = world("law", seed, domains=4)
        trials = play(w, Random(runs=24, blocks=4)).trials
        posterior = RidgeLog().fit(Table.from_trials(w.problem, trials))
        uniform_D, a_T = np.full(4, 0.25), np.full(4, 0.25)
        d = posterior.difference(uniform_D, w.problem.natural.shares, a_T)
        covered += d.low <= w.value(uniform_D) <= d.high
    assert 12 <= covered <= 16
