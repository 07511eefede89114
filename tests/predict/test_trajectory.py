"""Trajectories: what several steps add to the last one, and what they cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cuvee.base.errors import DataError
from cuvee.mixture.weights import Array
from cuvee.predict.power import PowerLaw
from cuvee.predict.table import Table
from cuvee.predict.trajectory import Trajectory, TrajectoryFit
from tests.predict.tables import make

pytestmark = pytest.mark.slow

USE = np.array([[8.0, 1.0, 0.3], [1.0, 6.0, 1.0], [0.4, 0.5, 9.0], [1.5, 0.7, 0.2], [0.1, 2.0, 1.0]])


def truth(w_ND: Array) -> Array:
    return np.asarray(1.0 + 2.0 * (w_ND**0.6 @ USE) ** -0.3, np.float64)


def error(predictor: PowerLaw | Trajectory, table: Table) -> float:
    w_ND = np.random.default_rng(9).dirichlet(np.ones(5), 200)
    wrong_NT = predictor.fit_once(table, None).loss(w_ND) - truth(w_ND)
    return float(np.sqrt(np.mean((wrong_NT - wrong_NT.mean(0)) ** 2)))


def test_noise_of_single_evaluations_is_pooled() -> None:
    alone, pooled = [], []
    for seed in range(3):
        clean = make(truth, runs=40, blocks=1, seed=seed)
        rng = np.random.default_rng(seed)
        *early, last = [
            replace(clean, loss_NT=size * clean.loss_NT + 0.05 * rng.normal(size=clean.loss_NT.shape))
            for size in (0.8, 0.9, 1.0)
        ]
        alone.append(error(PowerLaw(), last))
        pooled.append(error(Trajectory(tuple(early)), last))
    assert np.mean(pooled) < 0.95 * np.mean(alone)


def test_steps_that_differ_by_an_offset_add_nothing() -> None:
    table = make(truth, runs=40, noise=0.1)
    both = Trajectory((replace(table, loss_NT=table.loss_NT + 1.0),)).fit_once(table, None).loss(np.eye(5))
    np.testing.assert_allclose(both, PowerLaw().fit_once(table, None).loss(np.eye(5)), rtol=0.02)


def test_runs_are_known_by_their_ids() -> None:
    table = make(truth, runs=24, noise=0.05)
    early = replace(table, loss_NT=table.loss_NT * 0.8)
    order = np.random.default_rng(3).permutation(24)
    shuffled = replace(early, loss_NT=early.loss_NT[order], ids=tuple(early.ids[i] for i in order))
    one, two = (Trajectory((step,)).fit_once(table, None) for step in (early, shuffled))
    np.testing.assert_array_equal(one.loss(np.eye(5)), two.loss(np.eye(5)))


def test_a_step_without_a_run_is_refused() -> None:
    table = make(truth, runs=24)
    with pytest.raises(DataError, match="lacks 1 of 24 runs"):
        Trajectory((table.rows(np.arange(24) > 0),)).fit(table)
    with pytest.raises(DataError):
        Trajectory((replace(table, targets=("a", "b", "c")),)).fit(table)


def test_gradient_convexity_and_intervals() -> None:
    table = make(truth, runs=24, noise=0.05, blocks=2)
    posterior = Trajectory((replace(table, loss_NT=table.loss_NT * 0.8),)).fit(table)
    assert isinstance(posterior.full, TrajectoryFit)
    assert posterior.full.convex(np.ones(3))
    w_D, step = np.array([0.3, 0.25, 0.2, 0.15, 0.1]), 1e-6 * np.eye(5)
    numeric = (posterior.full.loss(w_D + step) - posterior.full.loss(w_D - step)) / 2e-6
    np.testing.assert_allclose(posterior.full.gradient(w_D), numeric.T, rtol=1e-4, atol=1e-6)
    assert posterior.error(w_D, np.full(5, 0.2), np.full(3, 1 / 3)) > 0


def test_few_runs_and_constant_losses() -> None:
    for runs in (1, 2, 5):
        table = make(lambda w_ND: np.ones((len(w_ND), 3)), runs=runs, blocks=1)
        flat = replace(table, loss_NT=np.ones_like(table.loss_NT))
        np.testing.assert_allclose(Trajectory((flat,)).fit(flat).mean(np.eye(5)), 1.0, atol=1e-3)
