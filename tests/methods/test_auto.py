"""The sequential search in worlds: rounds, when it stops, blocks, failures, bounds, and what it says."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from cuvee.base.codec import from_json, to_json
from cuvee.base.errors import UsageError
from cuvee.base.rng import generator
from cuvee.methods.auto import Auto
from cuvee.methods.climb import Climb
from cuvee.methods.looking import Look
from cuvee.methods.mixmin import MixMin
from cuvee.methods.random import Random
from cuvee.methods.regmix import RegMix
from cuvee.methods.regression import Regression
from cuvee.methods.rounds import references
from cuvee.mixture.weights import Mixture
from cuvee.plan.problem import Guard, Limit, Target
from cuvee.plan.trial import Measure, Trial
from cuvee.predict.combine import block_error
from cuvee.predict.table import Table
from cuvee.testing.worlds import Noise, Played, World, play, world

pytestmark = pytest.mark.slow

QUICK = Auto(runs=48, predictor="ridge-log", tolerance=0.0)
ONCE = replace(QUICK, runs=28, first=0.7)
"""One later batch, where more would show no more."""
SILENT = Noise(offset=0.05, bend=0.0, run=0.0)


def blocks_of(played: Played, mixture: Mixture) -> set[int]:
    return {t.plan.block for t in played.trials if t.plan.schedule.at(0) == mixture}


def test_first_round_has_the_references_in_every_block_and_balance() -> None:
    w = world("law", 1, domains=5)
    plans = Auto().propose(w.problem, (), generator(0, "x"))
    assert len(plans) == len(set(plans)) == 24
    assert set(Counter(p.block for p in plans).values()) == {6}
    counts = Counter(p.schedule.at(0) for p in plans)
    assert {m for m, n in counts.items() if n > 1} == set(references(w.problem))
    assert all(counts[m] == 4 for m in references(w.problem))
    assert all(
        w.problem.feasible().contains(p.schedule.at(0).shares) for p in plans if p.schedule.at(0) != w.problem.natural
    )


def test_batches_are_balanced_and_never_taste_twice() -> None:
    w = world("power", 2, domains=4)
    played = play(w, replace(QUICK, runs=36, batch=4))
    assert played.rounds == (18, 4, 4, 4, 4, 2)
    assert len({(t.plan.schedule.at(0), t.plan.block) for t in played.trials}) == 36
    counts = Counter(t.plan.block for t in played.trials)
    # a mixture tasted again goes where it was not yet
    assert max(counts.values()) - min(counts.values()) <= 2


def test_later_runs_lower_the_expected_regret() -> None:
    w = world("power", 3, domains=5)
    played = play(w, QUICK)
    first = set(QUICK.propose(w.problem, (), generator(w.problem.seed, "propose", 0)))
    early = [t for t in played.trials if t.plan in first]
    assert len(early) == 24
    before = QUICK.choose(w.problem, early, generator(0, "x")).diagnostics
    after = played.choice.diagnostics
    assert after["expected_regret"] < before["expected_regret"]
    assert any(line.startswith("The best shares") and " to " in line for line in played.choice.why)
    assert before["regret_after_a_batch"] < before["expected_regret"]


def quiet(w: World) -> World:
    return replace(w, noise=SILENT)


def test_stops_early_without_noise_and_goes_on_with_it() -> None:
    w = world("law", 3, domains=4)
    method = replace(QUICK, tolerance=0.0002, predictor="log-linear")
    still, loud = play(quiet(w), method), play(replace(w, noise=Noise(0.1, 0.1, 0.1)), method)
    assert 32 <= len(still.trials) < 48
    assert quiet(w).regret(still.choice.schedule.at(0)) < 0.001
    assert len(loud.trials) == 48
    assert "below the tolerance of 0.0002" in still.choice.why[-1]
    assert "more runs would lower it to about" in loud.choice.why[-1]


def test_it_stops_only_after_a_mixture_below_the_tolerance_was_seen_in_every_block() -> None:
    w = world("law", 3, domains=4)
    method = replace(QUICK, tolerance=10.0)
    played = play(w, method)
    assert played.rounds == (24, 8, 8), "32 trials at least, then the choice in every block"
    seen = Counter(t.plan.schedule.at(0) for t in played.trials)
    assert sum(n == 4 and m not in references(w.problem) for m, n in seen.items()) == 1
    assert replace(method, runs=60).propose(w.problem, played.trials, generator(0, "x")) == ()
    assert replace(method, tolerance=0.0, runs=60).propose(w.problem, played.trials, generator(0, "x"))


def test_many_domains_stop_no_earlier_than_twice_their_number() -> None:
    played = play(world("law", 5, domains=18), replace(QUICK, tolerance=10.0, runs=56, first=0.4))
    assert len(played.trials) >= 36


def test_no_tolerance_is_what_a_verification_would_detect() -> None:
    w = world("law", 3, domains=4)
    choice = play(w, replace(ONCE, tolerance=None)).choice
    noise, tolerance = choice.diagnostics["paired_noise"], choice.diagnostics["tolerance"]
    assert tolerance == pytest.approx(noise * 1.6497, rel=0.001), "t with 3 degrees of freedom, 5 %, 80 % power"
    assert play(quiet(w), replace(ONCE, tolerance=None)).choice.diagnostics["tolerance"] == 0.002
    alone = play(w, replace(ONCE, tolerance=None, blocks=1))
    assert len(alone.trials) == 28, "one block knows of no noise"
    sure = play(w, replace(ONCE, tolerance=10.0, blocks=1, runs=40, first=0.8))
    assert len(sure.trials) == 40, "in one block every mixture was tasted in all, which tells of no second round"


def test_the_same_trials_in_any_order_or_from_json_propose_the_same() -> None:
    w = world("power", 2, domains=4)
    trials = play(w, ONCE).trials[:20]
    read = [from_json(Trial, json.loads(json.dumps(to_json(t)))) for t in reversed(trials)]
    one, two = (ONCE.propose(w.problem, t, generator(0, "x")) for t in (trials, read))
    assert one == two != ()
    assert to_json(ONCE.choose(w.problem, trials, generator(0, "x"))) == to_json(
        ONCE.choose(w.problem, read, generator(0, "x"))
    )


@pytest.mark.parametrize("failing", [0.3, 1.0])
def test_failures_do_not_stall_it(failing: float) -> None:
    played = play(replace(world("power", 2, domains=4), failing=failing), ONCE)
    assert len(played.trials) == len({t.id for t in played.trials}) == 28
    assert played.choice.why
    if failing == 1.0:
        assert "too few" in played.choice.why[0]


@pytest.mark.parametrize("domains", [2, 12])
def test_few_and_many_domains(domains: int) -> None:
    w = world("power", 4, domains=domains)
    played = play(w, ONCE)
    assert w.problem.feasible().contains(played.choice.schedule.at(0).shares)
    assert w.regret(played.choice.schedule.at(0)) < 0.02


def test_caps_floors_and_guards_are_kept() -> None:
    w = world("law", 3, domains=5, pointed=True)
    guard = Guard("rest", tuple(Target(d) for d in w.problem.domains[:3]), 0.02)
    limits = (Limit(w.problem.domains[0], min_share=0.1), Limit(w.problem.domains[4], max_share=0.15))
    bound = replace(w, problem=replace(w.problem, guards=(guard,), limits=limits))
    played = play(bound, replace(ONCE, predictor="log-linear"))
    for trial in played.trials:
        mixture = trial.plan.schedule.at(0)
        assert mixture == w.problem.natural or bound.problem.feasible().contains(mixture.shares)
    loss_2T = bound.losses(np.stack([played.choice.schedule.at(0).shares, w.problem.natural.shares]))
    assert loss_2T[0, :3].mean() / loss_2T[1, :3].mean() - 1 < 0.025


def test_predict_agrees_with_the_choice() -> None:
    w = world("law", 1, domains=4)
    played = play(w, ONCE)
    (found,) = ONCE.predict(w.problem, played.trials, [played.choice.schedule.at(0)])
    for one, other in zip(found, played.choice.predicted, strict=True):
        assert one.name == other.name
        assert one.mean == pytest.approx(other.mean, abs=1e-6)


INFORMED = Auto(runs=20, batch=4, tolerance=0.0, evidence="ngrams")


@pytest.fixture(scope="module")
def informed() -> tuple[World, Played]:
    w = world("law", 2, domains=3)
    return w, play(w, INFORMED)


def test_ngrams_are_asked_for_once_and_do_not_count_as_runs(informed: tuple[World, Played]) -> None:
    _, played = informed
    assert played.rounds == (12 + 3, 4, 4)
    ngrams = [t.plan for t in played.trials if t.plan.kind == "ngram"]
    assert sorted(np.argmax(p.schedule.at(0).shares) for p in ngrams) == [0, 1, 2]
    runs = [t.plan for t in played.trials if t.plan.kind == "train"]
    assert set(Counter(p.block for p in runs).values()) == {5}, "n-gram models take no place in a block"


def test_ngrams_move_the_prediction_and_the_choice_says_so(informed: tuple[World, Played]) -> None:
    w, played = informed
    trials, runs = played.trials, [t for t in played.trials if t.plan.kind == "train"]
    assert any("n-gram model of every domain counts" in line for line in played.choice.why)
    place = [Mixture.from_array(w.problem.domains, np.array([0.1, 0.2, 0.7]))]
    (with_them,), (without,) = (INFORMED.predict(w.problem, some, place) for some in (trials, runs))
    assert with_them[0].mean != without[0].mean
    plain = replace(INFORMED, evidence="none").predict(w.problem, trials, place)
    assert plain[0][0].mean == without[0].mean, "without evidence they are no part of anything"


def test_a_failed_ngram_model_leaves_the_runs_alone(informed: tuple[World, Played]) -> None:
    w, played = informed
    one = next(t for t in played.trials if t.plan.kind == "ngram")
    broken = [t if t is not one else replace(t, status="failed", curves=(), likelihoods=()) for t in played.trials]
    choice = INFORMED.choose(w.problem, broken, generator(0, "x"))
    assert any("from the runs alone" in line for line in choice.why)
    assert INFORMED.propose(w.problem, broken, generator(0, "x")) == (), "it is not asked for again"
    plain = replace(INFORMED, evidence="none").choose(w.problem, broken, generator(0, "x"))
    assert choice.schedule == plain.schedule


def test_a_study_that_turns_to_ngrams_makes_them_next() -> None:
    w = world("law", 2, domains=3)
    first = [w.run(p) for p in replace(INFORMED, evidence="none").propose(w.problem, (), generator(0, "x"))]
    done = [replace(t, status="failed", curves=()) for t in first]
    assert Counter(p.kind for p in INFORMED.propose(w.problem, done, generator(0, "x"))) == {"ngram": 3, "train": 4}


def test_ngrams_refuse_an_outside_trainer() -> None:
    problem = world("law", 2, domains=3).problem
    measures = (Measure("score", "outside"),)
    outside = replace(problem, trainer="outside", measures=measures, objective=(Target("score"),))
    with pytest.raises(UsageError, match="outside trainer"):
        INFORMED.propose(outside, (), generator(0, "x"))


@pytest.mark.parametrize(
    "arguments",
    [
        {"runs": 8},
        {"first": 0.0},
        {"first": 1.5},
        {"batch": 0},
        {"tolerance": -1.0},
        {"blocks": 0},
        {"predictor": "forest"},
        {"evidence": "tea leaves"},
        {"evidence": "ngrams", "predictor": "ridge-log"},
    ],
)
def test_bad_hyperparameters(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Auto(**arguments)  # type: ignore[arg-type]


def test_experts_of_an_earlier_method_are_no_runs_of_mixtures() -> None:
    w = world("power", 2, domains=5)
    experts = tuple(w.run(plan) for plan in MixMin().propose(w.problem, (), generator(0, "x")))
    for method in (Auto(), Random(), Regression(), RegMix(predictor="ridge-log"), Climb(predictor="ridge-log")):
        alone = method.propose(w.problem, (), generator(0, "x"))
        assert method.propose(w.problem, experts, generator(0, "x")) == alone


def test_no_regret_is_known_where_no_mixture_keeps_the_guards() -> None:
    w = world("law", 1, domains=4)
    plans = QUICK.propose(w.problem, (), generator(0, "x"))
    trials = tuple(w.run(plan) for plan in plans)
    look = Look.of(w.problem, trials, Table.from_trials(w.problem, trials), "ridge-log", 0.0, generator(0, "y"))
    assert 0 <= look.regret < math.inf
    assert replace(look, optimum=replace(look.optimum, guarded=False)).regret == math.inf
    centre = references(w.problem)[1]
    assert look.sure_regret(4, ()) < math.inf
    at = look.mixtures.index(centre)
    broken_M = np.where(np.arange(len(look.mixtures)) == at, 0.0, look.stakes.sure_M)
    unsure = replace(look, stakes=replace(look.stakes, sure_M=broken_M))
    assert unsure.sure_regret(4, (w.problem.natural,)) == math.inf
    failed = tuple(replace(t, status="failed", curves=()) if t.plan.schedule.at(0) == centre else t for t in trials)
    again = Look.of(w.problem, failed, Table.from_trials(w.problem, failed), "ridge-log", 0.0, generator(0, "y"))
    assert len(again.tasted[centre]) == 4
    assert again.sure_regret(4, (w.problem.natural,)) == math.inf


def test_failed_runs_do_not_count_towards_the_fewest() -> None:
    w = world("law", 3, domains=4)
    method = replace(QUICK, tolerance=10.0, runs=64)
    ended = play(w, method).trials
    assert len(ended) == 40
    assert method.propose(w.problem, ended, generator(0, "x")) == ()
    (choice,) = (
        m for m, n in Counter(t.plan.schedule.at(0) for t in ended).items() if n == 4 and m not in references(w.problem)
    )
    kept = {*references(w.problem), choice}
    spare = [t.id for t in ended if t.plan.schedule.at(0) not in kept][:9]
    failed = [replace(t, status="failed", curves=()) if t.id in spare else t for t in ended]
    assert method.propose(w.problem, failed, generator(0, "x")), "31 runs that ended well are fewer than 32"


def test_without_a_mixture_in_two_blocks_runs_are_thought_as_noisy_as_the_fit_misses_them() -> None:
    w = world("law", 1, domains=4)
    plans = replace(QUICK, runs=24, blocks=1, first=1.0).propose(w.problem, (), generator(0, "x"))
    trials = tuple(w.run(plan) for plan in plans)
    table = Table.from_trials(w.problem, trials)
    look = Look.of(w.problem, trials, table, "ridge-log", 0.0, generator(0, "y"))
    assert math.isnan(look.noise)
    assert look.run_noise == block_error(look.question.posterior, table, look.question.a_T) > 0.001
    assert replace(look, noise=0.02).run_noise == pytest.approx(0.02 / math.sqrt(2))
