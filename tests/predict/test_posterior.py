"""Intervals must know the blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.special import stdtrit

from cuvee.base.errors import UsageError
from cuvee.methods.random import Random
from cuvee.mixture.weights import Array
from cuvee.predict.combine import block_error
from cuvee.predict.loglinear import LogLinear
from cuvee.predict.posterior import FOLDS, Difference, Fit, Posterior, Predictor, Smooth, crossed, groups, jackknife
from cuvee.predict.ridge import RidgeLog
from cuvee.predict.stack import Stack
from cuvee.predict.table import Table
from cuvee.testing.worlds import play, world
from tests.predict.tables import make
from tests.predict.test_predictors import law

pytestmark = pytest.mark.slow

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


def test_one_block_is_judged_by_folds_of_its_runs() -> None:
    table = make(law, blocks=1, noise=0.01)
    posterior = LogLinear().fit(table)
    assert len(posterior.replicates) == FOLDS
    assert np.ptp(np.bincount(groups(table))) <= 1
    difference = posterior.difference(HERE, BASE, ONE)
    assert difference.low < difference.mean < difference.high
    assert posterior.noise_T == pytest.approx(0.01, rel=0.35)


def test_one_run_gives_no_interval() -> None:
    posterior = LogLinear().fit(make(law, runs=1, blocks=1))
    difference = posterior.difference(HERE, BASE, ONE)
    assert posterior.freedom == 0
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


@pytest.fixture(scope="module")
def stacked() -> Posterior:
    return Stack().fit(make(law, blocks=4, noise=0.02))


def test_doubts_add_in_squares(stacked: Posterior) -> None:
    bare = replace(stacked, doubts=())
    with_, without = stacked.difference(HERE, BASE, ONE), bare.difference(HERE, BASE, ONE)
    doubted = sum(np.linalg.norm(doubt.factor(HERE, BASE) @ ONE) ** 2 for doubt in stacked.doubts)
    assert doubted > 0
    assert with_.mean == without.mean
    assert with_.error**2 == pytest.approx(without.error**2 + doubted)
    assert with_.freedom > without.freedom
    assert stacked.error(HERE, BASE, ONE) == with_.error


@pytest.mark.parametrize("blocks", [1, 4])
def test_draws_have_the_error_as_their_spread(blocks: int) -> None:
    posterior = Stack().fit(make(law, blocks=blocks, noise=0.02))
    w_ND = np.array([HERE, BASE, [0.9, 0.1, 0.0, 0.0, 0.0], [0.0, 0.0, 0.2, 0.4, 0.4]])
    drawn_SNT = posterior.draws(w_ND, 4000, np.random.default_rng(0))
    assert drawn_SNT.shape == (4000, 4, 3)
    for a_T, slack in ((ONE, 0.05), (np.array([0.5, 0.2, 0.3]), 0.1)):
        for i, j in ((0, 1), (2, 1), (2, 3)):
            drawn_S = (drawn_SNT[:, i] - drawn_SNT[:, j]) @ a_T
            error = posterior.error(w_ND[i], w_ND[j], a_T)
            assert drawn_S.mean() == pytest.approx(posterior.value(w_ND[i], w_ND[j], a_T), abs=5 * error / 4000**0.5)
            assert drawn_S.std() == pytest.approx(error, rel=slack)


def test_two_blocks_have_one_degree_of_freedom() -> None:
    d = RidgeLog().fit(make(law, blocks=2, noise=0.02)).difference(HERE, BASE, ONE)
    assert d.freedom == 1
    assert d.high - d.mean == pytest.approx(6.314 * d.error, rel=1e-3)


def test_nothing_is_surer_than_no_difference() -> None:
    d = RidgeLog().fit(make(law, noise=0.02)).difference(BASE, BASE, ONE)
    assert (d.mean, d.error) == (0.0, 0.0)


@pytest.mark.parametrize("predictor", [RidgeLog(), Stack()], ids=["ridge-log", "stack"])
def test_error_slope_is_the_derivative(predictor: Predictor) -> None:
    posterior, a_T = predictor.fit(make(law, noise=0.02)), np.array([0.5, 0.2, 0.3])
    step = 1e-6
    numeric = [
        (posterior.error(HERE + step * e, BASE, a_T) - posterior.error(HERE - step * e, BASE, a_T)) / (2 * step)
        for e in np.eye(5)
    ]
    np.testing.assert_allclose(posterior.error_slope(HERE, BASE, a_T), numeric, rtol=1e-3, atol=1e-7)


def test_a_fit_without_derivatives_says_so() -> None:
    @dataclass(frozen=True)
    class Steps:
        def loss(self, w_ND: Array) -> Array:
            return np.round(w_ND[:, :3], 1)

    posterior = Posterior(Steps(), {}, np.zeros((3, 3)))
    assert not isinstance(Steps(), Smooth)
    with pytest.raises(UsageError, match="Steps has no derivatives"):
        posterior.slope(HERE, ONE)


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


def test_runs_of_one_mixture_are_left_out_together() -> None:
    table = make(lambda w_ND: w_ND[:, :2], runs=24, blocks=1)
    thrice = replace(table, mixture_N=np.repeat(np.arange(8, dtype=np.int64), 3))
    parts = groups(thrice).reshape(8, 3)
    assert (parts == parts[:, :1]).all()
    assert len(np.unique(parts)) == 8
    moved = replace(table, mixture_N=table.mixture_N[::-1] + 5)  # numbers do not matter where every mixture ran once
    np.testing.assert_array_equal(groups(table), groups(moved))


@dataclass(frozen=True)
class Parrot:
    """Says of a mixture what the fitted runs of it scored, and of others nothing at all."""

    def fit_once(self, table: Table, start: Fit | None) -> Heard:
        return Heard({w_D.tobytes(): table.loss_NT[i] for i, w_D in enumerate(table.shares_ND)}, len(table.targets))

    def fit(self, table: Table) -> Posterior:
        return jackknife(table, self.fit_once)


@dataclass(frozen=True, eq=False)
class Heard:
    """What was heard of each mixture."""

    known: dict[bytes, Array]
    targets: int

    def loss(self, w_ND: Array) -> Array:
        return np.array([self.known.get(w_D.tobytes(), np.zeros(self.targets)) for w_D in w_ND])


def test_where_blocks_hold_the_same_mixtures_these_are_foretold_without_them() -> None:
    once = make(law, runs=16, blocks=1)
    four = [once] * 4
    both = replace(
        once,
        shares_ND=np.concatenate([t.shares_ND for t in four]),
        loss_NT=np.concatenate([t.loss_NT for t in four]),
        block_N=np.repeat(np.arange(4, dtype=np.int64), 16),
        ids=tuple(f"{i}" for i in range(64)),
        mixture_N=np.tile(once.mixture_N, 4),
    )
    assert crossed(both)
    assert not crossed(once)
    posterior = Parrot().fit(both)
    spread = float(np.std(both.loss_NT @ ONE))
    assert len(posterior.replicates) == 4, "intervals still are of blocks"
    assert block_error(posterior, both, ONE) >= 0.9 * spread, "a parrot foretells nothing"
    assert posterior.noise_T is not None
    np.testing.assert_array_equal(Stack().fit(both).unseen_NT is None, False)


def test_references_in_every_block_do_not_make_it_crossed() -> None:
    table = make(law, runs=24, blocks=4)
    mixture_N = np.where(np.arange(24) < 4, 0, np.where(np.arange(24) < 8, 1, np.arange(24)))
    block_N = np.arange(24) % 4
    assert not crossed(replace(table, mixture_N=mixture_N, block_N=block_N))
