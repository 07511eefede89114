"""Worlds: the known best mixture is the best, noise is shared within blocks, runs repeat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cuvee.methods import Random
from cuvee.mixture.weights import Mixture
from cuvee.plan.rungs import ladder
from cuvee.testing.worlds import KINDS, Fidelity, Kind, Noise, play, with_noise, world


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pointed", [False, True])
def test_the_best_mixture_meets_the_optimality_conditions(kind: Kind, pointed: bool) -> None:
    """Losses are convex, so no feasible direction may descend; and no random mixture is better."""
    for seed in range(3):
        w = world(kind, seed, domains=5, pointed=pointed)
        feasible, rng = w.problem.feasible(), np.random.default_rng(seed)
        assert feasible.contains(w.best_D)
        for _ in range(50):
            other_D = feasible.project(rng.dirichlet(np.full(5, 0.5)))
            assert w.value(other_D) >= w.value(w.best_D) - 1e-7
            step_D = w.best_D + 1e-4 * (other_D - w.best_D)
            assert w.value(step_D) >= w.value(w.best_D) - 1e-8


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_convex(kind: Kind) -> None:
    w, rng = world(kind, 1, domains=5), np.random.default_rng(0)
    one_ND, two_ND = rng.dirichlet(np.ones(5), 100), rng.dirichlet(np.ones(5), 100)
    middle = w.losses((one_ND + two_ND) / 2)
    assert np.all(middle <= (w.losses(one_ND) + w.losses(two_ND)) / 2 + 1e-12)


def test_natural_is_the_reference() -> None:
    w = world("repeat", 2, domains=4)
    assert w.value(w.problem.natural.shares) == 0
    assert w.regret(w.problem.natural) == pytest.approx(-w.value(w.best_D))
    assert w.regret(Mixture.from_array(w.problem.domains, w.best_D)) == pytest.approx(0, abs=1e-7)


def test_noise_is_shared_within_a_block() -> None:
    w = with_noise(world("law", 1, domains=4), Noise(offset=0.1, bend=0.1, run=0.0))
    natural, other = w.problem.natural, Mixture.from_array(w.problem.domains, np.array([0.1, 0.2, 0.3, 0.4]))

    def loss(mixture: Mixture, block: int) -> float:
        return w.run(w.problem.plan(mixture, block)).loss("d0")

    def expected(mixture: Mixture) -> float:
        return float(w.losses(mixture.shares[None])[0, 0])

    # natural carries the offset alone; another mixture the offset and the bending, which differ between blocks
    offsets = [loss(natural, b) - expected(natural) for b in range(200)]
    bends = [loss(other, b) - expected(other) - offset for b, offset in enumerate(offsets)]
    assert np.std(offsets) == pytest.approx(0.1, rel=0.2)
    distance = float(np.linalg.norm(np.sqrt(other.shares) - np.sqrt(natural.shares)))
    assert np.std(bends) == pytest.approx(0.1 * distance, rel=0.2)
    assert abs(np.corrcoef(offsets, bends)[0, 1]) < 0.25


def test_runs_repeat_and_end_as_told() -> None:
    w = world("power", 1, domains=4)
    plan = w.problem.plan(w.problem.natural, 0)
    assert w.run(plan) == w.run(plan)
    assert len(w.run(plan).curves[0].tokens) == plan.eval_points
    trials = play(replace(w, failing=0.5), Random(runs=40, blocks=4)).trials
    assert {t.status for t in trials} == {"done", "failed", "diverged"}


def test_shorter_runs_are_worse_flatter_and_biased_alike_in_all_blocks() -> None:
    quiet = with_noise(world("power", 1, domains=4), Noise(0.0, 0.0, 0.0))
    other = Mixture.from_array(quiet.problem.domains, np.array([0.1, 0.2, 0.3, 0.4]))

    def differences(what: Fidelity) -> list[float]:
        """Other minus natural at a quarter, a half and all of the tokens; natural's level falls by `level` a halving."""
        w = replace(quiet, fidelity=what)
        pairs = [
            [w.run(r.plan(m, 0)).loss("d0") for m in (w.problem.natural, other)] for r in ladder(w.problem, 3, 0.5)
        ]
        assert pairs[0][0] - pairs[2][0] == pytest.approx(2 * what.level, rel=0.01)
        return [b - a for a, b in pairs]

    short, middle, full = differences(Fidelity(level=0.2, slope=0.5, bend=0.0))
    assert [short / full, middle / full] == pytest.approx([0.25, 0.5], rel=0.01)
    one, half, whole = differences(Fidelity(level=0.2, slope=1.0, bend=0.1))
    assert whole == full
    assert one - whole == pytest.approx(2 * (half - whole), rel=0.02)
    assert one != whole
