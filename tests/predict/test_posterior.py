"""Intervals must know the blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.special import stdtrit

from cuvee.methods.random import Random
from cuvee.mixture.weights import Array
from cuvee.predict.combine import select
from cuvee.predict.loglinear import LogLinear
from cuvee.predict.posterior import Difference, Fit, Posterior, Rivals
from cuvee.predict.ridge import RidgeLog
from cuvee.predict.table import Table
from cuvee.testing.worlds import play, world
from tests.predict.tables import make
from tests.predict.test_predictors import law

HERE, BASE = np.array([0.3, 0.3, 0.2, 0.1, 0.1]), np.full(5, 0.2)
ONE = np.array([1.0, 0.0, 0.0])


@dataclass(frozen=True, eq=False)
class Flat:
    """A plane that differs by `step_T` between HERE and BASE."""

    step_T: Array

    def loss(self, w_ND: Array) -> Array:
        return np.asarray(np.outer((w_ND[:, 0] - BASE[0]) / (HERE[0] - BASE[0]), self.step_T), np.float64)

    def gradient(self, w_D: Array) -> Array:
        return np.asarray(np.outer(self.step_T, np.eye(len(w_D))[0]) / (HERE[0] - BASE[0]), np.float64)

    def convex(self, a_T: Array) -> bool:
        return True


def test_one_block_gives_no_interval() -> None:
    difference = LogLinear().fit(make(law, blocks=1, noise=0.01)).difference(HERE, BASE, ONE)
    assert math.isfinite(difference.mean)
    assert math.isnan(difference.low)
    assert math.isnan(difference.p_below)
    assert math.isnan(difference.probability_below(1.0))


def test_interval_is_student_s_around_the_mean() -> None:
    d = RidgeLog().fit(make(law, blocks=4, noise=0.02)).difference(HERE, BASE, ONE)
    assert 3 <= d.freedom <= 9  # three targets of three degrees of freedom each
    assert d.high - d.mean == pytest.approx(stdtrit(d.freedom, 0.95) * d.error)
    assert d.probability_below(d.high) == pytest.approx(0.95, abs=1e-6)
    assert Difference(0.0, 0.0, 0.0, 0.0, 0.5, 3).probability_below(0.1) == 1.0


def test_freedom_counts_targets_that_move_apart() -> None:
    """Box's theorem: one target has B - 1 degrees of freedom, and so have many that move as one."""
    table = make(law, blocks=4, noise=0.02)
    for copies in (1, 5):
        same = replace(
            table, targets=tuple(map(str, range(copies))), loss_NT=np.repeat(table.loss_NT[:, :1], copies, 1)
        )
        assert RidgeLog().fit(same).difference(HERE, BASE, np.full(copies, 1 / copies)).freedom == 3
    assert RidgeLog().fit(table).difference(HERE, BASE, ONE).freedom > 3


def test_freedom_is_that_of_the_variance() -> None:
    """A variance of f degrees of freedom has a relative variance of 2 / f: simulated replicates of five targets."""
    rng, a_T = np.random.default_rng(0), np.array([1.0, 0.0, 0.0, 0.0, 0.0])
    usual_TT = 0.3 + 0.7 * np.eye(5)
    root_TT = np.linalg.cholesky(usual_TT)
    flat = Flat(np.zeros(5))
    squares = []
    for _ in range(4000):
        fits: dict[int, Fit] = {b: Flat(root_TT @ rng.normal(size=5)) for b in range(4)}
        squares.append(Posterior(flat, fits, usual_TT).error(HERE, BASE, a_T) ** 2)
    expected = 2 * np.mean(squares) ** 2 / np.var(squares)
    found = Posterior(flat, dict.fromkeys(range(4), flat), usual_TT)._own_freedom(a_T)
    assert found == pytest.approx(expected, rel=0.1)
    assert found > 3


def test_candidates_that_disagree_widen_the_interval_and_not_the_guard_s_error() -> None:
    table = make(law, blocks=4, noise=0.02)
    _, posterior = select(table, ONE)
    bare = replace(posterior, rivals=None)
    assert posterior.rivals is not None
    with_, without = posterior.difference(HERE, BASE, ONE), bare.difference(HERE, BASE, ONE)
    spread = posterior.rivals.spread(with_.mean, HERE, BASE, ONE)
    assert with_.mean == without.mean
    assert with_.error**2 == pytest.approx(without.error**2 + spread)
    assert posterior.error(HERE, BASE, ONE) == without.error


def test_stacking_finds_the_share_that_predicts_best() -> None:
    """Against a grid of shares."""
    rng = np.random.default_rng(0)
    one_NT, other_NT, a_T = 0.5 * rng.normal(size=(40, 3)), rng.normal(size=(40, 3)), np.array([0.5, 0.3, 0.2])
    flat, parted_NT = Flat(np.zeros(3)), other_NT - one_NT
    rivals = Rivals(flat, flat, parted_NT.T @ parted_NT, parted_NT.T @ one_NT)
    grid = np.linspace(0, 1, 1001)
    errors = [np.sum((((1 - s) * one_NT + s * other_NT) @ a_T) ** 2) for s in grid]
    assert rivals.share(a_T) == pytest.approx(grid[np.argmin(errors)], abs=1e-3)
    assert 0 < rivals.share(a_T) < 1


def test_two_blocks_have_one_degree_of_freedom() -> None:
    table = make(law, blocks=2, noise=0.02)
    d = select(table, ONE)[1].difference(HERE, BASE, ONE)
    assert d.freedom == 1
    assert d.high - d.mean == pytest.approx(6.314 * d.error, rel=1e-3)


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
