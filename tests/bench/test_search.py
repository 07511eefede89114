"""The comparison of methods on real trainings: what it makes of its outcomes. Running it takes an hour and is no test."""

from __future__ import annotations

import pytest

from cuvee.bench.search import Outcome, figures
from cuvee.plan.choice import Estimate


def outcome(method: str, seed: int, proxy: float, *, runs: int = 32) -> Outcome:
    def estimate(mean: float) -> Estimate:
        return Estimate("objective", mean, mean - 0.01, mean + 0.01, 0.9)

    predicted = None if method == "random" else estimate(proxy - 0.02)
    return Outcome(method, seed, runs, runs * 1000, predicted, estimate(proxy), estimate(2 * proxy), estimate(0.0))


def test_means_and_differences_are_paired_by_seed() -> None:
    found = figures(
        [outcome("random", s, g) for s, g in ((1, -0.1), (2, -0.3), (3, -0.5))]
        + [outcome("auto", s, g, runs=30 + s) for s, g in ((3, -0.62), (1, -0.18), (2, -0.4))]
    )
    random, auto = found["methods"]
    assert (random["method"], random["proxy_to_random"], random["proxy_low"]) == ("random", 0.0, 0.0)
    assert auto["runs"] == 32
    assert auto["proxy"] == pytest.approx(-0.4)
    assert auto["large"] == pytest.approx(-0.8)
    # differences -0.08, -0.1, -0.12: mean -0.1, standard error 0.02 / sqrt(3), t of two degrees of freedom 2.92
    assert auto["proxy_to_random"] == pytest.approx(-0.1)
    assert auto["proxy_high"] - auto["proxy_to_random"] == pytest.approx(2.91999 * 0.02 / 3**0.5, rel=1e-4)


def test_one_seed_gives_no_interval() -> None:
    (random,) = figures([outcome("random", 1, -0.1)])["methods"]
    assert random["proxy_low"] != random["proxy_low"]


def test_rows_say_what_was_predicted_or_none() -> None:
    rows = figures([outcome("random", 1, -0.1), outcome("auto", 1, -0.2)])["rows"]
    assert rows[0]["predicted"] is None
    assert rows[1]["predicted"] == pytest.approx(-0.22)
    assert rows[1]["uniform"] == 0.0
