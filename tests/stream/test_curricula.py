from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.errors import InfeasibleError, UsageError
from cuvee.stream.curricula import Array, Natural, Odds, Shares, fit, grow_linear, grow_p2, uniform

W_D = np.array([0.6, 0.3, 0.1])
NATURAL_DK = np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.3, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])


def over_a_cycle(curriculum: Odds) -> list[Array]:
    size = curriculum.tokens // curriculum.cycles
    return [curriculum.joint(size * n // curriculum.steps, W_D, NATURAL_DK) for n in range(curriculum.steps)]


@settings(max_examples=60)
@given(st.lists(st.floats(0.01, 100), min_size=4, max_size=4), st.integers(1, 5), st.integers(1, 9))
def test_domains_hold_at_every_step_and_lengths_are_natural_over_a_cycle(
    odds: list[float], cycles: int, steps: int
) -> None:
    curriculum = Odds(tuple(odds), cycles * steps * 100, cycles, steps)
    tables = over_a_cycle(curriculum)
    for table in tables:
        np.testing.assert_allclose(table.sum(1), W_D, rtol=1e-9)
        assert table.min() >= 0
    np.testing.assert_allclose(np.mean(tables, 0), W_D[:, None] * NATURAL_DK, atol=1e-12)
    again = curriculum.joint(curriculum.tokens, W_D, NATURAL_DK)
    assert np.array_equal(again, tables[0])


@pytest.mark.parametrize("make", [grow_linear, grow_p2])
def test_growing_goes_from_short_to_long(make: Callable[[int, int], Odds]) -> None:
    mean = [float(table.sum(0) @ [256, 512, 1024, 2048]) for table in over_a_cycle(make(4, 100_000))]
    assert np.diff(mean).min() > -1e-9
    assert mean[-1] > 1.5 * mean[0]


def test_p2_begins_shorter_than_linear_and_uniform_takes_lengths_alike() -> None:
    first = {make.__name__: over_a_cycle(make(4, 100_000))[0].sum(0) for make in (uniform, grow_linear, grow_p2)}
    assert first["grow_p2"][0] > first["grow_linear"][0] > first["uniform"][0]
    np.testing.assert_allclose(over_a_cycle(uniform(4, 100_000))[0][2], 0.1 / 4, rtol=1e-9)
    np.testing.assert_allclose(over_a_cycle(grow_p2(4, 100_000))[0][2], 0.1 * np.array([8, 4, 2, 1]) / 15, rtol=1e-9)


def test_steps_begin_where_steady_says() -> None:
    curriculum, position = grow_p2(4, 1003, cycles=3), 0
    tables = [curriculum.joint(t, W_D, NATURAL_DK) for t in range(1100)]
    while position < 1000:
        after = curriculum.steady(position)
        assert after is not None
        assert all(np.array_equal(tables[position], tables[t]) for t in range(position, after))
        position = after
    assert Natural().steady(5) is None
    assert [Shares(((0, (1.0,)), (10, (1.0,)))).steady(t) for t in (0, 9, 10)] == [10, 10, None]


@settings(max_examples=60)
@given(
    st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
    st.lists(st.floats(0.01, 1), min_size=4, max_size=4),
    st.lists(st.floats(0.001, 1), min_size=12, max_size=12),
)
def test_fitted_tables_have_both_margins_and_the_odds_ratios_of_natural(
    w: list[float], v: list[float], cells: list[float]
) -> None:
    w_D, v_K, seed_DK = np.array(w) / sum(w), np.array(v) / sum(v), np.array(cells).reshape(3, 4)
    table = fit(seed_DK, w_D, v_K)
    np.testing.assert_allclose(table.sum(1), w_D, atol=1e-9)
    np.testing.assert_allclose(table.sum(0), v_K, atol=1e-9)
    ratio = table / seed_DK
    np.testing.assert_allclose(ratio * ratio[0, 0], np.outer(ratio[:, 0], ratio[0]), rtol=1e-6)


def test_shares_of_lengths_that_the_documents_do_not_have_are_refused() -> None:
    fine = Shares(((0, (4, 3, 2, 1)), (500, (1, 1, 1, 1))))
    assert fine.joint(499, W_D, NATURAL_DK).sum(0) == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert fine.joint(500, W_D, NATURAL_DK).sum(0) == pytest.approx([0.25] * 4)
    with pytest.raises(
        InfeasibleError, match=r"0\.3 of the tokens have documents for the lengths number \[1, 2\] only"
    ):
        Shares(((0, (1, 1, 4, 4)),)).joint(0, W_D, NATURAL_DK)  # the second domain has 0.3 and only the two shortest


@pytest.mark.slow
def test_odds_are_those_of_the_paper_and_a_cycle_is_its_algorithm_on_average() -> None:
    """Table 2 and algorithm 1 of Pouransari et al. 2024: six lengths of as many tokens each, drawn until all are empty."""
    assert grow_linear(6, 1000).odds == (6, 5, 4, 3, 2, 1)
    assert grow_p2(6, 1000).odds == (32, 16, 8, 4, 2, 1)
    assert uniform(6, 1000).odds == (1,) * 6
    curriculum, draw, each = grow_p2(6, 1000, cycles=1), np.random.default_rng(0), 200
    drawn = np.zeros((16, 6))
    for _ in range(20):
        left_K, order = np.full(6, each), list[int]()
        while left_K.any():
            odds_K = np.array(curriculum.odds) * (left_K > 0)
            order.append(int(draw.choice(6, p=odds_K / odds_K.sum())))
            left_K[order[-1]] -= 1
        drawn += np.array([np.bincount(part, minlength=6) for part in np.reshape(order, (16, -1))]) / (
            20 * 6 * each / 16
        )
    natural, one = np.full((1, 6), 1 / 6), np.ones(1)
    tables = np.array([curriculum.joint(n * 1000 // 16 + 1, one, natural)[0] for n in range(16)])
    assert np.abs(tables - drawn).max() < 0.05


def test_bad_settings_are_refused() -> None:
    for odds, tokens, cycles in (((1.0, 0.0), 1000, 8), ((1.0,), 10, 8), ((1.0,), 1000, 0)):
        with pytest.raises(UsageError, match="positive odds"):
            Odds(odds, tokens, cycles)
    with pytest.raises(UsageError, match="rise from 0"):
        Shares(((5, (1.0,)),))
    with pytest.raises(UsageError, match="not all zero"):
        Shares(((0, (0.0, 0.0)),))
    with pytest.raises(UsageError, match=r"3 lengths\n.*4"):
        grow_p2(3, 1000).check(4)
    with pytest.raises(UsageError, match=r"1 lengths\n.*4"):
        Shares(((0, (1.0,)),)).check(4)
