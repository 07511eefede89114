from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cuvee.base.errors import UsageError
from cuvee.base.rng import generator
from cuvee.methods.mixmin import MixMin
from cuvee.mixture.weights import Array
from cuvee.plan.problem import Guard, Limit, Problem, Target
from cuvee.plan.trial import Likelihoods, Measure, Trial
from cuvee.testing.methods import MethodSuite
from cuvee.testing.worlds import World, play, world

pytestmark = pytest.mark.slow


class TestMixMin(MethodSuite):
    method = MixMin()


class TestOfSequences(MethodSuite):
    method = MixMin(unit="examples", experts="ngrams", blocks=2)


def rng() -> np.random.Generator:
    return generator(0, "mixmin")


def free(domains: int = 4, targets: tuple[str, ...] = ()) -> World:
    """A world without caps."""
    w = world("law", 3, domains=domains)
    objective = tuple(Target(t) for t in targets) or w.problem.objective
    return replace(w, problem=replace(w.problem, max_epochs=None, objective=objective))


def told(w: World, problem: Problem, nats_TXD: Array) -> tuple[Trial, ...]:
    """Experts with these nats for the examples of every target."""
    plans = MixMin().propose(problem, (), rng())
    return tuple(
        replace(
            w.run(plan),
            likelihoods=tuple(
                Likelihoods.of(plan.wants[0], name, name, nats_XD[:, i], np.ones(len(nats_XD)))
                for name, nats_XD in zip(problem.domains, nats_TXD, strict=True)
            ),
        )
        for i, plan in enumerate(plans)
    )


def exponentiated_gradient(nats_XD: Array, steps: int) -> Array:
    """The published algorithm: w <- w exp(-gradient) / Z from uniform, on the mean of log-likelihoods of unit length."""
    w_D = np.full(nats_XD.shape[1], 1 / nats_XD.shape[1])
    p_XD = np.exp(-nats_XD)
    for _ in range(steps):
        w_D = w_D * np.exp(np.mean(p_XD / (p_XD @ w_D)[:, None], axis=0))
        w_D /= w_D.sum()
    return w_D


def test_each_expert_knows_its_own_examples_and_gets_their_share() -> None:
    w = free(targets=("d0",))
    shares = np.array([0.5, 0.25, 0.2, 0.05])
    own = np.repeat(np.arange(4), (200 * shares).astype(int))
    nats_XD = np.where(own[:, None] == np.arange(4), 1.0, 60.0).astype(float)
    choice = MixMin().choose(w.problem, told(w, w.problem, np.array([nats_XD] * 4, np.float64)), rng())
    assert choice.schedule.at(0).shares == pytest.approx(shares, abs=1e-3)
    assert choice.predicted == ()
    assert choice.diagnostics["ensemble_gain"] < 0
    assert len(choice.evidence) == 4


@pytest.mark.parametrize("seed", range(5))
def test_the_optimum_is_that_of_the_published_algorithm(seed: int) -> None:
    w = free(targets=("d0",))
    nats_XD = np.random.default_rng(seed).gamma(2.0, 1.0, (50, 4))
    choice = MixMin().choose(w.problem, told(w, w.problem, np.array([nats_XD] * 4, np.float64)), rng())
    published_D = exponentiated_gradient(nats_XD, 20_000)

    def value(w_D: Array) -> float:
        return float(-np.mean(np.log(np.exp(-nats_XD) @ w_D)))

    assert choice.schedule.at(0).shares == pytest.approx(published_D, abs=0.01)
    assert value(choice.schedule.at(0).shares) == pytest.approx(value(published_D), abs=2e-5)


def test_caps_and_guards_hold_the_experts() -> None:
    capped = replace(free(targets=("d0",)).problem, max_epochs=2.0)
    w = free()
    nats_TXD = np.array([np.tile(np.where(np.arange(4) == t, 1.0, 5.0), (25, 1)) for t in range(4)], np.float64)
    choice = MixMin().choose(capped, told(w, capped, nats_TXD), rng())
    cap = 2.0 * capped.tokens[0] / capped.target_tokens
    assert choice.schedule.at(0).share("d0") == pytest.approx(min(cap, 1.0), abs=1e-6)
    guarded = replace(capped, max_epochs=None, guards=(Guard("rest", (Target("d1"),), 0.02),))
    trials = told(w, guarded, nats_TXD)
    free_D = MixMin().choose(replace(guarded, guards=()), trials, rng()).schedule.at(0).shares
    held = MixMin().choose(guarded, trials, rng())
    assert held.schedule.at(0).share("d1") > 0.5 * guarded.natural.share("d1") > free_D[1]
    assert any("Guards" in line for line in held.why)
    assert not any("not met" in line for line in held.why)
    assert held.diagnostics["unmet_guards"] == 0
    forced = replace(guarded, limits=(Limit("d0", min_share=0.95),))
    missed = MixMin().choose(forced, trials, rng())
    assert missed.diagnostics["unmet_guards"] == 1
    assert any(line.startswith("Guard not met: by the experts' losses rest gets worse by +") for line in missed.why)


def test_a_failed_expert_leaves_natural_and_is_not_asked_for_again() -> None:
    w = free()
    played = play(w, MixMin())
    assert played.rounds == (4,)
    broken = (replace(played.trials[0], status="failed", curves=(), likelihoods=()), *played.trials[1:])
    choice = MixMin().choose(w.problem, broken, rng())
    assert choice.schedule.at(0).shares == pytest.approx(w.problem.natural.shares, abs=1e-6)
    assert MixMin().propose(w.problem, broken, rng()) == ()


def test_targets_without_likelihoods_are_refused() -> None:
    w = free()
    measure = Measure("answers", "choice", "s", "v", 100)
    problem = replace(w.problem, measures=(measure,), objective=(Target("answers"),))
    with pytest.raises(UsageError, match="answers"):
        MixMin().propose(problem, (), rng())


@pytest.mark.parametrize("options", [{"blocks": 0}, {"unit": "words"}, {"experts": "trees"}])
def test_options_that_do_not_exist_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="mixmin"):
        MixMin(**options)  # type: ignore[arg-type]


def test_the_gain_is_said_to_be_of_experts() -> None:
    choice = play(free(), MixMin()).choice
    assert any("not of a model trained on the mixture" in line for line in choice.why)
    assert math.isfinite(choice.diagnostics["ensemble_gain"])
