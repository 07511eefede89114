"""Linear rows: the projection against optimality and HiGHS, clashes against linear programmes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, linprog, minimize

from cuvee.base.errors import InfeasibleError, UsageError
from cuvee.mixture.feasible import FeasibleSet, Group
from cuvee.mixture.rows import Clash, Halfspaces, Row, nearest
from cuvee.mixture.weights import Array

NAMES = ("math", "code_c", "code_ts", "web")


def names(size: int) -> tuple[str, ...]:
    return tuple(f"d{i}" for i in range(size))


@st.composite
def row_sets(draw: st.DrawFn, inside: bool = True) -> tuple[tuple[float, ...], tuple[float, ...], tuple[Row, ...]]:
    """Floors, caps and rows around a mixture, so that the set is not empty; anywhere when not `inside`."""
    size = draw(st.integers(2, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    w_D = rng.dirichlet(np.ones(size))
    slack_2D = rng.uniform(0, 0.4, (2, size)) * (rng.random((2, size)) < 0.8)
    rows = []
    for i in range(draw(st.integers(1, 5))):
        factor_D = rng.choice([0.0, 1.0, -1.0, 2.0, 0.5], size)
        factor_D[0] = factor_D[0] if factor_D.any() else 1.0
        value = float(factor_D @ w_D)
        low, high = value - rng.choice([0.0, 0.1, np.inf]), value + rng.choice([0.0, 0.1, 0.3])
        if not inside and i == 0:
            low, high = -np.inf, value - 0.2
        rows.append(Row(f"r{i}", tuple(zip(names(size), factor_D.tolist(), strict=True)), low, high))
    return tuple(np.maximum(w_D - slack_2D[0], 0)), tuple(np.minimum(w_D + slack_2D[1], 1)), tuple(rows)


def inequalities(size: int, rows: tuple[Row, ...]) -> tuple[Array, Array]:
    """a @ w <= b."""
    a, b = [np.zeros(size)], [0.0]
    for row in rows:
        row_D = np.array([c for _, c in row.coefficients])
        if np.isfinite(row.high):
            a, b = [*a, row_D], [*b, row.high]
        if np.isfinite(row.low):
            a, b = [*a, -row_D], [*b, -row.low]
    return np.array(a), np.array(b)


@given(row_sets(), st.integers(0, 2**31))
def test_projection_is_inside_and_no_direction_is_nearer(
    case: tuple[tuple[float, ...], tuple[float, ...], tuple[Row, ...]], seed: int
) -> None:
    low, high, rows = case
    feasible = FeasibleSet(names(len(low)), low, high, (), rows)
    v_D = np.random.default_rng(seed).normal(0, 1, len(low))
    w_D = feasible.project(v_D)
    assert feasible.contains(w_D, 1e-9)
    np.testing.assert_allclose(feasible.project(w_D), w_D, atol=1e-8)
    a, b = inequalities(len(low), rows)
    # the set lies behind the plane through w normal to v - w; loosened by rounding, for sets of a single point
    found = linprog(w_D - v_D, a, b + 1e-9, np.ones((1, len(low))), [1], bounds=list(zip(low, high, strict=True)))
    assert found.status == 0
    assert float((w_D - v_D) @ w_D) <= float(found.fun or 0.0) + 1e-6


@given(row_sets(inside=False))
def test_sets_are_refused_exactly_when_they_are_empty(
    case: tuple[tuple[float, ...], tuple[float, ...], tuple[Row, ...]],
) -> None:
    low, high, rows = case
    a, b = inequalities(len(low), rows)
    found = linprog(
        [*np.zeros(len(low)), 1.0], np.column_stack([a, -np.ones(len(b))]), b,
        np.array([[*np.ones(len(low)), 0.0]]), [1], bounds=[*zip(low, high, strict=True), (0, None)],
    )  # fmt: skip
    slack = float(found.fun or 0.0)
    if slack < 1e-12:
        FeasibleSet(names(len(low)), low, high, (), rows)
    elif slack > 1e-8:
        with pytest.raises(InfeasibleError):
            FeasibleSet(names(len(low)), low, high, (), rows)


def test_projection_with_rows_groups_and_caps_is_that_of_a_general_solver() -> None:
    feasible = FeasibleSet(
        NAMES, (0.05, 0, 0, 0.1), (0.4, 0.5, 0.3, 1.0), (Group("code", ("code_c", "code_ts"), 0.2, 0.6),),
        (Row("code per math", (("code_c", 1), ("math", -2)), high=0.0), Row("both", (("code_c", 1), ("web", 1)), 0.3, 0.5)),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    normal_MD, bound_M = feasible.halfspaces
    linear = [LinearConstraint(np.ones((1, 4)), 1.0, 1.0), LinearConstraint(normal_MD, bound_M, np.inf)]
    for v_D in rng.normal(0.25, 0.5, (20, 4)):

        def away(w_D: Array, v_D: Array = v_D) -> float:
            return float(np.sum((w_D - v_D) ** 2))

        found = minimize(
            away, np.full(4, 0.25), method="SLSQP", bounds=Bounds(feasible.low_D, feasible.high_D), constraints=linear,
            options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        np.testing.assert_allclose(feasible.project(v_D), found.x, atol=1e-5)


def test_groups_as_rows_give_the_same_mixture() -> None:
    group = FeasibleSet(NAMES, (0,) * 4, (0.5, 0.3, 0.6, 1), (Group("g", NAMES[:2], 0.1, 0.35),))
    ones = ((NAMES[0], 1.0), (NAMES[1], 1.0))
    row = FeasibleSet(NAMES, (0,) * 4, (0.5, 0.3, 0.6, 1), (), (Row("g", ones, 0.1, 0.35),))
    for v_D in np.random.default_rng(1).normal(0, 1, (50, 4)):
        np.testing.assert_allclose(row.project(v_D), group.project(v_D), atol=1e-9)


def test_a_clash_names_a_smallest_set_and_what_each_bound_alone_must_give() -> None:
    row = Row("code per math", (("code_c", 1), ("math", -2)), high=0.0)
    others = (Row("idle", (("web", 1), ("code_ts", 1)), 0.0, 0.45),)
    with pytest.raises(InfeasibleError) as caught:
        FeasibleSet(NAMES, (0, 0.5, 0, 0), (0.1, 1, 1, 1), (), (row, *others))
    text = str(caught.value)
    assert "these 3 bounds together" in text
    assert "row 'code per math': code_c - 2 math <= 0 (by 0.3)" in text
    assert "code_c >= 0.5 (by 0.3)" in text
    assert "math <= 0.1 (by 0.15)" in text
    assert "idle" not in text
    for low, high, top in (((0, 0.2, 0, 0), 0.1, 0.0), ((0, 0.5, 0, 0), 0.25, 0.0), ((0, 0.5, 0, 0), 0.1, 0.3)):
        mended = FeasibleSet(NAMES, low, (high, 1, 1, 1), (), (Row(row.name, row.coefficients, high=top),))
        assert mended.contains(mended.project(np.full(4, 0.25)))


@given(row_sets(inside=False))
def test_every_bound_of_a_clash_is_needed_and_mends_it_by_what_is_said(
    case: tuple[tuple[float, ...], tuple[float, ...], tuple[Row, ...]],
) -> None:
    low_D, high_D = (np.array(x) for x in case[:2])
    size = len(low_D)
    normal_MD, bound_M = (-x for x in inequalities(size, case[2]))
    clash = nearest(np.zeros(size), level_of(low_D, high_D), Halfspaces(normal_MD, bound_M, low_D, high_D))
    if not isinstance(clash, Clash):
        return
    # all bounds as normal @ w >= bound, and what each would have to give
    normals = np.vstack([normal_MD, np.eye(size), -np.eye(size)])
    bounds = np.concatenate([bound_M, low_D, -high_D])
    gives = np.concatenate([clash.by_M, clash.low_by_D, clash.high_by_D])
    part = np.flatnonzero(np.isfinite(gives))

    def empty(wanted: Array) -> bool:
        found = linprog(np.zeros(size), -normals[part], -wanted[part], np.ones((1, size)), [1], bounds=(None, None))
        return bool(found.status == 2)

    if gives[part].min() < 1e-3:
        return  # a part of it is within the linear programme's own tolerance
    assert empty(bounds)
    for i in part:
        for factor, still in ((1.001, False), (0.99, True)):
            looser = bounds.copy()
            looser[i] -= factor * gives[i]
            assert empty(looser) == still


def level_of(low_D: Array, high_D: Array) -> float:
    """Where clip(-level, low, high) sums to 1."""
    left, right = -2.0, 1.0
    for _ in range(60):
        middle = 0.5 * (left + right)
        left, right = (middle, right) if np.clip(-middle, low_D, high_D).sum() > 1 else (left, middle)
    return left


@pytest.mark.parametrize(
    "row",
    [
        Row("x", (("nowhere", 1.0),), high=0.5),
        Row("x", (("web", 0.0),), high=0.5),
        Row("x", (("web", 1.0),), 0.6, 0.5),
        Row("x", (("web", 1.0),)),
        Row("x", (), high=0.5),
        Row("x", (("web", float("nan")),), high=0.5),
    ],
)
def test_rows_that_say_nothing_are_refused(row: Row) -> None:
    with pytest.raises(UsageError, match="row 'x'"):
        FeasibleSet(NAMES, (0,) * 4, (1,) * 4, (), (row,))


def test_many_domains_and_fixed_ones() -> None:
    size = 300
    rows = tuple(Row(f"r{i}", tuple((f"d{j}", 1.0) for j in range(i, size, 7)), 0.05, 0.2) for i in range(7))
    low = (0.01,) * 20 + (0.0,) * 280
    high = (0.01,) * 20 + (0.02,) * 280
    feasible = FeasibleSet(names(size), low, high, (), rows)
    w_D = feasible.project(np.random.default_rng(0).normal(0, 1, size))
    assert feasible.contains(w_D, 1e-10)
    np.testing.assert_array_equal(w_D[:20], 0.01)
