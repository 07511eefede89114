from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cuvee.base.errors import UsageError
from cuvee.methods.baselines import Uniform, UniMax
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture
from cuvee.plan.choice import Choice, Estimate
from cuvee.plan.problem import Limit, Problem, Proxy, Target
from cuvee.plan.trial import Cost, Curve, Trial
from cuvee.predict.detect import detectable
from cuvee.study import judge
from tests.study.fakes import GUARD

QUESTION = Problem(
    domains=("a", "b", "c"),
    tokens=(60_000, 30_000, 10_000),
    target_tokens=100_000,
    objective=(Target("a", 3), Target("c", 1)),
    proxy=Proxy(tokens=20_000, seq_len=16),
    max_epochs=2,
    guards=(GUARD,),
)


def mixture(*shares: float) -> Mixture:
    return Mixture.from_array(QUESTION.domains, np.array(shares))


def trial(m: Mixture, block: int, *losses: float, split: str = "search") -> Trial:
    plan = QUESTION.plan(m, block, "verify" if split == "verify" else "search")
    curves = tuple(Curve(d, (1, 2), (9.0, loss), (9.0, loss)) for d, loss in zip(QUESTION.domains, losses, strict=True))
    return Trial(plan.id("f"), plan, "done", curves, (1, 1, 1), Cost(1, 1, 1), {})


def test_student_against_a_textbook_case() -> None:
    # mean 1.0, sd 0.2236, n 5; t(0.95, 4) = 2.1318
    found = judge.student("x", [0.7, 0.9, 1.0, 1.1, 1.3])
    half = 2.131847 * math.sqrt(0.05 / 5)
    assert found.mean == pytest.approx(1.0)
    assert (found.low, found.high) == pytest.approx((1 - half, 1 + half), abs=1e-6)
    # P(T < -10) with 4 degrees of freedom, twice that is 0.000562
    assert found.p_better == pytest.approx(0.000281, abs=1e-6)
    assert judge.student("x", [-1, 1, -2, 2]).p_better == pytest.approx(0.5)
    assert judge.student("x", [0.7, 0.9, 1.0, 1.1, 1.3], limit=1.0).p_better == pytest.approx(0.5)


def test_student_without_spread_or_with_one_block() -> None:
    assert judge.student("x", [0.0, 0.0]) == Estimate("x", 0, 0, 0, 0.5)
    assert judge.student("x", [-1.0, -1.0]).p_better == 1
    assert judge.student("x", [-1.0]) == Estimate("x", -1, -math.inf, math.inf, 0.5)


@pytest.mark.parametrize("blocks", [2, 4, 8])
def test_intervals_cover_at_their_rate(blocks: int) -> None:
    rng = np.random.default_rng(blocks)
    found = [judge.student("x", rng.normal(-0.03, 0.05, blocks).tolist()) for _ in range(2000)]
    covered = np.mean([e.low <= -0.03 <= e.high for e in found])
    assert covered == pytest.approx(0.90, abs=0.025)


def test_p_better_is_calibrated() -> None:
    # with a flat prior on the true difference, P(better) is the share of cases in which it is negative
    rng = np.random.default_rng(0)
    truth = rng.uniform(-1, 1, 6000)
    p = np.array([judge.student("x", rng.normal(t, 0.3, 4).tolist()).p_better for t in truth])
    for low, high in [(0.1, 0.3), (0.3, 0.7), (0.7, 0.9)]:
        chosen = (p > low) & (p < high)
        assert np.mean(truth[chosen] < 0) == pytest.approx(np.mean(p[chosen]), abs=0.08)


@pytest.mark.parametrize("blocks", [2, 4, 10])
def test_the_detectable_gain_is_found_four_times_in_five(blocks: int) -> None:
    gain = detectable(0.04, blocks)
    rng = np.random.default_rng(blocks)
    d_NB = rng.normal(-gain, 0.04, (20_000, blocks))
    t_N = d_NB.mean(1) / (d_NB.std(1, ddof=1) / math.sqrt(blocks))
    from scipy import stats

    found = np.mean(t_N < stats.t.ppf(0.05, blocks - 1))
    assert found == pytest.approx(0.8, abs=0.015)


def test_what_cannot_be_detected() -> None:
    assert detectable(0.04, 1) == math.inf
    assert math.isnan(detectable(math.nan, 4))
    assert detectable(0.0, 4) == 0
    assert detectable(0.04, 5) < detectable(0.04, 4)


def test_the_value_is_the_weighted_mean_of_the_targets() -> None:
    one = trial(mixture(1, 1, 1), 0, 1.0, 2.0, 3.0)
    assert judge.value(QUESTION.objective, one) == pytest.approx((3 * 1 + 3) / 4)
    assert math.isnan(judge.value((Target("a"),), replace(one, curves=())))


def test_noise_pools_the_spread_of_paired_differences() -> None:
    natural, x, y = QUESTION.natural, mixture(1, 1, 1), mixture(2, 1, 1)
    trials = [trial(natural, b, 5.0 + b, 1, 5.0 + b) for b in range(3)]
    trials += [trial(x, b, 5.0 + b + d, 1, 5.0 + b + d) for b, d in enumerate((0.1, 0.2, 0.3))]
    trials += [trial(y, b, 5.0 + b + d, 1, 5.0 + b + d) for b, d in enumerate((0.0, 0.4))]
    trials += [trial(mixture(1, 0, 1), 7, 1, 1, 1)]  # no natural in its block
    assert judge.noise(QUESTION, trials) == pytest.approx(math.sqrt((0.02 + 0.08) / 3))
    assert math.isnan(judge.noise(QUESTION, trials[:3]))


def test_the_best_seen_is_feasible_done_and_paired() -> None:
    natural, good, lucky, wild = QUESTION.natural, mixture(0.5, 0.4, 0.1), mixture(0.4, 0.5, 0.1), mixture(0, 0, 1)
    trials = [trial(natural, b, 3, 3, 3) for b in range(2)]
    trials += [trial(good, 0, 2, 3, 2), trial(good, 1, 2.1, 3, 2.1), trial(lucky, 0, 2.5, 3, 2.5)]
    trials += [trial(wild, 0, 1, 1, 1), trial(lucky, 9, 0, 0, 0)]
    assert judge.best_observed(QUESTION, trials) == Schedule.constant(good)
    broken = [replace(t, status="diverged") if t.plan.schedule == Schedule.constant(good) else t for t in trials]
    assert judge.best_observed(QUESTION, broken) == Schedule.constant(lucky)
    assert judge.best_observed(QUESTION, trials[:2]) is None
    unscored = [trial(wish, 0, math.nan, 3, 3) for wish in (mixture(0.5, 0.3, 0.2), mixture(0.5, 0.2, 0.3))]
    assert judge.best_observed(QUESTION, [*unscored, *trials]) == Schedule.constant(good)


def test_arms_obey_the_bounds_and_share_runs_when_equal() -> None:
    bounded = replace(QUESTION, limits=(Limit("b", max_share=0.2),))
    chosen = bounded.feasible().project_mixture(bounded.natural)
    choice = Choice("m", Schedule.constant(chosen))
    arms = judge.arms(bounded, choice, [])
    assert list(arms) == ["choice", "natural", "uniform", "unimax"]
    assert arms["natural"] == Schedule.constant(bounded.natural)
    for name in ("choice", "uniform", "unimax"):
        assert bounded.feasible().contains(arms[name].at(0).shares)
    same = judge.lineup(QUESTION, Choice("natural", Schedule.constant(QUESTION.natural)), [], 4, "f")
    assert same.arms["choice"] == same.arms["natural"]
    assert len(same.plans) == 4 * len({p.plan.schedule for arm in same.arms.values() for p in arm})
    assert {p.plan.block for p in same.plans} == {1000, 1001, 1002, 1003}


def test_the_present_blend_is_an_arm_within_the_bounds() -> None:
    bounded = replace(QUESTION, limits=(Limit("b", max_share=0.2),), present=mixture(1, 8, 1))
    arms = judge.arms(bounded, Choice("m", Schedule.constant(bounded.natural)), [])
    assert list(arms) == ["choice", "natural", "uniform", "unimax", "present"]
    assert arms["present"].at(0).share("b") == pytest.approx(0.2)
    assert bounded.feasible().contains(arms["present"].at(0).shares)
    with pytest.raises(UsageError, match="the present blend mixes x, y"):
        replace(QUESTION, present=Mixture.from_shares({"x": 1, "y": 1}))


@pytest.mark.parametrize("method", [Uniform(), UniMax()])
@pytest.mark.parametrize("max_epochs", [None, 2.0])
def test_the_choice_of_a_plain_rule_is_its_arm_to_the_unit(method: Uniform | UniMax, max_epochs: float | None) -> None:
    question = replace(QUESTION, tokens=(60_000, 30_001, 9_001), max_epochs=max_epochs, limits=(Limit("b", 0.1, 0.3),))
    choice = method.choose(question, (), np.random.default_rng(0))
    line = judge.lineup(question, choice, [], 2, "f")
    assert line.arms["choice"] == line.arms[method.name]
    assert len(line.plans) == 2 * len({p.plan.schedule for arm in line.arms.values() for p in arm})


def test_phases_are_scaled_to_the_proxy() -> None:
    x, y = mixture(1, 1, 1), mixture(2, 1, 1)
    schedule = Schedule((Phase(0, x), Phase(75_000, y)))
    assert judge.scaled(schedule, QUESTION) == Schedule((Phase(0, x), Phase(15_000, y)))


def test_the_verdict_pairs_by_block_and_tests_guards() -> None:
    chosen = mixture(0.5, 0.3, 0.2)
    lineup = judge.lineup(QUESTION, Choice("m", Schedule.constant(chosen)), [], 3, "f")
    runs = {p.id: p.plan for p in lineup.plans}
    trials = []
    for run, plan in runs.items():
        turn = plan.block - judge.FIRST_BLOCK
        shift = 10.0 * turn
        gain = 0.1 * (turn + 1) if plan.schedule == Schedule.constant(chosen) else 0.0
        done = trial(plan.schedule.at(0), plan.block, 20 + shift - gain, 20 + gain, 20 + shift - gain, split="verify")
        trials.append(replace(done, id=run))
    verdict = judge.verdict(QUESTION, lineup, trials)
    arm = verdict.arm("choice")
    assert arm.blocks == (1000, 1001, 1002)
    assert arm.differences == pytest.approx((-0.1, -0.2, -0.3))
    objective, a, b, c, guard = arm.estimates
    assert (objective.name, a.name, b.name, c.name, guard.name) == ("objective", "a", "b", "c", "guard:rest")
    assert objective.mean == pytest.approx(-0.2)
    assert b.mean == pytest.approx(0.2)
    assert guard.mean == pytest.approx(0.01)
    assert guard.p_better > 0.99
    assert verdict.missing == ()
    assert verdict.trials == tuple(sorted(runs))
    fewer = [t for t in trials if t.plan.block != 1001 or t.plan.schedule != Schedule.constant(QUESTION.natural)]
    fewer = [t for t in fewer if t.plan.block != 1002 or t.plan.schedule != Schedule.constant(chosen)]
    partly = judge.verdict(QUESTION, lineup, fewer)
    assert partly.arm("choice").blocks == (1000,)
    assert partly.arm("uniform").blocks == (1000, 1002)
    assert partly.missing == ("choice, block 1002: not run", "natural, block 1001: not run")
    nothing = judge.verdict(QUESTION, lineup, [])
    assert nothing.arm("choice").estimates == ()
