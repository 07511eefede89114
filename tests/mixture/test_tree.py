from __future__ import annotations

import numpy as np
import pytest

from cuvee.base.codec import from_json, to_json
from cuvee.base.errors import UsageError
from cuvee.mixture.designs import dirichlet
from cuvee.mixture.feasible import FeasibleSet
from cuvee.mixture.tree import Tree

DOMAINS = ("web/health/high", "web/health/low", "web/law", "code", "books/a", "books/b")
NATURAL_D = np.array([0.1, 0.3, 0.2, 0.1, 0.2, 0.1])


def test_groups_are_spelled_by_names() -> None:
    tree = Tree.from_names(DOMAINS)
    assert tree.groups == {"web": (0, 1, 2), "books": (4, 5), "web/health": (0, 1)}
    assert tree.sums(NATURAL_D) == pytest.approx({"web": 0.6, "books": 0.3, "web/health": 0.4})
    assert from_json(Tree, to_json(tree)) == tree
    assert Tree.from_names(("a.b", "c"), ".").groups == {"a": (0,)}


def test_draws_vary_at_every_level() -> None:
    tree, rng = Tree.from_names(DOMAINS), np.random.default_rng(0)
    w_ND = np.array([tree.draw(NATURAL_D, NATURAL_D, 2.0, rng) for _ in range(4000)])
    np.testing.assert_allclose(w_ND.sum(1), 1)
    np.testing.assert_allclose(w_ND.mean(0), NATURAL_D, atol=0.02)
    web_N, inside_N = w_ND[:, :3].sum(1), w_ND[:, 0] / np.maximum(w_ND[:, :2].sum(1), 1e-12)
    # a Beta variable of mean m and strength s has the variance m (1 - m) / (s + 1), at the top and inside alike
    assert np.var(web_N) == pytest.approx(0.6 * 0.4 / 3, rel=0.1)
    assert np.var(inside_N) == pytest.approx(0.25 * 0.75 / 3, rel=0.1)


def test_frozen_groups_keep_their_proportions() -> None:
    tree = Tree.from_names(DOMAINS, frozen=("web", "web/health", "books"))
    rows = tree.rows(DOMAINS, NATURAL_D)
    assert len(rows) == 3, "a group inside a frozen one adds nothing"
    feasible = FeasibleSet(DOMAINS, (0.0,) * 6, (1.0, 1.0, 1.0, 0.5, 1.0, 1.0), (), rows)
    w_ND = dirichlet(NATURAL_D, feasible, 20, np.random.default_rng(1), tree, NATURAL_D)
    assert len(np.unique(np.round(w_ND, 6), axis=0)) == 20
    for w_D in [*w_ND, feasible.project(np.array([0.0, 0.0, 0.5, 0.5, 0.0, 0.0]))]:
        assert feasible.contains(w_D)
        np.testing.assert_allclose(w_D[:3], w_D[:3].sum() * NATURAL_D[:3] / 0.6, atol=1e-9)
        np.testing.assert_allclose(w_D[4:], w_D[4:].sum() * NATURAL_D[4:] / 0.3, atol=1e-9)


def test_unknown_groups_are_named() -> None:
    with pytest.raises(UsageError, match="no group 'webb'") as caught:
        Tree.from_names(DOMAINS, frozen=("webb",))
    assert "did you mean 'web'" in str(caught.value)
