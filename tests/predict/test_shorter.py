"""Shorter runs as the mean function of longer ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cuvee.mixture.weights import Array
from cuvee.predict.evidence import InformedFit
from cuvee.predict.power import PowerLaw
from cuvee.predict.ridge import RidgeLog
from cuvee.predict.shorter import Climbing
from cuvee.predict.table import Table

pytestmark = pytest.mark.slow

DOMAINS = ("a", "b", "c")


def losses(w_ND: Array) -> Array:
    return np.asarray(1.0 + 0.3 * np.exp(-3 * w_ND[:, :2]), np.float64)


def table(seed: int, n: int, *, slope: float = 1.0, noise: float = 0.0, level: float = 0.0, blocks: int = 4) -> Table:
    """Runs of two targets; the first of them trains on the mixture that is called natural."""
    rng = np.random.default_rng(seed)
    w_ND = rng.dirichlet(np.ones(3), n)
    block_N = np.arange(n) % blocks
    loss_NT = slope * losses(w_ND) + level + 0.1 * block_N[:, None] + noise * rng.normal(size=(n, 2))
    ids = tuple(f"{seed}-{i}" for i in range(n))
    return Table(DOMAINS, ("s", "t"), w_ND, loss_NT, block_N.astype(np.int64), ids, np.arange(n, dtype=np.int64))


def miss(predictor: Climbing | PowerLaw) -> float:
    """Root mean square error of predicted differences at new mixtures, over draws of ten full runs."""
    w_ND = np.random.default_rng(99).dirichlet(np.ones(3), 200)
    away = [predictor.fit_once(table(seed, 10, noise=0.01), None).loss(w_ND) - losses(w_ND) for seed in range(10, 16)]
    return float(np.sqrt(np.mean([(away_NT - away_NT.mean(0)) ** 2 for away_NT in away])))


def test_short_runs_with_another_level_and_slope_help_few_long_ones() -> None:
    short = table(2, 60, slope=0.6, noise=0.005, level=2.0)
    assert miss(Climbing((short,))) < 0.7 * miss(PowerLaw())
    fit = Climbing((short,)).fit_once(table(1, 10, noise=0.01), None)
    assert isinstance(fit, InformedFit)
    np.testing.assert_allclose(fit.slopes_ST, 1 / 0.6, rtol=0.1)


def test_two_rungs_climb() -> None:
    rungs = (table(2, 60, slope=0.5, noise=0.005), table(3, 20, slope=0.8, noise=0.005))
    assert miss(Climbing(rungs)) < 0.7 * miss(PowerLaw())


def test_a_block_is_left_out_of_all_rungs() -> None:
    """The fit without a block is the fit to tables in which it never was."""
    few, short = table(1, 12, noise=0.01), table(2, 40, slope=0.6, noise=0.02)
    w_ND = np.random.default_rng(3).dirichlet(np.ones(3), 5)
    spoilt = replace(short, loss_NT=np.where(short.block_N[:, None] == 2, 50.0 * short.shares_ND[:, :2], short.loss_NT))
    one, two = (Climbing((t,), RidgeLog(), RidgeLog()).fit(few).replicates[2] for t in (short, spoilt))
    np.testing.assert_allclose(one.loss(w_ND), two.loss(w_ND), rtol=1e-9)
    other = Climbing((spoilt,), RidgeLog(), RidgeLog()).fit(few).replicates[1]
    assert np.abs(other.loss(w_ND) - one.loss(w_ND)).max() > 0.01


def test_rungs_with_hardly_any_run_say_nothing() -> None:
    few, tiny = table(1, 12, noise=0.01), table(2, 5)
    w_ND = np.random.default_rng(3).dirichlet(np.ones(3), 5)
    alone = PowerLaw().fit_once(few, None)
    np.testing.assert_allclose(Climbing((tiny,), PowerLaw()).fit_once(few, None).loss(w_ND), alone.loss(w_ND))


def test_slopes_are_derivatives_of_losses() -> None:
    fit = Climbing((table(2, 40, slope=0.6, noise=0.02),)).fit(table(1, 12, noise=0.01))
    w_D, a_T = np.array([0.3, 0.3, 0.4]), np.array([0.5, 0.5])
    step_D = np.array([1e-5, -1e-5, 0.0])
    numeric = (fit.value(w_D + step_D, w_D - step_D, a_T)) / 2e-5
    assert fit.slope(w_D, a_T) @ np.array([1.0, -1.0, 0.0]) == pytest.approx(numeric, rel=1e-3, abs=1e-6)
