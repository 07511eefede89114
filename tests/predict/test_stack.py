"""The blend finds the members that foretell, and keeps to equal shares where nothing tells them apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from cuvee.mixture.weights import Array
from cuvee.predict.loglinear import LogLinear
from cuvee.predict.ridge import RidgeLog
from cuvee.predict.stack import Blend, Stack, weigh
from cuvee.predict.table import Table
from tests.predict.tables import PUBLISHED, make, published
from tests.predict.test_predictors import law, logs

UNSEEN_ND = np.random.default_rng(9).dirichlet(np.ones(5) * 2, 200)


def members(table: Table, *errors: float, seed: int = 0) -> Array:
    """Predictions of the table's losses that miss by `errors`, shape K x N x T."""
    rng = np.random.default_rng(seed)
    return np.array([table.loss_NT + error * rng.normal(size=table.loss_NT.shape) for error in errors])


def test_the_better_member_gets_the_weight() -> None:
    table = make(law, runs=200)
    weights_KT = weigh(members(table, 0.01, 0.1), table)
    assert (weights_KT[0] > 0.9).all()


def test_members_that_miss_apart_are_averaged() -> None:
    table = make(law, runs=200)
    np.testing.assert_allclose(weigh(members(table, 0.05, 0.05), table), 0.5, atol=0.1)


def test_targets_may_differ() -> None:
    table = make(law, runs=200)
    one_NT, other_NT = members(table, 0.01, 0.1)
    swapped_KNT = np.array([one_NT, other_NT])
    swapped_KNT[:, :, 1] = swapped_KNT[::-1, :, 1]
    weights_KT = weigh(swapped_KNT, table)
    assert (weights_KT[0] > 0.5).tolist() == [True, False, True]


@settings(max_examples=50)
@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=5), st.integers(2, 40), st.integers(1, 3), st.integers(0, 99))
def test_weights_lie_on_the_simplex(errors: list[float], runs: int, blocks: int, seed: int) -> None:
    table = make(law, runs=runs, blocks=min(blocks, runs), seed=seed)
    weights_KT = weigh(members(table, *errors, seed=seed), table)
    assert (weights_KT >= 0).all()
    np.testing.assert_allclose(weights_KT.sum(0), 1.0)


def test_a_blend_is_the_weighted_mean_of_its_members() -> None:
    table = make(law, noise=0.01)
    fits = (RidgeLog().fit(table).full, LogLinear().fit(table).full)
    weights_KT = np.array([[0.2, 1.0, 0.0], [0.8, 0.0, 1.0]])
    expected_NT = sum(w_T * fit.loss(UNSEEN_ND) for w_T, fit in zip(weights_KT, fits, strict=True))
    np.testing.assert_allclose(Blend(fits, weights_KT).loss(UNSEEN_ND), expected_NT)


@pytest.mark.parametrize("function", [law, logs])
def test_the_stack_foretells_both_kinds_of_worlds(function) -> None:  # type: ignore[no-untyped-def]
    table = make(function, noise=0.01)
    predicted_NT, truth_NT = Stack().fit(table).mean(UNSEEN_ND), function(UNSEEN_ND)
    for t in range(3):
        assert spearmanr(predicted_NT[:, t], truth_NT[:, t]).statistic > 0.97


@pytest.mark.parametrize("runs", [1, 2, 4, 6, 11])
def test_few_runs_still_give_a_fit(runs: int) -> None:
    posterior = Stack().fit(make(law, runs=runs, blocks=1, noise=0.01))
    assert np.isfinite(posterior.mean(np.eye(5))).all()


@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED.exists(), reason="RegMix's released runs are not beside the checkout")
def test_published_runs_are_ranked_and_covered() -> None:
    """64 runs of RegMix (Liu et al. 2024): mean rank correlation of 13 targets on 256 unseen mixtures, and intervals of runs."""
    domains, targets, w_ND, loss_NT = published("train")
    _, _, unseen_ND, truth_NT = published("test")
    domains = tuple(name.removeprefix("train_the_pile_") for name in domains)
    targets = tuple(name.removeprefix("metric/the_pile_").removesuffix("_val_loss") for name in targets)
    some = np.random.default_rng(0).permutation(len(w_ND))[:64]
    ids = tuple(map(str, some))
    table = Table(domains, targets, w_ND[some], loss_NT[some], np.zeros(64, np.int64), ids, np.arange(1, 65))
    posterior = Stack().fit(table)
    predicted_NT = posterior.mean(unseen_ND)
    ranks = [spearmanr(predicted_NT[:, t], truth_NT[:, t]).statistic for t in range(13)]
    assert np.mean(ranks) > 0.983
    centre_D = w_ND[some].mean(0)
    assert posterior.noise_T is not None
    held = []
    for w_D, off_T in zip(unseen_ND[::8], (truth_NT - predicted_NT)[::8], strict=True):
        errors = [posterior.error(w_D, centre_D, unit_T) for unit_T in np.eye(13)]
        held += (np.abs(off_T) < 1.645 * np.hypot(errors, posterior.noise_T)).tolist()
    assert 0.85 < np.mean(held) < 0.97
