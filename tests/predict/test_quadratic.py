"""The full quadratic against one."""

from __future__ import annotations

import numpy as np

from cuvee.mixture.weights import Array
from cuvee.predict.quadratic import Quadratic, QuadraticFit
from tests.predict.tables import make

SQUARE = np.array([[1.0, -2.0, 0.0], [-2.0, 0.5, 0.3], [0.0, 0.3, -1.0]])


def together(w_ND: Array) -> Array:
    """Two domains that help each other, and one target that is the first's opposite."""
    value_N = np.sum((w_ND @ SQUARE) * w_ND, axis=1)
    return np.stack([2.0 + value_N, -value_N], axis=1)


def test_a_quadratic_is_recovered() -> None:
    table, unseen_ND = make(together, runs=200, domains=3), np.random.default_rng(9).dirichlet(np.ones(3), 100)
    wrong_NT = Quadratic().fit(table).mean(unseen_ND) - together(unseen_ND)
    np.testing.assert_allclose(wrong_NT - wrong_NT.mean(0), 0.0, atol=5e-3)


def test_it_is_convex_only_where_it_bends_up_along_the_simplex() -> None:
    bowl = np.eye(3) - 5.0  # with shares that sum to 1 the constant does not matter
    fit = QuadraticFit(np.zeros(2), np.zeros((3, 2)), np.stack([bowl, SQUARE]))
    assert fit.convex(np.array([1.0, 0.0]))
    assert not fit.convex(np.array([-1.0, 0.0]))
    assert not fit.convex(np.array([0.0, 1.0]))
