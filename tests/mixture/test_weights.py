from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.base.codec import from_json, to_json
from cuvee.base.errors import UsageError
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import UNIT, Mixture, apportion

weights = st.lists(st.floats(0, 1e9, allow_subnormal=False), min_size=1, max_size=50).filter(lambda w: sum(w) > 1e-6)


@given(weights)
def test_from_shares_is_within_one_unit(w: list[float]) -> None:
    mixture = Mixture.from_array([str(i) for i in range(len(w))], np.array(w))
    assert sum(mixture.units) == UNIT
    exact = np.array(w) / sum(w) * UNIT
    assert np.all(np.abs(np.array(mixture.units) - exact) < 1 + 1e-5)
    assert from_json(Mixture, to_json(mixture)) == mixture


@given(weights, st.integers(0, 10**12))
def test_apportion_sums_and_stays_within_one(w: list[float], total: int) -> None:
    counts = apportion(np.array(w), total)
    assert sum(counts) == total
    assert min(counts) >= 0
    assert np.all(np.abs(np.array(counts) - np.array(w) / sum(w) * total) < 1 + 1e-3)


def test_a_thousand_domains_and_a_tiny_share() -> None:
    w = np.ones(1000)
    w[0] = 1e-9
    mixture = Mixture.from_array([f"d{i}" for i in range(1000)], w)
    assert mixture.units[0] == 0
    assert set(mixture.units[1:]) == {UNIT // 999, UNIT // 999 + 1}


@pytest.mark.parametrize("shares", [{}, {"a": -1.0}, {"a": 0.0}, {"a": float("nan")}, {"a": float("inf"), "b": 1.0}])
def test_refuses(shares: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Mixture.from_shares(shares)


def test_refuses_a_name_twice_and_a_wrong_sum() -> None:
    with pytest.raises(UsageError, match="named twice"):
        Mixture(("a", "a"), (0, UNIT))
    with pytest.raises(UsageError, match="sum to"):
        Mixture(("a", "b"), (1, 2))


def test_schedule() -> None:
    a, b = Mixture.from_shares({"x": 1, "y": 0}), Mixture.from_shares({"x": 0, "y": 1})
    schedule = Schedule((Phase(0, a), Phase(75, b)))
    assert schedule.at(74) == a
    assert schedule.at(75) == b
    assert schedule.mean(100).as_dict() == {"x": 0.75, "y": 0.25}
    assert schedule.mean(50) == a
    assert from_json(Schedule, to_json(schedule)) == schedule
    with pytest.raises(UsageError, match="rise from 0"):
        Schedule((Phase(1, a),))
    with pytest.raises(UsageError, match="different domains"):
        Schedule((Phase(0, a), Phase(1, Mixture.from_shares({"x": 1.0}))))
