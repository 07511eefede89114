from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cuvee.mixture.weights import UNIT, apportion
from cuvee.stream.curricula import Array
from cuvee.stream.joint import JointOrder, Table, ahead_bound, domain_bound, settled, shared_out
from cuvee.stream.order import bound

pytestmark = pytest.mark.slow

D, POWERS, TOKENS = 4, (1, 2, 3), 32
CELLS = st.lists(st.integers(1, 10**6), min_size=D * 3, max_size=D * 3)
SPARSE = st.lists(st.integers(0, 3), min_size=D * 3, max_size=D * 3).filter(any)


def table(cells: list[int]) -> Table:
    q_DK = np.array(cells, np.float64).reshape(D, 3)
    return Table.of(q_DK / q_DK.sum())


class Books:
    """Quotas and tokens served of every cell, counted apart from the order; in 2^-64 batches."""

    def __init__(self) -> None:
        self.owed = np.zeros((3, D), object)

    def serve(self, order: JointOrder) -> None:
        dealt = order.assign(1)
        length, rows_D = int(dealt.lengths_N[0]), dealt.rows_ND[0]
        size = 1 << POWERS[length]
        assert rows_D.sum() * size == TOKENS
        assert rows_D.min() >= 0
        self.owed = self.owed + np.array(order.table.cells, object) * TOKENS
        self.owed[length] -= rows_D.astype(object) * size * UNIT**2

    @property
    def tokens(self) -> Array:
        """[length][domain]."""
        return (self.owed / UNIT**2).astype(np.float64)


@settings(max_examples=60)
@given(st.one_of(CELLS, SPARSE))
def test_constant_tables_keep_cells_lengths_and_domains_within_their_bounds(cells: list[int]) -> None:
    order, books = JointOrder(table(cells), POWERS, TOKENS), Books()
    lengths = sum(u > 0 for u in order.table.lengths)
    within = domain_bound(order.table, POWERS, TOKENS)
    for _ in range(80):
        books.serve(order)
        owed = books.tokens
        assert np.abs(owed.sum(1)).max() <= TOKENS * bound(lengths) + 1e-6
        assert np.abs(owed.sum(0)).max() <= within + 1e-6
        for power, u, row in zip(POWERS, order.table.domains, owed, strict=True):
            shares = np.array(u or (0,) * D) / UNIT
            assert (np.abs(row) <= TOKENS * bound(lengths) * shares + (1 << power) * bound(D) + 1e-6).all()
        np.testing.assert_allclose(owed, np.array(order.owed(), float) / UNIT, atol=1e-5)


def test_domains_alike_in_length_are_within_two_of_the_longest_rows() -> None:
    alike = Table.of(np.outer([0.5, 0.3, 0.15, 0.05], [0.2, 0.3, 0.5]))
    order, books = JointOrder(alike, POWERS, TOKENS), Books()
    for _ in range(300):
        books.serve(order)
        assert np.abs(books.tokens.sum(0)).max() <= domain_bound(alike, POWERS, TOKENS) + 1e-6 <= 2 * 8


CHANGES = st.lists(st.tuples(CELLS, st.integers(0, 9)), max_size=30)


@settings(max_examples=80)
@given(CHANGES)
def test_changes_among_the_same_cells_keep_the_bounds_and_nothing_drifts(changes: list[tuple[list[int], int]]) -> None:
    order, books = JointOrder(table([1] * 12), POWERS, TOKENS), Books()
    ahead = ahead_bound(D, POWERS, TOKENS)
    for cells, batches in changes:
        order.change(table(cells))
        np.testing.assert_allclose(books.tokens, np.array(order.owed(), float) / UNIT, atol=1e-4)
        for _ in range(batches):
            books.serve(order)
            domains = books.tokens.sum(0)
            assert -ahead - 1e-6 <= domains.min()
            assert domains.max() <= (D - 1) * ahead + 1e-6
            for power, row in zip(POWERS, books.tokens, strict=True):
                assert row.min() >= -TOKENS * bound(3) - (1 << power) * bound(D) - 1e-6


def test_thousands_of_changes_leave_domains_within_two_batches() -> None:
    generator, order, books, worst = np.random.default_rng(0), JointOrder(table([1] * 12), POWERS, TOKENS), Books(), 0.0
    for _ in range(3000):
        q_DK = generator.dirichlet(np.full(12, 0.3)).reshape(D, 3) + 1e-9
        order.change(Table.of(q_DK / q_DK.sum()))
        books.serve(order)
        worst = max(worst, float(np.abs(books.tokens.sum(0)).max()))
    assert TOKENS / 2 < worst < 2 * TOKENS


@settings(max_examples=80)
@given(st.lists(st.tuples(SPARSE, st.integers(0, 7)), max_size=20))
def test_cells_may_come_and_go(changes: list[tuple[list[int], int]]) -> None:
    order = JointOrder(table([1] * 12), POWERS, TOKENS)
    for cells, batches in changes:
        before = np.array(order.owed(), object)
        order.change(table(cells))
        after, shares = np.array(order.owed(), object), np.array(order.table.cells, object)
        assert abs(after.sum()) <= 100
        assert not after[shares == 0].any()
        if (shares.sum(0) > 0).all():  # all domains stay: what each is owed stays, whatever its lengths do
            assert np.abs(after.sum(0) - before.sum(0)).max() <= 1000
        for _ in range(batches):
            dealt = order.assign(1)
            length = int(dealt.lengths_N[0])
            assert order.table.lengths[length]
            assert (shares[length][dealt.rows_ND[0] > 0] > 0).all()
        assert np.abs(np.array(order.owed(), float)).max() <= 20 * TOKENS * UNIT


def test_a_deficit_moves_to_the_other_lengths_of_its_domain() -> None:
    assert settled([[8, -3], [0, -5]], [[0, 1], [3, 1]]) == [[0, -3], [8, -5]]
    assert settled([[8, -4], [4, -8]], [[0, 1], [0, 1]]) == [[0, 2], [0, -2]]


@settings(max_examples=40)
@given(st.one_of(CELLS, SPARSE), CELLS, st.integers(0, 20), st.integers(1, 20))
def test_table_and_deficits_are_all_there_is_to_carry(
    first: list[int], cells: list[int], before: int, after: int
) -> None:
    order = JointOrder(table(first), POWERS, TOKENS)
    order.change(table(cells))
    for _ in range(before):
        order.assign(1)
    again = JointOrder(order.table, POWERS, TOKENS, order.deficits)
    singly = [order.assign(1) for _ in range(after)]
    together = again.assign(after)
    assert [int(d.lengths_N[0]) for d in singly] == together.lengths_N.tolist()
    assert np.array_equal(np.concatenate([d.rows_ND for d in singly]), together.rows_ND)
    assert again.deficits == order.deficits


UNITS = st.lists(st.integers(0, 10**6), min_size=1, max_size=12).filter(any)


@settings(max_examples=80)
@given(UNITS, st.integers(1, 40), st.integers(1, 30))
def test_rows_are_shared_out_within_the_bound_of_single_slots(weights: list[int], rows: int, batches: int) -> None:
    units = tuple(apportion(np.array(weights) / sum(weights), UNIT))
    zeros, within = (0,) * len(units), bound(sum(u > 0 for u in units)) * UNIT
    rows_ND = shared_out(units, zeros, rows, batches)
    assert rows_ND.min() >= 0
    assert (rows_ND.sum(1) == rows).all()
    quota_ND = np.array(units, object) * (rows * np.arange(1, batches + 1)[:, None])
    assert np.abs(quota_ND - np.cumsum(rows_ND, axis=0).astype(object) * UNIT).max() <= within


def test_a_thousand_domains_are_shared_out_in_parts_that_fit_into_64_bits() -> None:
    units = tuple(apportion(np.random.default_rng(0).dirichlet(np.ones(1000)), UNIT))
    rows_ND = shared_out(units, (0,) * 1000, 1024, 400)
    owed = np.array(units, object) * (1024 * 400) - rows_ND.sum(0).astype(object) * UNIT
    assert np.abs(owed).max() <= bound(1000) * UNIT
    assert np.array_equal(rows_ND[200:], shared_out(units, tuple(_owed(units, rows_ND[:200])), 1024, 200))


def _owed(units: tuple[int, ...], rows_ND: NDArray[np.int64]) -> list[int]:
    rows = int(rows_ND.sum())
    return [u * rows - UNIT * had for u, had in zip(units, rows_ND.sum(0).tolist(), strict=True)]


def test_domains_far_behind_come_first_the_largest_deficit_before_the_others() -> None:
    units, owed = (UNIT // 4,) * 4, (9 * UNIT, 7 * UNIT, -8 * UNIT, -8 * UNIT)
    rows_ND = shared_out(units, owed, 4, 4)
    assert rows_ND.sum(0).tolist() == [9, 7, 0, 0]
    assert rows_ND[0, 0] > rows_ND[0, 1]


def test_tables_are_nearest_in_integers() -> None:
    q_DK = np.array([[0.25, 0.0, 0.25], [0.125, 0.0, 0.375]])
    found = Table.of(q_DK)
    assert found.lengths == (3 * UNIT // 8, 0, 5 * UNIT // 8)
    assert found.domains[1] == ()
    np.testing.assert_allclose(np.array(found.cells, float).T / UNIT**2, q_DK, atol=1e-9)
    with pytest.raises(AssertionError):
        JointOrder(found, POWERS, 36)
