"""Successive halving: rungs of complete short runs, what goes on, what is never compared, what short runs are worth."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.errors import InfeasibleError, UsageError
from cuvee.base.rng import generator
from cuvee.methods.halving import Halving, agreement, differences, kept
from cuvee.methods.random import Random
from cuvee.mixture.weights import Mixture
from cuvee.plan.rungs import ladder
from cuvee.plan.sizes import learning_rate
from cuvee.plan.trial import Trial
from cuvee.predict.table import Table
from cuvee.study import judge
from cuvee.testing.worlds import Fidelity, Noise, World, play, with_noise, world

pytestmark = pytest.mark.slow

QUICK = Halving(runs=20, blocks=2, predictor="ridge-log")


def rounds(w: World, method: Halving) -> list[tuple[Trial, ...]]:
    """The trials of each round, as a study would make them."""
    made: list[tuple[Trial, ...]] = []
    while plans := method.propose(w.problem, [t for r in made for t in r], generator(0, "propose", len(made))):
        made.append(tuple(w.run(plan) for plan in plans))
    return made


def natural(w: World, trials: tuple[Trial, ...]) -> set[int]:
    return {t.plan.block for t in trials if t.plan.schedule.at(0) == w.problem.natural}


def test_rungs_are_complete_short_runs() -> None:
    """Each is what `problem.plan` makes of a problem with so many tokens: its own pools, rate, batch and whole length."""
    w = world("power", 1, domains=4)
    problem = replace(w.problem, proxy=replace(w.problem.proxy, batch=None))
    made = [QUICK.propose(problem, (), generator(0, "propose", 0))]
    for rung, share in zip(ladder(problem, 3, 0.5), (0.25, 0.5, 1.0), strict=True):
        tokens = math.ceil(share * problem.proxy.tokens)
        plan = rung.plan(problem.natural, 1)
        own = replace(problem, proxy=replace(problem.proxy, tokens=tokens)).plan(problem.natural, 1)
        assert replace(plan, kind="train") == own
        assert plan.kind == ("train" if share == 1 else "short")
        assert plan.learning_rate == pytest.approx(learning_rate(plan.shape.parameters, tokens), rel=1e-5)
        assert plan.pools == tuple(n * plan.tokens // problem.target_tokens for n in problem.tokens)
        made.append((plan,))
    assert {p.tokens for p in made[0]} == {made[1][0].tokens}
    assert len({p[0].batch for p in made[1:]}) == 3


def test_the_best_half_of_every_block_goes_on_and_natural_never_stops() -> None:
    w = world("power", 2, domains=5)
    made = rounds(w, QUICK)
    assert [len(r) for r in made] == [20, 10, 6] == [n for _, n in QUICK.stages(w.problem)]
    assert all(natural(w, r) == {0, 1} for r in made)
    for rung, before, after in zip(ladder(w.problem, 3, 0.5), made, made[1:], strict=False):
        values, went = differences(rung, before), {(t.plan.schedule.at(0), t.plan.block) for t in after}
        for block in (0, 1):
            ranked = sorted((key for key in values if key[1] == block), key=lambda key: values[key])
            count = len(ranked) // 2
            assert {key in went for key in ranked[:count]} == {True}
            assert {key in went for key in ranked[count:]} == {False}


def test_full_runs_that_no_rung_picked_are_said() -> None:
    w = world("power", 2, domains=5)
    made = play(w, QUICK).trials
    assert not any("shortest rung" in line for line in QUICK.choose(w.problem, made, generator(0, "choose", 0)).why)
    more = replace(QUICK, runs=28)
    assert more.propose(w.problem, made, generator(0, "propose", 0)) == ()
    said = more.choose(w.problem, made, generator(0, "choose", 0)).why
    assert any("has 20 of 28 runs" in line for line in said)


def test_what_goes_on_is_trained_anew_at_the_next_rung() -> None:
    w = world("power", 2, domains=5)
    made = rounds(w, QUICK)
    lengths = [{t.plan.tokens for t in r} for r in made]
    assert [len(found) for found in lengths] == [1, 1, 1]
    assert [max(found) for found in lengths] == [plan.tokens for plan, _ in QUICK.stages(w.problem)]
    assert len({t.id for r in made for t in r}) == 36


def test_saved_tokens_are_those_of_the_stages() -> None:
    problem = world("law", 1, domains=6).problem
    whole = problem.plan(problem.natural, 0).tokens
    assert sum(n * plan.tokens for plan, n in Halving().stages(problem)) == pytest.approx(48 * whole, rel=0.01)


def test_rungs_are_never_compared_with_each_other() -> None:
    """Short runs are a bit/byte worse here: whoever mixed them up would see natural's short runs as a huge loss."""
    w = replace(world("power", 2, domains=5), fidelity=Fidelity(level=1.0))
    trials = [t for r in rounds(w, QUICK) for t in r]
    full = [t for t in trials if t.plan.kind == "train"]
    assert Table.from_trials(w.problem, trials).ids == tuple(sorted(t.id for t in full))
    assert judge.by_schedule(w.problem, trials) == judge.by_schedule(w.problem, full)
    assert judge.best_observed(w.problem, trials) == judge.best_observed(w.problem, full)
    for rung in ladder(w.problem, 3, 0.5):
        assert max(map(abs, differences(rung, trials).values())) < 0.5
    assert Random().propose(w.problem, [t for t in trials if t.plan.kind == "short"], generator(0, "x"))


@settings(max_examples=15)
@given(st.randoms(use_true_random=False), st.integers(0, 2), st.sampled_from([0.0, 0.3]))
def test_propose_depends_on_the_trials_alone(shuffle: object, ended: int, failing: float) -> None:
    """Killed after any round and asked again, with the trials in any order and another generator, it proposes the same."""
    w = replace(world("power", 4, domains=4), failing=failing)
    trials = [t for r in rounds(w, QUICK)[: ended + 1] for t in r]
    first = QUICK.propose(w.problem, trials, generator(0, "propose", ended + 1))
    shuffle.shuffle(trials)  # type: ignore[attr-defined]
    assert QUICK.propose(w.problem, trials, generator(9, "other")) == first
    assert not set(first) & {t.plan for t in trials}


def test_runs_that_failed_stop_first_and_do_not_shrink_the_share() -> None:
    w = world("power", 3, domains=4)
    (first, *_) = rounds(w, QUICK)
    own = [t for t in first if t.plan.block == 0 and t.plan.schedule.at(0) != w.problem.natural]
    broken = {t.id for t in own[:5]}
    ended = [replace(t, status="failed", curves=()) if t.id in broken else t for t in first]
    went = QUICK.propose(w.problem, ended, generator(0, "x"))
    mixtures = {p.schedule for p in went if p.block == 0 and p.schedule.at(0) != w.problem.natural}
    assert mixtures == {t.plan.schedule for t in own[5:]}, "4 of 9 go on: those that are left"
    lost = {t.id for t in own}
    ended = [replace(t, status="diverged", curves=()) if t.id in lost else t for t in first]
    assert {p.block for p in QUICK.propose(w.problem, ended, generator(0, "x"))} == {1}


def test_a_block_whose_natural_failed_still_has_an_order() -> None:
    w = world("power", 3, domains=4)
    (first, *_) = rounds(w, QUICK)
    ended = [
        replace(t, status="failed", curves=())
        if t.plan.block == 0 and t.plan.schedule.at(0) == w.problem.natural
        else t
        for t in first
    ]
    assert set(QUICK.propose(w.problem, ended, generator(0, "x"))) == set(
        QUICK.propose(w.problem, first, generator(0, "x"))
    )


def test_all_runs_failed_is_the_end() -> None:
    played = play(replace(world("power", 2, domains=4), failing=1.0), QUICK)
    assert played.rounds == (20,)
    assert "too few" in played.choice.why[0]


def test_pools_that_would_be_too_small_are_refused_with_what_would_do() -> None:
    w = world("power", 1, domains=4)
    proxy = replace(w.problem.proxy, seq_len=512)
    least = 100 * 512 * w.problem.target_tokens // min(w.problem.tokens)
    problem = replace(w.problem, proxy=replace(proxy, tokens=2 * least))
    with pytest.raises(InfeasibleError, match="too small") as error:
        QUICK.propose(problem, (), generator(0, "x"))
    sound = int(str(error.value.fix).split("at least ")[1].split(", for")[0].replace(",", ""))
    assert 4 * least <= sound <= 4 * least + 8
    enough = replace(problem, proxy=replace(proxy, tokens=sound))
    assert len(QUICK.propose(enough, (), generator(0, "x"))) == 20


def test_capped_domains_are_within_their_cap_in_the_lowest_rung() -> None:
    """A pool that is small in the lowest rung alone is repeated in none of its runs."""
    w = world("power", 1, domains=4)
    proxy = replace(w.problem.proxy, seq_len=1024)
    problem = replace(w.problem, small_pools="cap", proxy=proxy)
    lowest = ladder(problem, 3, 0.5)[0]
    assert lowest.problem.small_pool_domains()
    assert not problem.small_pool_domains()
    for plan in QUICK.propose(problem, (), generator(0, "x")):
        mixture = plan.schedule.at(0)
        assert mixture == problem.natural or lowest.problem.feasible().contains(mixture.shares)


@given(st.integers(0, 200), st.floats(0.01, 0.99))
def test_kept(count: int, keep: float) -> None:
    assert min(count, 1) <= kept(count, keep) <= max(keep * count + 1e-6, 1)


def test_short_runs_that_tell_all_count_and_those_that_tell_nothing_do_little_harm() -> None:
    """With noise only in full runs the climbing fit gets most weight; with short runs that are noise it gets little."""
    base, method = world("power", 3, domains=5), Halving(runs=48, blocks=4)
    sure = replace(base, fidelity=Fidelity(level=0.3, slope=1.0, bend=0.0, noise=0.05))
    lost = replace(base, fidelity=Fidelity(level=0.3, slope=0.0, bend=0.3, noise=3.0))
    one, two = (play(w, method).choice for w in (sure, lost))
    assert one.diagnostics["short_weight"] > two.diagnostics["short_weight"]
    assert one.diagnostics["short_runs"] == 48 + 24
    assert base.regret(one.schedule.at(0)) < 0.5 * base.regret(base.problem.natural)
    assert base.regret(two.schedule.at(0)) < base.regret(base.problem.natural)
    assert one.diagnostics["rung_1_spearman"] > two.diagnostics["rung_1_spearman"]
    assert any("low fidelity" in line for line in one.why)


def test_the_evidence_names_the_short_runs() -> None:
    w = world("law", 2, domains=4)
    played = play(w, Halving(runs=24, blocks=3))
    assert set(played.choice.evidence) == {t.id for t in played.trials}
    assert Counter(t.plan.kind for t in played.trials)["short"] == played.choice.diagnostics["short_runs"]


def test_agreement_joins_by_mixture_and_block() -> None:
    quiet = with_noise(world("power", 2, domains=5), Noise(0.1, 0.0, 0.0))
    w = replace(quiet, fidelity=Fidelity(level=0.5, slope=0.5, bend=0.0))
    trials = [t for r in rounds(w, QUICK) for t in r]
    low, middle, full = ladder(w.problem, 3, 0.5)
    assert agreement(low, full, list(reversed(trials))) == pytest.approx(1.0)
    short, longer = differences(low, trials), differences(middle, trials)
    for key in longer:
        assert short[key] == pytest.approx(0.5 * longer[key], rel=0.05, abs=2e-4)


@pytest.mark.parametrize(
    "arguments", [{"runs": 19}, {"rungs": 1}, {"keep": 1.0}, {"keep": 0.1}, {"blocks": 1}, {"predictor": "forest"}]
)
def test_bad_hyperparameters(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Halving(**arguments)  # type: ignore[arg-type]


def test_estimates_of_mixtures_that_were_not_chosen() -> None:
    w = world("law", 2, domains=4)
    method = Halving(runs=24, blocks=3)
    played = play(w, method)
    other = Mixture.from_array(w.problem.domains, np.full(4, 0.25))
    chosen, flat = method.predict(w.problem, played.trials, [played.choice.schedule.at(0), other])
    assert chosen[0].mean == pytest.approx(played.choice.predicted[0].mean)
    assert flat[0].mean > chosen[0].mean
    assert method.predict(w.problem, (), [other]) == ((),)
