from __future__ import annotations

import numpy as np
import pytest

from cuvee.mixture.designs import anchors, cloud, d_optimal, dirichlet
from cuvee.mixture.feasible import FeasibleSet, Group
from cuvee.mixture.rows import Row
from cuvee.mixture.weights import Array

pytestmark = pytest.mark.slow

NATURAL = np.array([0.5, 0.3, 0.15, 0.05])
FREE = FeasibleSet(("a", "b", "c", "d"), (0,) * 4, (1,) * 4)
TIGHT = FeasibleSet(("a", "b", "c", "d"), (0.1, 0, 0, 0), (0.6, 0.35, 0.3, 0.08))


def test_rows_are_mixtures_of_the_set_without_rounding_defects() -> None:
    for feasible in (FREE, TIGHT):
        w_ND = dirichlet(NATURAL, feasible, 200, np.random.default_rng(0))
        assert w_ND.shape == (200, 4)
        assert all(feasible.contains(w_D, 1e-9) for w_D in w_ND)
        np.testing.assert_allclose(w_ND.sum(1), 1, atol=1e-12)
        assert len(np.unique(np.round(w_ND, 6), axis=0)) == 200


def test_design_has_the_published_moments() -> None:
    """E[w] is the tempered prior, nearly: corners are kept once only; the variance is that of the mixed strengths."""
    w_ND = dirichlet(NATURAL, FREE, 1000, np.random.default_rng(1))
    tempered = np.sqrt(NATURAL) / np.sqrt(NATURAL).sum()
    np.testing.assert_allclose(w_ND.mean(0), tempered, atol=0.04)
    strengths = np.logspace(-1, np.log10(5), 15)
    variance = (tempered * (1 - tempered))[None, :] / (strengths[:, None] + 1)
    np.testing.assert_allclose(w_ND.var(0), variance.mean(0), rtol=0.25)


def test_same_generator_same_design() -> None:
    one, two = (dirichlet(NATURAL, TIGHT, 20, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_a_set_of_one_mixture_still_gives_rows() -> None:
    point = FeasibleSet(("a", "b"), (0.4, 0.6), (0.4, 0.6))
    np.testing.assert_allclose(dirichlet(np.array([0.5, 0.5]), point, 3, np.random.default_rng(0)), [[0.4, 0.6]] * 3)


def test_anchors() -> None:
    named = anchors(NATURAL, TIGHT)
    assert list(named) == ["natural", "centre", "uniform", "without a", "without b", "without c", "without d"]
    np.testing.assert_array_equal(named["natural"], NATURAL)
    assert all(TIGHT.contains(w_D, 1e-9) for name, w_D in named.items() if name != "natural")
    assert named["without a"][0] >= 0.1
    assert anchors(NATURAL, FREE)["without a"][0] == 0


def test_clouds_lie_inside_and_reach_the_bounds() -> None:
    feasible = FeasibleSet(
        ("a", "b", "c", "d"), (0.05, 0, 0, 0), (0.6, 0.7, 0.5, 1), (Group("bc", ("b", "c"), 0.1, 0.5),),
        (Row("r", (("a", 1.0), ("d", -3.0)), high=0.0),),
    )  # fmt: skip
    center_D = np.array([0.2, 0.25, 0.25, 0.3])
    draw_ND = cloud(center_D, feasible, 5000, np.random.default_rng(0))
    assert all(feasible.contains(w_D, 1e-9) for w_D in draw_ND)
    np.testing.assert_allclose(draw_ND.min(0), [0.05, 0, 0, 0.125], atol=0.01)  # d: a and the group leave it that much
    assert draw_ND[:, 0].max() > 0.5
    assert np.median(np.abs(draw_ND - center_D).sum(1)) > 0.1
    again_ND = cloud(center_D, feasible, 5000, np.random.default_rng(0))
    np.testing.assert_array_equal(draw_ND, again_ND)


def features(w_ND: Array) -> Array:
    both_NP = np.hstack([w_ND, np.log(w_ND + 1e-3)])
    return np.asarray((both_NP - both_NP.mean(0)) / both_NP.std(0), np.float64)


def test_d_optimal_designs_tell_more_than_draws() -> None:
    """The determinant of the regression's information, against the mean over random choices of the same candidates."""
    rng = np.random.default_rng(0)
    pool_MD = dirichlet(NATURAL, FREE, 100, rng)
    picked_ND = d_optimal(pool_MD, NATURAL[None], 12)
    rows = {w_D.tobytes(): i for i, w_D in enumerate(pool_MD)}
    index = [rows[w_D.tobytes()] for w_D in picked_ND]
    assert len(set(index)) == 12
    x_MP = features(pool_MD)

    def information(which: list[int]) -> float:
        return float(np.linalg.slogdet(x_MP[which].T @ x_MP[which] + 1e-3 * np.eye(8))[1])

    drawn = [information(rng.choice(100, 12, replace=False).tolist()) for _ in range(50)]
    assert information(index) > max(drawn)


def test_d_optimal_designs_do_not_repeat_what_is_there_and_end_with_the_candidates() -> None:
    corners_MD = np.eye(4) * 0.97 + 0.0075
    others_2D = d_optimal(corners_MD, corners_MD[[0, 0, 1, 1]], 2)
    assert sorted(others_2D.tolist()) == sorted(corners_MD[[2, 3]].tolist())
    assert len(d_optimal(corners_MD, NATURAL[None], 9)) == 4
    assert len(d_optimal(corners_MD, NATURAL[None], 0)) == 0
