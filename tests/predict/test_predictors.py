"""Predictors against functions they must recover, numeric gradients, and RegMix's published runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from cuvee.base.errors import UsageError
from cuvee.mixture.weights import Array
from cuvee.predict.combine import PREDICTORS, block_error, block_spearman, named, predict_blocks
from cuvee.predict.corrected import Corrected
from cuvee.predict.loglinear import LogLinear, LogLinearFit
from cuvee.predict.posterior import Member, groups, smooth
from cuvee.predict.ridge import RidgeFit, RidgeLog
from cuvee.predict.table import Table
from tests.predict.tables import PUBLISHED, make, published

pytestmark = pytest.mark.slow

SMOOTH = sorted(set(PREDICTORS) - {"lightgbm"})
"""Boosted trees have tests of their own."""
LAWS = ["power-law", "bimix", "autoscale", "quadratic"]
SLOPES = np.array([[-2.0, 0.5, 0.1], [0.3, -1.5, 0.2], [-0.5, 0.0, -2.5], [0.2, 0.4, 0.3], [-1.0, -0.3, 0.6]])


def law(w_ND: Array) -> Array:
    return np.asarray(1.0 + np.exp(w_ND @ SLOPES), np.float64)


def logs(w_ND: Array) -> Array:
    return np.asarray(2.0 + w_ND @ SLOPES - 0.1 * np.log(w_ND + 1e-3) @ np.abs(SLOPES), np.float64)


def test_the_law_recovers_its_coefficients() -> None:
    """Exactly, without noise and nearly without penalty, under unknown offsets of the blocks."""
    fit = LogLinear(penalty=1e-10).fit_once(make(law), None)
    assert isinstance(fit, LogLinearFit)
    np.testing.assert_allclose(fit.slopes_DT, SLOPES, atol=2e-3)


def test_ridge_recovers_a_function_of_its_features() -> None:
    fit = RidgeLog().fit_once(make(logs, runs=400), None)
    assert isinstance(fit, RidgeFit)
    np.testing.assert_allclose(fit.logarithmic_DT, -0.1 * np.abs(SLOPES), atol=0.02)


def test_the_correction_takes_up_what_the_law_misses() -> None:
    def bent(w_ND: Array) -> Array:
        return np.asarray(law(w_ND) + 0.3 * np.sin(4 * np.sqrt(w_ND[:, :3])), np.float64)

    table, unseen_ND = make(bent, runs=80), np.random.default_rng(9).dirichlet(np.ones(5) * 2, 200)
    truth = bent(unseen_ND) - bent(unseen_ND).mean(0)

    def error(predictor: Member) -> float:
        predicted = predictor.fit_once(table, None).loss(unseen_ND)
        return float(np.sqrt(np.mean((predicted - predicted.mean(0) - truth) ** 2)))

    assert error(Corrected()) < 0.5 * error(LogLinear())


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_are_the_derivatives(name: str) -> None:
    fit = named(name).fit(make(logs, noise=0.02, runs=24)).full
    w_D = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
    step = 1e-6 * np.eye(5)
    numeric = (fit.loss(w_D + step) - fit.loss(w_D - step)) / 2e-6
    np.testing.assert_allclose(smooth(fit).gradient(w_D), numeric.T, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", SMOOTH)
def test_offsets_of_blocks_do_not_matter(name: str) -> None:
    table = make(law, noise=0.01)
    moved = replace(table, loss_NT=table.loss_NT + table.block_N[:, None] * 7.0)
    w_ND = np.random.default_rng(1).dirichlet(np.ones(5), 10)
    one, two = named(name).fit(table).mean(w_ND), named(name).fit(moved).mean(w_ND)
    np.testing.assert_allclose(one - one[0], two - two[0], atol=1e-3)


@pytest.mark.parametrize("name", SMOOTH)
def test_constant_losses_and_single_rows(name: str) -> None:
    for runs in (1, 2, 9):
        posterior = named(name).fit(make(lambda w_ND: np.ones((len(w_ND), 3)), runs=runs))
        assert np.isfinite(posterior.mean(np.eye(5))).all()


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize(("runs", "domains"), [(5, 2), (5, 30), (24, 100)])
def test_few_runs_of_any_number_of_domains(name: str, runs: int, domains: int) -> None:
    """One-hot rows, duplicates, a domain that is never used, and a target that never varies."""
    drawn_ND = np.random.default_rng(4).dirichlet(np.ones(domains), runs)
    drawn_ND[:2] = np.eye(domains)[:1]
    drawn_ND[2] = np.eye(domains)[1]
    if domains > 2:
        drawn_ND[:, -1] = 0.0
        drawn_ND /= drawn_ND.sum(1, keepdims=True)

    def losses(w_ND: Array) -> Array:
        return np.stack([-5.0 * w_ND[:, 0] - 40.0, np.full(len(w_ND), 2.0)], axis=1)

    table = make(losses, runs=runs, domains=domains, blocks=2, noise=0.01)
    table = replace(table, shares_ND=drawn_ND, loss_NT=losses(drawn_ND))
    posterior = named(name).fit(table)
    assert np.isfinite(posterior.mean(np.eye(domains))).all()
    assert np.isfinite(smooth(posterior.full).gradient(np.eye(domains)[0])).all()
    np.testing.assert_allclose(posterior.mean(np.eye(domains))[:, 1], 2.0, atol=1e-3)


@pytest.mark.parametrize("name", LAWS)
def test_units_and_repeats_do_not_matter(name: str) -> None:
    table = make(law, noise=0.02)
    w_ND = np.random.default_rng(1).dirichlet(np.ones(5), 10)
    once = named(name).fit(table).mean(w_ND)
    np.testing.assert_array_equal(named(name).fit(table).mean(w_ND), once)
    for unit in (1e-3, 1e3):
        moved = replace(table, loss_NT=unit * table.loss_NT - 7.0 * unit)
        np.testing.assert_allclose(named(name).fit(moved).mean(w_ND) / unit + 7.0, once, atol=1e-3)


def test_convexity() -> None:
    a_T = np.array([0.5, 0.3, 0.2])
    table = make(logs, runs=400)
    ridge = RidgeLog().fit_once(table, None)
    assert ridge.convex(a_T)
    assert not ridge.convex(-a_T)
    assert smooth(LogLinear().fit_once(table, None)).convex(a_T)


@pytest.mark.parametrize("blocks", [1, 4])
def test_runs_are_predicted_without_their_group(blocks: int) -> None:
    a_T = np.full(3, 1 / 3)
    table = make(law, blocks=blocks, noise=0.005)
    posterior = named("power-law").fit(table)
    alone = named("power-law").fit(table.rows(groups(table) != 2)).full
    inside = groups(table) == 2
    expected_N = alone.loss(table.shares_ND[inside]) @ a_T
    np.testing.assert_allclose(predict_blocks(posterior, table, a_T)[inside], expected_N, atol=2e-3)
    assert 0.002 < block_error(posterior, table, a_T) < 0.02
    assert block_spearman(posterior, table, a_T) > 0.9


def test_unknown_names_and_bad_hyperparameters() -> None:
    with pytest.raises(UsageError, match="ridge-log"):
        named("ridge_log")
    with pytest.raises(UsageError):
        RidgeLog(eps=0)
    with pytest.raises(UsageError):
        LogLinear(penalty=0)


@pytest.mark.skipif(not PUBLISHED.exists(), reason="RegMix's released runs are not beside the checkout")
def test_regmix_published_runs() -> None:
    """Rank correlation on 256 unseen mixtures after 128 runs (Liu et al. 2024): Pile-CC, and the mean composed of 13."""
    domains, targets, w_ND, loss_NT = published("train")
    assert len(domains) == 17
    assert len(targets) == 13
    _, _, unseen_ND, truth_NT = published("test")
    some = np.random.default_rng(0).permutation(len(w_ND))[:128]
    table = Table(
        domains,
        targets,
        w_ND[some],
        loss_NT[some],
        np.zeros(128, np.int64),
        tuple(map(str, some)),
        np.arange(1, 129),
    )
    pile_cc = next(i for i, name in enumerate(targets) if "pile_cc" in name)
    cases: tuple[tuple[Member, float, float], ...] = ((RidgeLog(), 0.96, 0.92), (LogLinear(), 0.94, 0.90))
    for predictor, single, composed in cases:
        predicted_NT = predictor.fit_once(table, None).loss(unseen_ND)
        assert spearmanr(predicted_NT[:, pile_cc], truth_NT[:, pile_cc]).statistic > single
        assert spearmanr(predicted_NT.mean(1), truth_NT.mean(1)).statistic > composed
