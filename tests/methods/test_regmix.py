"""RegMix: its round, its rule on a case with a known answer, its choice, and what it does with few runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest

from cuvee.base.errors import UsageError
from cuvee.base.rng import generator
from cuvee.methods.regmix import RegMix, simulate
from cuvee.mixture.weights import Array
from cuvee.predict.posterior import Posterior
from cuvee.predict.table import Table
from cuvee.predict.trees import Trees
from cuvee.testing.worlds import play, world
from tests.predict.tables import PUBLISHED, published

QUICK = RegMix(runs=24, simulated=2000, best=16, predictor="ridge-log")


@dataclass(frozen=True)
class Known:
    """The first target is the distance of the first share from 0.4, the second that of the second from 0."""

    def loss(self, w_ND: Array) -> Array:
        return np.stack([np.abs(w_ND[:, 0] - 0.4), w_ND[:, 1]], axis=1)


def test_the_mean_of_the_best_of_many_draws() -> None:
    posterior = Posterior(Known(), {}, np.zeros((2, 2)))
    w_D = simulate(posterior, np.ones(3) / 3, np.array([0.5, 0.5]), generator(0, "x"), count=100_000, best=128)
    assert w_D == pytest.approx([0.4, 0.0, 0.6], abs=0.02)
    assert w_D.sum() == pytest.approx(1)
    every = simulate(posterior, np.array([0.6, 0.3, 0.1]), np.ones(2), generator(0, "x"), count=50_000, best=50_000)
    assert every == pytest.approx([0.6, 0.3, 0.1], abs=0.01), "the mean of all draws is the prior"


def test_one_round_with_natural_in_every_block() -> None:
    w = world("power", 2, domains=4)
    plans = QUICK.propose(w.problem, (), generator(0, "x"))
    assert len(plans) == 24
    assert Counter(p.block for p in plans) == {0: 6, 1: 6, 2: 6, 3: 6}
    assert sum(p.schedule.at(0) == w.problem.natural for p in plans) == 4
    assert QUICK.propose(w.problem, play(w, QUICK).trials[:5], generator(0, "x")) == ()


def test_it_finds_a_good_mixture_within_the_caps() -> None:
    w = world("power", 2, domains=4, pointed=True)
    choice = play(w, replace(QUICK, runs=48)).choice
    assert w.problem.feasible().contains(choice.schedule.at(0).shares)
    assert w.value(choice.schedule.at(0).shares) < 0
    assert choice.predicted[0].mean < 0


@pytest.mark.slow
def test_with_few_runs_trees_say_natural() -> None:
    w = world("power", 2, domains=4)
    few = Trees(trees=50)
    choice = play(w, RegMix(runs=24, simulated=4000, best=4000, predictor=few)).choice
    np.testing.assert_allclose(choice.schedule.at(0).shares, w.problem.natural.shares, atol=0.02)


@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED.exists(), reason="needs the published runs")
def test_the_published_runs_give_about_the_published_mixture() -> None:
    """The notebook's answer for Pile-CC is 0.891 of Pile-CC, the repository's 0.870."""
    domains, targets, w_ND, loss_NT = published("train")
    column = next(i for i, name in enumerate(targets) if "pile_cc" in name)
    one = np.zeros(len(w_ND), np.int64)
    ids = tuple(str(i) for i in range(len(w_ND)))
    table = Table(
        domains,
        targets[column : column + 1],
        w_ND,
        loss_NT[:, column : column + 1],
        one,
        ids,
        np.arange(1, len(w_ND) + 1),
    )
    prior_D = np.maximum(w_ND.mean(0), 1e-4) ** 2  # the design's centre is the prior's root
    fit = Trees().fit_once(table, None)
    posterior = Posterior(fit, {}, np.zeros((1, 1)))
    w_D = simulate(posterior, prior_D / prior_D.sum(), np.ones(1), generator(0, "x"), count=100_000, best=128)
    assert w_D[next(i for i, name in enumerate(domains) if "pile_cc" in name)] == pytest.approx(0.88, abs=0.05)


@pytest.mark.parametrize("arguments", [{"runs": 4}, {"best": 0}, {"best": 200_000}, {"predictor": "forest"}])
def test_bad_hyperparameters(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        RegMix(**arguments)  # type: ignore[arg-type]
