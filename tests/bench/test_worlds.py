from __future__ import annotations

import pytest

from cuvee.bench.worlds import SETTINGS, Coverage, Design, Setting, coverage, run
from cuvee.methods import Auto, Method, Natural, Regression, Uniform
from cuvee.testing.worlds import KINDS


def test_figures_of_two_small_worlds() -> None:
    setting = Setting("law", True, 4)
    methods: dict[str, Method] = {
        "regression": Regression(runs=16, predictor="ridge-log"),
        "uniform": Uniform(),
        "natural": Natural(),
    }
    table = run(2, runs=16, blocks=4, settings=(setting,), methods=methods)
    figures = table[setting.name]
    assert figures["natural"]["gain"] == pytest.approx(0, abs=1e-6)
    assert set(figures["regression"]) >= {"wins", "regret", "floor_regret", "coverage", "bias"}
    assert "coverage" not in figures["uniform"]
    assert all(0 <= f["wins"] <= 1 for f in figures.values())


def pooled(rows: list[Coverage]) -> list[Coverage]:
    return [row for row in rows if row.family == "pooled"]


@pytest.mark.slow
def test_coverage_of_a_few_worlds() -> None:
    """24 worlds at nominal 90 %: 18 or fewer covered has a chance of 3 %, and intervals must not be endless."""
    settings = tuple(Setting(kind, True, 4) for kind in KINDS)
    rows = coverage(8, runs=20, designs=(Design(1, 4),), settings=settings)
    assert [row.family for row in rows] == [*(setting.name for setting in settings), "pooled"]
    (all_,) = pooled(rows)
    assert all_.worlds == 24
    assert all_.covered == pytest.approx(sum(row.covered for row in rows[:3]) / 3)
    assert all_.low < all_.covered <= all_.high
    assert all_.covered > 18 / 24
    assert 0 < all_.width < 0.2


@pytest.mark.slow
def test_intervals_cover_what_they_say() -> None:
    """18 worlds a design, which finds gross failures only: 13 or more have a probability of 0.97 at a true coverage of 0.85."""
    rows = coverage(3, designs=(Design(1, 4), Design(2, 4)))
    assert all(row.worlds == 18 and row.covered >= 13 / 18 for row in pooled(rows))
    # not by being wide: half of the mean gain over natural, 0.07 bits/byte
    assert all(row.width < 0.07 for row in pooled(rows))


@pytest.mark.slow
@pytest.mark.parametrize("method", [Auto(), Regression()])
def test_it_beats_best_of_n_random(method: Method) -> None:
    """In at least 80 % of 18 worlds, three of every kind, at equal total tokens; `cuvee bench worlds` plays 50 of each."""
    found = [figures["it"] for figures in run(3, settings=SETTINGS, methods={"it": method}).values()]
    assert sum(figures["wins"] for figures in found) / len(found) >= 0.8
    assert min(figures["wins"] for figures in found) > 0.5
    assert sum(figures["coverage"] for figures in found) / len(found) >= 0.8
