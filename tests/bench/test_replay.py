"""Replayed tables of runs: how they are dealt, what is scored."""

from __future__ import annotations

import numpy as np
import pytest

from cuvee.bench import replay
from cuvee.mixture.weights import Array
from tests.predict.tables import make


def _law(w_ND: Array) -> Array:
    return np.stack([2 + np.exp(-3 * w_ND @ u_D) for u_D in np.eye(4)[:3] + 0.2], axis=1)


def test_resplits_deal_every_run_once_and_differ() -> None:
    everything = make(_law, runs=replay.TEST + 40, domains=4, blocks=1)
    first, second = (ids for ids in [(a.ids, b.ids) for a, b in replay.resplits(everything, 2)])
    assert sorted([*first[0], *first[1]]) == sorted(everything.ids)
    assert (len(first[0]), len(first[1])) == (40, replay.TEST)
    assert set(first[1]) != set(second[1])
    again = [(a.ids, b.ids) for a, b in replay.resplits(everything, 2)]
    assert again == [first, second]


def test_a_law_is_ranked_by_the_predictor_that_knows_it() -> None:
    everything = make(_law, runs=replay.TEST + 60, domains=4, blocks=1, noise=0.002)
    ((train, test),) = replay.resplits(everything, 1)
    law, ridge = (replay.score(name, everything, train, test, 40, 0) for name in ("log-linear", "ridge-log"))
    assert law.spearman > 99
    assert law.spearman_good > 95
    assert law.rmse < 0.02 < 1
    assert 0 <= law.regret < 0.02
    assert law.spearman >= ridge.spearman


def test_a_constant_prediction_ranks_nothing_and_regrets_the_average() -> None:
    flat_N, true_N = np.zeros(4), np.array([1.0, 2.0, 3.0, 6.0])
    assert replay._rank(flat_N, true_N) == 0
    assert replay._regret(flat_N, true_N) == pytest.approx(2.0)
    assert replay._regret(np.array([3.0, 1.0, 2.0, 4.0]), true_N) == pytest.approx(1.0)
