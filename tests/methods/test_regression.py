"""The regression method in worlds: rounds, blocks, failures, guards, and what it says of its choice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from cuvee.base.errors import UsageError
from cuvee.base.rng import generator
from cuvee.methods.deciding import ask
from cuvee.methods.explain import bounds, degenerate, guard, percent
from cuvee.methods.past import Weighed
from cuvee.methods.random import Random
from cuvee.methods.regression import Regression
from cuvee.methods.report import estimates
from cuvee.mixture.weights import Mixture
from cuvee.plan.choice import Estimate
from cuvee.plan.problem import Guard, Limit, Target
from cuvee.plan.sizes import size
from cuvee.plan.trial import Start
from cuvee.predict.diagnose import Signs
from cuvee.predict.ridge import RidgeLog
from cuvee.predict.table import Table
from cuvee.testing.worlds import play, world

pytestmark = pytest.mark.slow

QUICK = Regression(runs=24, blocks=4, predictor="ridge-log")


def test_first_round_has_the_anchors_in_every_block_and_balance() -> None:
    w = world("law", 1, domains=5)
    plans = Regression(runs=48, blocks=4).propose(w.problem, (), generator(0, "x"))
    assert len(plans) == 29
    per_block = Counter(p.block for p in plans)
    assert set(per_block) == {0, 1, 2, 3}
    assert max(per_block.values()) - min(per_block.values()) <= 1
    everywhere = [m for m, n in Counter(p.schedule.at(0) for p in plans).items() if n == 4]
    assert w.problem.natural in everywhere
    assert len(everywhere) == 2
    assert len(set(plans)) == len(plans)


def test_runs_are_counted_over_all_rounds() -> None:
    for method, rounds in ((QUICK, 2), (replace(QUICK, rounds=1), 1), (replace(QUICK, rounds=3), 3)):
        played = play(world("power", 2, domains=4), method)
        assert sum(played.rounds) == 24
        assert len(played.rounds) == rounds


def test_failed_runs_count_and_are_not_made_again() -> None:
    played = play(replace(world("power", 2, domains=4), failing=0.3), QUICK)
    assert len(played.trials) == 24
    left_out = sum(t.status != "done" for t in played.trials)
    assert played.choice.diagnostics["left_out"] == left_out > 0
    assert "diverged or failed" in played.choice.why[0]


def test_more_runs_go_on_from_the_trials_there() -> None:
    w = world("law", 1, domains=4)
    trials = play(w, QUICK).trials
    more = replace(QUICK, runs=30).propose(w.problem, trials, generator(0, "more"))
    assert len(more) == 6
    assert not {w.run(p).id for p in more} & {t.id for t in trials}


def test_finds_the_optimum_of_a_world_without_noise() -> None:
    w = world("law", 3, domains=5, pointed=True)
    quiet = replace(w, noise=replace(w.noise, offset=0.05, bend=0.0, run=0.0))
    played = play(quiet, Regression(runs=32, predictor="log-linear"))
    assert quiet.regret(played.choice.schedule.at(0)) < 0.001
    objective = played.choice.predicted[0]
    assert objective.mean == pytest.approx(quiet.value(played.choice.schedule.at(0).shares), abs=0.002)


def test_what_a_choice_says() -> None:
    w = world("law", 3, domains=5, pointed=True)
    choice = play(w, Regression(runs=32, predictor="log-linear")).choice
    assert [e.name for e in choice.predicted] == ["objective", *w.problem.domains]
    assert [r.domain for r in choice.near_optimal] == list(w.problem.domains)
    assert all(r.low <= r.high and r.tolerance == 0.002 for r in choice.near_optimal)
    assert choice.diagnostics["lobo_spearman"] > 0.8
    assert 0 < choice.diagnostics["lobo_rmse"] < 0.1
    assert 0 < choice.diagnostics["paired_noise"] < 0.1
    assert choice.diagnostics["blocks"] == 4
    measured = {c.trial: c.measured for c in choice.checks}
    assert len(measured) == 32 - 4
    assert any("At their caps" in line for line in choice.why)
    shares = choice.schedule.at(0).shares
    np.testing.assert_array_less(shares, w.problem.feasible().high_D + 1e-6)
    assert not np.any((shares > 0) & (shares < 0.002))


def test_checks_are_predicted_without_the_block() -> None:
    """A block shifted in one mixture's losses changes nothing about how that block is predicted."""
    w = world("law", 1, domains=4)
    trials = play(w, QUICK).trials
    choice = QUICK.choose(w.problem, trials, generator(0, "x"))
    victim = next(t for t in trials if t.plan.block == 2 and t.plan.schedule.at(0) != w.problem.natural)
    worse = replace(
        victim, curves=tuple(replace(c, bits_per_byte=tuple(b + 1 for b in c.bits_per_byte)) for c in victim.curves)
    )
    changed = QUICK.choose(w.problem, [worse if t is victim else t for t in trials], generator(0, "x"))
    before, after = ({c.trial: c for c in x.checks} for x in (choice, changed))
    assert after[victim.id].predicted == pytest.approx(before[victim.id].predicted)
    assert after[victim.id].measured == pytest.approx(before[victim.id].measured + 1)


def test_guards_hold_with_their_probability_and_are_reported() -> None:
    w = world("law", 3, domains=5, pointed=True)
    guard = Guard("rest", tuple(Target(d) for d in w.problem.domains[:3]), 0.02)
    guarded = replace(w, problem=replace(w.problem, guards=(guard,)))
    method = Regression(runs=32, predictor="log-linear")
    free, held = play(w, method).choice, play(guarded, method).choice
    estimate = held.predicted[-1]
    assert estimate.name == "guard:rest"
    assert estimate.p_better >= 0.9 - 1e-3
    assert estimate.mean < 0.02
    assert free.predicted[0].mean < held.predicted[0].mean < 0
    assert any(line.startswith("Guard: rest") for line in held.why)
    loss_2T = guarded.losses(np.stack([held.schedule.at(0).shares, w.problem.natural.shares]))
    assert loss_2T[0, :3].mean() / loss_2T[1, :3].mean() - 1 < 0.025


def test_one_block_has_intervals_of_the_fit_and_says_what_they_lack() -> None:
    choice = play(world("law", 1, domains=4), Regression(runs=12, blocks=1)).choice
    assert choice.predicted[0].low < choice.predicted[0].high
    assert any("Only one block" in line and "seed" in line for line in choice.why)


def test_two_blocks_widen_the_intervals_and_say_so() -> None:
    w = world("law", 1, domains=4)
    two, four = (play(w, Regression(runs=24, blocks=blocks)).choice for blocks in (2, 4))
    assert any("Only 2 blocks" in line and "1 degree of freedom" in line for line in two.why)
    assert not any("blocks:" in line for line in four.why)
    narrow, wide = (c.predicted[0].high - c.predicted[0].low for c in (four, two))
    assert wide > narrow


def test_too_few_done_runs_fall_back_to_natural() -> None:
    w = world("law", 1, domains=4)
    choice = QUICK.choose(w.problem, play(w, QUICK).trials[:2], generator(0, "x"))
    assert choice.schedule.at(0) == w.problem.natural
    assert "too few" in choice.why[0]


def test_a_predictor_of_one_s_own() -> None:
    choice = play(world("law", 1, domains=4), replace(QUICK, predictor=RidgeLog(eps=1e-2))).choice
    assert "RidgeLog" in choice.why[0]


@pytest.mark.parametrize(
    "arguments",
    [
        {"runs": 8, "blocks": 4},
        {"rounds": 0},
        {"first": 1.0},
        {"blocks": 0},
        {"predictor": "forest"},
        {"aversion": -1.0},
    ],
)
def test_bad_hyperparameters(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Regression(**arguments)  # type: ignore[arg-type]


def test_a_guard_that_nothing_meets_gives_no_ranges() -> None:
    w = world("law", 2, domains=5, pointed=True)
    # natural itself is forbidden by a floor, so a guard without tolerance on the large domains cannot be met
    limits = (Limit(w.problem.domains[-1], min_share=0.3),)
    guard = Guard("all the rest", tuple(Target(d) for d in w.problem.domains[:3]), 0.0)
    hard = replace(w, problem=replace(w.problem, guards=(guard,), limits=limits, max_epochs=None))
    choice = play(hard, Regression(runs=32, predictor="log-linear")).choice
    assert any(line.startswith("Guard not met") for line in choice.why)
    assert choice.near_optimal == ()
    assert not any("not sharp" in line for line in choice.why)


def test_nothing_is_not_at_a_tiny_cap() -> None:
    w = world("law", 1, domains=4)
    tiny, half = w.problem.domains[0], w.problem.domains[1]
    problem = replace(w.problem, max_epochs=None, limits=(Limit(tiny, max_share=0.0004), Limit(half, max_share=0.5)))
    w_D = np.array([0.0, 0.5, 0.25, 0.25])
    lines = bounds(w_D * problem.target_tokens / np.array(problem.tokens), problem.feasible(), w_D)
    assert lines == (f"At their caps: {half} (50.0 %, {0.5 * problem.target_tokens / problem.tokens[1]:.1f} epochs).",)


def test_the_present_blend_is_tasted_in_the_first_round_and_kept_within_the_bounds() -> None:
    base = world("law", 3).problem
    n = len(base.domains)
    present = Mixture.from_array(base.domains, np.arange(1.0, n + 1))
    problem = replace(base, present=present)
    plans = Regression(runs=24).propose(problem, (), np.random.default_rng(0))
    assert problem.feasible().project_mixture(present) in {p.schedule.at(0) for p in plans}
    assert problem.plan(problem.natural, 0).id("f") == base.plan(base.natural, 0).id("f"), "runs stay the same runs"


@pytest.mark.parametrize("method", [Regression(), Random()])
def test_a_domain_that_the_reference_lacks_is_tasted(method: Regression | Random) -> None:
    w = world("law", 1, domains=4)
    reference = Mixture.from_array(w.problem.domains, np.array([0.5, 0.3, 0.2, 0.0]))
    plans = method.propose(replace(w.problem, reference=reference), (), generator(0, "x"))
    new_N = np.array([p.schedule.at(0).shares[3] for p in plans])
    assert sum(p.schedule.at(0) == reference for p in plans) == 4, "the reference of every block"
    assert np.mean(new_N > 0) > 0.3


def test_forgetting_is_no_surer_than_natural_s_own_level() -> None:
    w = world("law", 1, domains=4)
    start = Start("0", replace(size("0.1M"), name="checkpoint"), 256)
    guard = Guard("keep", (Target(w.problem.domains[0]),), 0.0, against="checkpoint")
    problem = replace(w.problem, proxy=replace(w.problem.proxy, size="checkpoint", start=start), guards=(guard,))
    table = Table.from_trials(w.problem, play(w, QUICK).trials)
    posterior, natural_D = RidgeLog().fit(table), problem.natural.shares
    started = replace(table, start_T=posterior.mean(natural_D[None])[0] + 0.001)
    question = ask(problem, Weighed(started, "ridge-log", posterior))
    (rule,) = question.guards
    level_N = table.loss_NT[table.natural_N, 0]
    assert rule.error == pytest.approx(np.std(level_N, ddof=1) / 2)
    assert 0.5 < question.sureness(rule, natural_D) < 1, "natural is as sure as its four blocks are"
    estimate = estimates(problem, question, natural_D)[-1]
    assert estimate.high - estimate.low == pytest.approx(2 * 2.3534 * rule.error / rule.level, rel=1e-3)
    w_D = np.array([0.4, 0.3, 0.2, 0.1])
    steps = 1e-5 * (np.eye(4) - 0.25)
    rises = [(question.room(rule, w_D + s) - question.room(rule, w_D - s)) / 2 for s in steps]
    assert rises == pytest.approx(steps @ question.room_slope(rule, w_D), rel=1e-3)


def test_a_corner_that_no_run_was_near_is_explained_and_priced() -> None:
    w = world("law", 3, domains=5)
    top = w.problem.domains[0]
    problem = replace(w.problem, objective=(Target(top),), max_epochs=None, limits=(Limit(top, max_share=0.4),))
    choice = play(replace(w, problem=problem), Regression(runs=24, predictor="log-linear", rounds=1)).choice
    free = choice.unconstrained
    assert free is not None
    assert free.mixture.share(top) > choice.schedule.at(0).share(top)
    assert free.predicted.mean < choice.predicted[0].mean
    assert free.epochs[top] == pytest.approx(free.mixture.share(top) * problem.target_tokens / problem.tokens[0])
    (line,) = [x for x in choice.why if x.startswith("Without caps, floors and guards")]
    assert f"{top} {percent(free.mixture.share(top))}" in line


def test_signs_become_sentences() -> None:
    w = world("law", 1, domains=4)
    a, b, *_ = w.problem.domains
    mixture = Mixture.from_shares({**dict.fromkeys(w.problem.domains, 0.0), a: 0.97, b: 0.03})
    signs = Signs(a, 0.6, 0.3, {b: 0.05}, {a: 0.5}, False, ())
    lines = degenerate(signs, mixture)
    assert lines[0].startswith(f"Nearly everything is {a} (97.0 %)")
    assert f"{b} (3.0 %, no run below 5.0 %) and {a} (97.0 %, no run above 50.0 %)" in lines[1]
    assert "Far from every run: 0.60" in lines[2]
    flat = degenerate(Signs("", 0.1, 0.3, {}, {}, True, (a,)), mixture)
    assert len(flat) == 2
    assert a in flat[0]
    assert "predicted alike" in flat[1]
    assert degenerate(Signs("", 0.1, 0.3, {}, {}, False, ()), mixture) == ()


def test_aversion_is_a_hyperparameter() -> None:
    w = world("law", 1, domains=4)
    trials = play(w, QUICK).trials
    bold, wary = (
        replace(QUICK, aversion=x).choose(w.problem, trials, generator(0, "x")).predicted[0] for x in (0.0, 4.0)
    )
    assert wary.high - wary.low < bold.high - bold.low
    assert wary.mean >= bold.mean - 1e-4


def test_a_guard_is_said_so_that_it_holds_for_scores_too() -> None:
    line = guard(Guard("acc", (Target("acc"),), 0.05), Estimate("guard:acc", 0.03, 0.01, 0.05, 0.95), False, True)
    assert "acc gets worse by +3.00 %" in line
