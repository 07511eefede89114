"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from cuvee.plan.choice import Estimate
from cuvee.report import text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.03456, "+0.0346"), (-0.03456, "−0.0346"), (0.00001, "0.0000"), (-math.inf, "−∞"), (math.nan, "unknown")],
)
def test_signed(value: float, shown: str) -> None:
    assert text.signed(value) == shown


@pytest.mark.parametrize(
    ("share", "shown"), [(0, "0 %"), (0.00001, "< 0.01 %"), (0.005, "0.50 %"), (0.1234, "12.3 %"), (1, "100.0 %")]
)
def test_percent(share: float, shown: str) -> None:
    assert text.percent(share) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(12, "12"), (1500, "1.5k"), (1_875_000, "1.88M"), (999_900_000, "1B"), (3e13, "30T")]
)
def test_count(value: float, shown: str) -> None:
    assert text.count(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.5, "0.5 s"), (150, "2.5 minutes"), (10_800, "3 hours"), (1e6, "11.6 days")]
)
def test_seconds(value: float, shown: str) -> None:
    assert text.seconds(value) == shown


def test_probability_is_never_certain() -> None:
    assert [text.probability(p) for p in (1.0, 0.5, 0.0, math.nan)] == ["> 0.99", "0.50", "< 0.01", "unknown"]


def test_interval_flops_ratio_listed() -> None:
    assert text.interval(Estimate("x", -0.03, -0.04, -0.02, 1)) == "−0.0300 (−0.0400 to −0.0200)"
    assert text.flops(2.14e15) == "2.1 × 10^15"
    assert text.flops(0) == "not recorded"
    assert [text.ratio(1 / 16), text.ratio(1.0)] == ["1/16", "1"]
    assert text.listed(["a", "b"], 2) == "a, b"
    assert text.listed(["a", "b", "c", "d"], 3) == "a, b and 2 more"
    assert [text.plural(1, "run"), text.plural(2000, "run")] == ["1 run", "2,000 runs"]
