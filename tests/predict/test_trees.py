"""Boosted trees: what they learn, and RegMix's published figure."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from cuvee.base.errors import UsageError
from cuvee.mixture.feasible import FeasibleSet
from cuvee.mixture.weights import Array
from cuvee.predict.question import Question
from cuvee.predict.regret import Stakes
from cuvee.predict.table import Table
from cuvee.predict.trees import Trees
from tests.predict.tables import PUBLISHED, make, published

pytestmark = pytest.mark.slow


def steps(w_ND: Array) -> Array:
    return np.asarray(1.0 + (w_ND[:, :2] > 0.2) * [0.5, -0.3], np.float64)


@pytest.fixture
def lightgbm() -> None:
    pytest.importorskip("lightgbm")


@pytest.mark.usefixtures("lightgbm")
def test_steps_are_found_under_offsets_of_blocks() -> None:
    table = make(steps, runs=400)
    unseen_ND = np.random.default_rng(9).dirichlet(np.ones(5), 200)
    wrong_NT = Trees().fit_once(table, None).loss(unseen_ND) - steps(unseen_ND)
    assert np.median(np.abs(wrong_NT - np.median(wrong_NT, axis=0))) < 0.02


@pytest.mark.usefixtures("lightgbm")
def test_the_same_each_time_and_in_every_unit() -> None:
    table = make(steps, runs=80, noise=0.05)
    w_ND = np.random.default_rng(1).dirichlet(np.ones(5), 20)
    trees = Trees(trees=100)
    once, again = (trees.fit_once(table, None).loss(w_ND) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    moved = replace(table, loss_NT=-100.0 * table.loss_NT)
    np.testing.assert_allclose(trees.fit_once(moved, None).loss(w_ND), -100.0 * once, rtol=1e-4, atol=1e-2)


@pytest.mark.usefixtures("lightgbm")
@pytest.mark.parametrize("runs", [1, 5, 39])
def test_few_runs_say_one_loss(runs: int) -> None:
    table = make(steps, runs=runs, blocks=1)
    loss_NT = Trees().fit_once(table, None).loss(np.eye(5))
    np.testing.assert_allclose(loss_NT, np.tile(table.loss_NT.mean(0), (5, 1)), atol=1e-6)


@pytest.mark.usefixtures("lightgbm")
@pytest.mark.parametrize(("runs", "told"), [(52, False), (56, True)])
def test_fits_of_too_few_runs_agree_on_a_constant_which_is_no_certainty(runs: int, told: bool) -> None:
    table = make(steps, runs=runs, blocks=4)  # 39 or 42 are left without a block
    found = Trees(trees=50).fit(table).difference(np.eye(5)[0], np.full(5, 0.2), np.array([0.5, 0.5]))
    assert np.isfinite(found.mean)
    assert np.isfinite(found.error) == told
    assert np.isfinite(found.p_below) == told


@pytest.mark.usefixtures("lightgbm")
def test_without_an_error_there_is_no_expected_regret() -> None:
    posterior = Trees(trees=50).fit(make(steps, runs=52, blocks=4))
    feasible = FeasibleSet(tuple("abcde"), (0,) * 5, (1,) * 5)
    question = Question(posterior, feasible, np.full(5, 0.2), np.array([0.5, 0.5]))
    stakes = Stakes.of(question, np.eye(5), np.random.default_rng(0))
    assert np.isnan(stakes.regret(0))
    assert np.isnan(stakes.best_shares()).all()


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(UsageError) as caught:
        Trees().fit(make(steps))
    assert "pip install 'cuvee[lightgbm]'" in str(caught.value)


def test_bad_hyperparameters() -> None:
    with pytest.raises(UsageError, match="learning rate 0"):
        Trees(learning_rate=0)


@pytest.mark.usefixtures("lightgbm")
@pytest.mark.skipif(not PUBLISHED.exists(), reason="RegMix's released runs are not beside the checkout")
def test_regmix_published_figure() -> None:
    """98.45 in the paper (Liu et al. 2024, table 2, Pile-CC at 1M), 98.9 from its notebook, which stops by the test set."""
    domains, targets, w_ND, loss_NT = published("train")
    _, _, unseen_ND, truth_NT = published("test")
    t = next(i for i, name in enumerate(targets) if "pile_cc" in name)
    count = len(w_ND)
    table = Table(
        domains,
        targets[t : t + 1],
        w_ND,
        loss_NT[:, t : t + 1],
        np.zeros(count, np.int64),
        tuple(map(str, range(count))),
        np.arange(count),
    )
    predicted_N = Trees().fit_once(table, None).loss(unseen_ND)[:, 0]
    assert spearmanr(predicted_N, truth_NT[:, t]).statistic == pytest.approx(0.989, abs=0.001)
