"""Signs of an optimum that says more of the prediction than of the mixtures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cuvee.mixture.feasible import FeasibleSet
from cuvee.mixture.rows import Row
from cuvee.predict.diagnose import diagnose, unconstrained
from cuvee.predict.loglinear import LogLinearFit
from cuvee.predict.optimise import minimise
from cuvee.predict.posterior import Posterior
from cuvee.predict.question import GuardRule, Question
from cuvee.predict.table import Table
from tests.predict.tables import make
from tests.predict.test_predictors import law

FIVE = ("d0", "d1", "d2", "d3", "d4")
BASE = np.full(5, 0.2)
SLOPES = np.array([[-3.0, 0.1], [0.2, 0.0], [0.1, 0.0], [0.3, 0.1], [0.5, -0.2]])


def table(spread: float = 4.0) -> Table:
    made = make(lambda w_ND: law(w_ND)[:, :2], domains=5, runs=24)
    w_ND = np.random.default_rng(0).dirichlet(np.full(5, spread), 24)
    return replace(made, shares_ND=w_ND)


def question(
    slopes: np.ndarray[tuple[int, ...], np.dtype[np.float64]], feasible: FeasibleSet | None = None
) -> Question:
    posterior = Posterior(LogLinearFit(np.ones(2), slopes), {}, np.zeros((2, 2)))
    return Question(posterior, feasible or FeasibleSet(FIVE, (0,) * 5, (1,) * 5), BASE, np.array([1.0, 0.0]))


def test_a_corner_beyond_every_run_is_recognised() -> None:
    asked = question(SLOPES)
    best = minimise(asked, [BASE])
    signs = diagnose(asked, best.w_D, table())
    assert signs.corner == "d0"
    assert signs.above["d0"] == pytest.approx(table().shares_ND[:, 0].max())
    assert set(signs.below) == {"d1", "d2", "d3", "d4"}
    assert signs.far
    assert signs.distance == pytest.approx(np.sqrt(2 - 2 * np.sqrt(table().shares_ND[:, 0].max())))
    assert not signs.flat


def test_a_mixture_among_the_runs_is_not_odd() -> None:
    asked, runs = question(SLOPES), table(spread=1.0)
    signs = diagnose(asked, runs.shares_ND[:2].mean(0), runs)
    assert not signs.corner
    assert not signs.below
    assert not signs.above
    assert not signs.far


def test_repeated_mixtures_do_not_count_as_neighbours() -> None:
    runs = table()
    twice = replace(runs, mixture_N=runs.mixture_N // 2, shares_ND=np.repeat(runs.shares_ND[::2], 2, axis=0))
    assert diagnose(question(SLOPES), BASE, twice).spacing > 0.05


def test_a_flat_objective_keeps_natural_and_says_so() -> None:
    asked = question(np.zeros((5, 2)))
    best = minimise(asked, [BASE, np.eye(5)[1], np.eye(5)[2]])
    np.testing.assert_allclose(best.w_D, BASE, atol=1e-9)
    runs = replace(table(), loss_NT=np.column_stack([np.ones(24), np.arange(24.0)]))
    signs = diagnose(asked, best.w_D, runs)
    assert signs.flat
    assert signs.constant == ("d0",)


def test_the_unconstrained_optimum_is_that_without_bounds() -> None:
    rows = (Row("r", (("d0", 1.0), ("d1", -1.0)), high=0.0),)
    rule = GuardRule("g", np.array([0.0, 1.0]), -0.05, 0.9)
    for asked in (
        question(SLOPES, FeasibleSet(FIVE, (0,) * 5, (0.3,) * 5)),
        question(SLOPES, FeasibleSet(FIVE, (0,) * 5, (1,) * 5, (), rows)),
        replace(question(SLOPES), guards=(rule,)),
    ):
        free = unconstrained(asked, BASE, table())
        assert free is not None
        np.testing.assert_allclose(free.w_D, np.eye(5)[0], atol=1e-6)
        assert free.value < minimise(asked, [BASE]).value
    assert unconstrained(question(SLOPES), BASE, table()) is None


def test_a_domain_that_never_varied_is_not_set_free() -> None:
    w_ND = np.insert(np.random.default_rng(0).dirichlet(np.ones(4), 24) * 0.9, 0, 0.1, axis=1)
    runs = replace(table(), shares_ND=w_ND)
    kept = FeasibleSet(FIVE, (0.1, 0, 0, 0, 0), (0.1, 1, 1, 1, 1))
    assert unconstrained(question(SLOPES, kept), w_ND[0], runs) is None, "the runs bound it, not the user"
    capped = FeasibleSet(FIVE, (0.1, 0, 0, 0, 0), (0.1, 0.2, 0.3, 0.5, 1))
    free = unconstrained(question(SLOPES, capped), w_ND[0], runs)
    assert free is not None
    np.testing.assert_allclose(free.w_D, [0.1, 0, 0.9, 0, 0], atol=1e-6)
