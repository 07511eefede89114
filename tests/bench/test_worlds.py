from __future__ import annotations

import pytest

from cuvee.bench.worlds import SETTINGS, Setting, run


def test_figures_of_two_small_worlds() -> None:
    setting = Setting("law", True, 4)
    table = run(2, runs=16, blocks=4, settings=(setting,))
    figures = table[setting.name]
    assert figures["natural"]["gain"] == pytest.approx(0, abs=1e-6)
    assert set(figures["regression"]) >= {"wins", "regret", "floor_regret", "coverage", "bias"}
    assert "coverage" not in figures["uniform"]
    assert all(0 <= f["wins"] <= 1 for f in figures.values())


@pytest.mark.slow
def test_regression_beats_best_of_n_random() -> None:
    """In at least 80 % of the worlds of every kind at equal total tokens."""
    table = run(10, settings=SETTINGS)
    assert all(figures["regression"]["wins"] >= 0.8 for figures in table.values())
    assert sum(figures["regression"]["coverage"] for figures in table.values()) / len(table) >= 0.8
