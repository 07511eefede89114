"""The parametric laws against surfaces of their own, and what learned priors add."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from cuvee.base.errors import UsageError
from cuvee.mixture.weights import Array
from cuvee.predict.autoscale import AutoScale
from cuvee.predict.bimix import BiMix
from cuvee.predict.hierarchy import Group, Prior
from cuvee.predict.posterior import Member, smooth
from cuvee.predict.power import PowerLaw
from cuvee.predict.table import Table
from tests.predict.tables import PUBLISHED, make, published

pytestmark = pytest.mark.slow

LAWS: dict[str, Member] = {"power": PowerLaw(), "bimix": BiMix(), "autoscale": AutoScale()}
USE = np.array([[8.0, 1.0, 0.3], [1.0, 6.0, 1.0], [0.4, 0.5, 9.0], [1.5, 0.7, 0.2], [0.1, 2.0, 1.0]])


def power(w_ND: Array) -> Array:
    return np.asarray(1.0 + 0.8 * (w_ND**0.6 @ USE) ** -0.3, np.float64)


def bimix(w_ND: Array) -> Array:
    return np.asarray((w_ND + 1e-3) ** -0.25 @ (0.05 * USE), np.float64)


def autoscale(w_ND: Array) -> Array:
    n_DT, g_DT = 0.02 + 0.02 * USE, 0.05 * USE
    return np.asarray(0.7 + 0.9 * np.sum((n_DT + w_ND[:, :, None]) ** -g_DT, axis=1), np.float64)


def error(predictor: Member, table: Table, truth: Array, w_ND: Array) -> float:
    """Root mean square error up to an offset per target, in units of the truth's spread."""
    wrong_NT = predictor.fit_once(table, None).loss(w_ND) - truth
    return float(np.sqrt(np.mean((wrong_NT - wrong_NT.mean(0)) ** 2) / np.mean((truth - truth.mean(0)) ** 2)))


@pytest.mark.parametrize(("name", "surface"), [("power", power), ("bimix", bimix), ("autoscale", autoscale)])
def test_a_law_recovers_its_own_surface(name: str, surface: type[Array]) -> None:
    """Under unknown offsets of the blocks, without noise: to a hundredth of the spread, and better than the other laws."""
    table, unseen_ND = make(surface, runs=100), np.random.default_rng(9).dirichlet(np.ones(5), 200)
    truth = np.asarray(surface(unseen_ND))
    errors = {other: error(law, table, truth, unseen_ND) for other, law in LAWS.items()}
    assert errors[name] < 0.02
    assert errors[name] == min(errors.values())


@pytest.mark.parametrize("name", list(LAWS))
def test_laws_are_convex(name: str) -> None:
    fit = smooth(LAWS[name].fit_once(make(power, noise=0.02), None))
    assert fit.convex(np.full(3, 1 / 3))
    assert not fit.convex(np.array([1.0, -0.5, 0.5]))
    a_ND, b_ND = np.random.default_rng(2).dirichlet(np.full(5, 0.3), (2, 50))
    assert (fit.loss((a_ND + b_ND) / 2) <= (fit.loss(a_ND) + fit.loss(b_ND)) / 2 + 1e-9).all()


def test_the_own_domain_is_known_from_few_runs_by_its_name() -> None:
    """Eight runs of eight domains: whose loss it is, is half of what there is to know."""

    def own(w_ND: Array) -> Array:
        return np.asarray(-0.4 * np.log(0.01 + 0.97 * w_ND + 0.02 * w_ND.mean(1, keepdims=True)), np.float64)

    table = make(own, runs=8, domains=8, blocks=1, noise=0.02)
    renamed = replace(table, targets=tuple(f"text {target}" for target in table.targets))
    unseen_ND = np.random.default_rng(9).dirichlet(np.ones(8), 200)
    assert error(PowerLaw(), table, own(unseen_ND), unseen_ND) < 0.3
    assert error(PowerLaw(), renamed, own(unseen_ND), unseen_ND) > 0.6


def test_a_group_is_learned_from_all_its_coefficients() -> None:
    x_TP = np.random.default_rng(0).normal([3.0, -1.0], [0.5, 2.0], (500, 2))
    groups = (Group(0.0, 1.0), Group(0.0, 1.0, mean_weight=1e9))
    prior = Prior.of(groups, np.tile([0, 1], (500, 1)))
    learned = prior.learned(x_TP, np.full_like(x_TP, 0.01), prior.noise_T)
    np.testing.assert_allclose(learned.mean_G, [3.0, 0.0], atol=0.1)
    np.testing.assert_allclose(learned.spread_G, [0.5, np.sqrt(5.0)], atol=0.15)


def test_bad_hyperparameters() -> None:
    with pytest.raises(UsageError, match="spread"):
        PowerLaw(spread=0)
    with pytest.raises(UsageError, match="exponent"):
        PowerLaw(exponent=-1)
    with pytest.raises(UsageError, match="eps"):
        BiMix(eps=0)


@pytest.mark.skipif(not PUBLISHED.exists(), reason="RegMix's released runs are not beside the checkout")
@pytest.mark.parametrize(("runs", "least"), [(16, 0.945), (32, 0.975), (64, 0.98)])
def test_regmix_published_runs(runs: int, least: float) -> None:
    """Mean rank correlation of 13 targets on 256 unseen mixtures (Liu et al. 2024), over three subsets of the runs."""
    domains, targets, w_ND, loss_NT = published("train")
    _, _, unseen_ND, truth_NT = published("test")
    bare = tuple(name.removeprefix("train_the_pile_") for name in domains)
    scored = tuple(name.removeprefix("metric/the_pile_").removesuffix("_val_loss") for name in targets)
    assert set(scored) < set(bare)
    found = []
    for seed in range(3):
        some = np.random.default_rng(seed).permutation(len(w_ND))[:runs]
        table = Table(
            bare, scored, w_ND[some], loss_NT[some], np.zeros(runs, np.int64), tuple(map(str, some)), np.arange(runs)
        )
        predicted_NT = PowerLaw().fit_once(table, None).loss(unseen_ND)
        found += [spearmanr(a, b).statistic for a, b in zip(predicted_NT.T, truth_NT.T, strict=True)]
    assert np.mean(found) > least
