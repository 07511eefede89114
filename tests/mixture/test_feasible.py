from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.base.errors import InfeasibleError, UsageError
from cuvee.mixture.feasible import FeasibleSet, Group
from cuvee.mixture.weights import Array, Mixture


@st.composite
def feasible_sets(draw: st.DrawFn) -> FeasibleSet:
    """Sets built around a known mixture, so that they are never empty."""
    size = draw(st.integers(2, 8))
    raw = draw(st.lists(st.floats(0, 1), min_size=size, max_size=size).filter(lambda x: sum(x) > 0.1))
    inside = np.array(raw) / sum(raw)
    slack = np.array(draw(st.lists(st.floats(0, 0.5), min_size=2 * size, max_size=2 * size)))
    names = tuple(f"d{i}" for i in range(size))
    cut = draw(st.integers(0, size))
    groups: tuple[Group, ...] = ()
    if cut:
        share = float(inside[:cut].sum())
        room = draw(st.floats(0, 0.3))
        groups = (Group("g", names[:cut], max(share - room, 0), min(share + room, 1)),)
    low, high = np.maximum(inside - slack[:size], 0), np.minimum(inside + slack[size:], 1)
    return FeasibleSet(names, tuple(low.tolist()), tuple(high.tolist()), groups)


@given(feasible_sets(), st.lists(st.floats(-3, 3), min_size=8, max_size=8), st.integers(0, 2**31))
def test_projection_is_inside_and_nearest(feasible: FeasibleSet, raw: list[float], seed: int) -> None:
    v_D = np.array(raw[: len(feasible.domains)])
    w_D = feasible.project(v_D)
    assert feasible.contains(w_D, 1e-10)
    np.testing.assert_allclose(feasible.project(w_D), w_D, atol=1e-10)
    rng = np.random.default_rng(seed)
    for _ in range(5):
        other_D = feasible.project(rng.normal(0, 1, len(w_D)))
        # the variational inequality: the set lies behind the plane through w normal to v - w
        assert float((v_D - w_D) @ (other_D - w_D)) <= 1e-9


@given(feasible_sets(), st.integers(0, 2**31))
def test_mixtures_of_the_set_project_onto_themselves(feasible: FeasibleSet, seed: int) -> None:
    w_D = feasible.project(np.random.default_rng(seed).normal(0, 1, len(feasible.domains)))
    mixture = Mixture.from_array(feasible.domains, w_D)
    assert feasible.project_mixture(mixture) == mixture


def test_simplex_projection_is_the_known_one() -> None:
    free = FeasibleSet(("a", "b", "c"), (0, 0, 0), (1, 1, 1))
    np.testing.assert_allclose(free.project(np.array([2.0, 1.0, 0.0])), [1, 0, 0])
    np.testing.assert_allclose(free.project(np.array([0.6, 0.6, 0.1])), np.array([0.5, 0.5, 0.0]))


def test_binding_group_and_cap() -> None:
    feasible = FeasibleSet(
        ("a", "b", "c", "d"), (0.05, 0, 0, 0), (1, 0.3, 0.2, 0.9), (Group("g", ("a", "b"), 0.1, 0.4),)
    )
    np.testing.assert_allclose(feasible.project(np.array([3.0, 1.0, 0.0, 0.0])), [0.4, 0.0, 0.2, 0.4])


@pytest.mark.parametrize(
    ("low", "high", "groups", "words"),
    [
        ((0, 0, 0), (0.3, 0.3, 0.2), (), "caps sum to 0.8, 0.2 short of 1"),
        ((0.5, 0.6, 0), (1, 1, 1), (), "floors sum to 1.1, 0.1 above 1"),
        ((0.5, 0, 0), (0.4, 1, 1), (), "a: its floor 0.5 is above its cap 0.4 by 0.1"),
        ((0.5, 0, 0), (1, 1, 1), (Group("g", ("a", "b"), 0, 0.3),), "above its cap 0.3 by 0.2"),
        ((0, 0, 0), (0.1, 0.1, 1), (Group("g", ("a", "b"), 0.5, 1),), "below its floor 0.5 by 0.3"),
        ((0, 0, 0), (1, 1, 0.2), (Group("g", ("a", "b"), 0, 0.3),), "caps sum to 0.5"),
        ((0, 0, 0), (1, 1, 1), (Group("g", ("a", "b"), 0.7, 0.3),), "its floor 0.7 is above its cap 0.3"),
        ((0, 0, 0), (-0.1, 1, 1), (), "a: floor 0, cap -0.1"),
    ],
)
def test_clashing_bounds_are_named(
    low: tuple[float, ...], high: tuple[float, ...], groups: tuple[Group, ...], words: str
) -> None:
    with pytest.raises(InfeasibleError) as caught:
        FeasibleSet(("a", "b", "c"), low, high, groups)
    assert words in str(caught.value)


def test_groups_must_be_disjoint_and_known() -> None:
    for domains in (("a", "x"), ("a", "a")):
        with pytest.raises(UsageError):
            FeasibleSet(("a", "b"), (0, 0), (1, 1), (Group("g", domains),))


def test_contains_sees_every_bound() -> None:
    feasible = FeasibleSet(("a", "b", "c"), (0.1, 0, 0), (1, 0.5, 1), (Group("g", ("b", "c"), 0, 0.6),))

    def inside(*w: float) -> bool:
        w_D: Array = np.array(w)
        return feasible.contains(w_D)

    assert inside(0.5, 0.3, 0.2)
    assert not inside(0.05, 0.5, 0.45)
    assert not inside(0.3, 0.3, 0.4)
    assert not inside(0.4, 0.55, 0.05)
    assert not inside(0.5, 0.3, 0.1)
