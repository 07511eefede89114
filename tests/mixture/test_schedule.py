from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.codec import canonical, from_json, to_json
from cuvee.base.errors import InfeasibleError, UsageError
from cuvee.mixture.schedule import Phase, Schedule, cooldown, floored, upsampled
from cuvee.mixture.weights import UNIT, Mixture


def mixture(**shares: float) -> Mixture:
    return Mixture.from_shares(shares)


A, B, C = mixture(x=1, y=0, z=0), mixture(x=0, y=1, z=0), mixture(x=0.2, y=0.2, z=0.6)


def test_a_ramp_goes_in_a_straight_line_from_what_was_in_force() -> None:
    schedule = Schedule((Phase(0, A), Phase(100, B, 40)))
    assert [schedule.at(t).share("y") for t in (0, 100, 110, 120, 139)] == pytest.approx([0, 0, 0.25, 0.5, 0.975])
    assert schedule.at(140) == schedule.at(10**15) == B
    cut = schedule.then(120, C, ramp=10)
    assert cut.at(120) == schedule.at(120), "a ramp that is cut hands over what it had come to"
    assert cut.at(125).as_dict() == pytest.approx({"x": 0.35, "y": 0.35, "z": 0.3})
    assert cut.at(130) == C


units = st.lists(st.integers(0, 1000), min_size=3, max_size=3).filter(any)
phases = st.lists(st.tuples(st.integers(1, 60), units, st.integers(0, 90)), max_size=4)


def made(first: list[int], later: list[tuple[int, list[int], int]]) -> Schedule:
    schedule, start = Schedule.constant(Mixture.from_array("xyz", np.array(first, float))), 0
    for wait, weights, ramp in later:
        start += wait
        schedule = schedule.then(start, Mixture.from_array("xyz", np.array(weights, float)), ramp=ramp)
    return schedule


@settings(max_examples=40)
@given(units, phases, st.integers(1, 400))
def test_the_mean_is_that_of_the_weights_at_every_token(first: list[int], later: object, total: int) -> None:
    schedule = made(first, later)  # type: ignore[arg-type]
    assert all(sum(schedule.at(t).units) == UNIT for t in range(total))
    # in the middle of each token, where a straight line has its mean
    fine = schedule.stretched(2)
    wanted = np.mean([fine.at(2 * t + 1).shares for t in range(total)], axis=0)
    assert schedule.mean(total).shares == pytest.approx(wanted, abs=1e-6)


@pytest.mark.slow
@settings(max_examples=40)
@given(units, phases)
def test_weights_are_the_same_up_to_where_it_says(first: list[int], later: object) -> None:
    schedule = made(first, later)  # type: ignore[arg-type]
    for t in range(0, 330, 3):
        until = schedule.steady(t)
        assert until is None or until > t
        assert all(schedule.at(s) == schedule.at(t) for s in range(t, min(until or 330, 330)))


@settings(max_examples=40)
@given(units, phases, st.integers(1, 7))
def test_steps_have_the_mean_of_their_ramps(first: list[int], later: object, steps: int) -> None:
    schedule = made(first, later).stretched(1000)  # type: ignore[arg-type]
    plain = schedule.stepped(steps)
    assert not any(p.ramp for p in plain.phases)
    assert plain.mean(500_000).shares == pytest.approx(schedule.mean(500_000).shares, abs=1e-3)
    assert plain.at(499_999).shares == pytest.approx(schedule.at(499_999).shares, abs=0.1)


def test_a_schedule_without_ramps_is_written_as_before_there_were_any() -> None:
    plain = Schedule((Phase(0, A), Phase(75, B)))
    assert "ramp" not in json.dumps(to_json(plain)) + canonical(plain)
    for schedule in (plain, plain.then(100, C, ramp=7)):
        assert from_json(Schedule, json.loads(json.dumps(to_json(schedule)))) == schedule


@pytest.mark.parametrize("phases", [(Phase(0, A, 5),), (Phase(0, A), Phase(5, B, -1))])
def test_ramps_that_come_from_nowhere_are_refused(phases: tuple[Phase, ...]) -> None:
    with pytest.raises(UsageError, match="ramps of"):
        Schedule(phases)
    with pytest.raises(UsageError, match="at least 1"):
        Schedule.constant(A).stepped(0)


def test_positions_may_be_written_as_floats_and_must_be_whole() -> None:
    schedule = Schedule.constant(A).then(80e9, B, ramp=1e9)  # type: ignore[arg-type]
    assert [(type(p.start), p.start, type(p.ramp), p.ramp) for p in schedule.phases[1:]] == [
        (int, 80 * 10**9, int, 10**9)
    ]
    assert upsampled(A, B, total=1e5, last=0.1, ramp=1e3).phases[1].start == 90_000  # type: ignore[arg-type]
    cooled = cooldown({"a": 10, "b": 20}, first=5.0, last=1.0, start=0, end=5e4)  # type: ignore[arg-type]
    assert all(isinstance(p.start, int) for p in cooled.phases)
    assert Phase(np.float32(1000), A).start == 1000  # type: ignore[arg-type]
    for wrong in (0.5, "80", float("nan"), None):
        with pytest.raises(UsageError, match="a whole number"):
            Schedule.constant(A).then(wrong, B)  # type: ignore[arg-type]


def test_upsampling_in_the_last_part() -> None:
    schedule = upsampled(A, C, total=1000, last=0.2, ramp=50)
    assert schedule == Schedule((Phase(0, A), Phase(800, C, 50)))
    with pytest.raises(UsageError, match="between 0 and 1"):
        upsampled(A, C, total=1000, last=1.5)


def test_temperature_cools_from_flat_to_natural() -> None:
    sizes = {"en": 1000, "de": 100, "is": 1}
    schedule = cooldown(sizes, first=5.0, last=1.0, start=0, end=1600)
    wanted = np.array([1000, 100, 1]) ** (1 / 5.0)
    assert schedule.at(0).shares == pytest.approx(wanted / wanted.sum())
    assert schedule.at(1600).shares == pytest.approx(np.array([1000, 100, 1]) / 1101)
    middle = np.array([1000, 100, 1]) ** (1 / 3.0)
    assert schedule.at(800).shares == pytest.approx(middle / middle.sum())
    falling = [schedule.at(t).share("is") for t in range(0, 1600, 50)]
    assert falling == sorted(falling, reverse=True)
    assert cooldown(sizes, first=5.0, last=1.0, start=400, end=1600).at(399) == schedule.at(0)
    with pytest.raises(UsageError, match="start < end"):
        cooldown(sizes, first=5.0, last=1.0, start=10, end=10)


@settings(max_examples=40)
@given(units, phases, st.floats(0, 0.5), st.floats(0, 0.5))
def test_floors_hold_everywhere_and_change_nothing_that_meets_them(
    first: list[int], later: object, x: float, y: float
) -> None:
    schedule = made(first, later)  # type: ignore[arg-type]
    raised = schedule.floored({"x": x, "y": y})
    for t in range(0, 330, 11):
        assert raised.at(t).share("x") >= x - 1e-8
        assert raised.at(t).share("y") >= y - 1e-8
    assert schedule.floored({"x": 0.0}) == schedule


def test_a_floor_takes_from_the_others_in_proportion() -> None:
    assert floored(mixture(old=0.01, a=0.66, b=0.33), {"old": 0.1}).as_dict() == pytest.approx(
        {"old": 0.1, "a": 0.6, "b": 0.3}
    )
    with pytest.raises(InfeasibleError, match="sum to"):
        floored(A, {"x": 0.6, "y": 0.6})
    with pytest.raises(UsageError, match="for 'q'"):
        floored(A, {"q": 0.6})


def test_a_schedule_that_is_squeezed_keeps_its_phases_a_token_apart() -> None:
    short = cooldown({"a": 900, "b": 100}, first=5.0, last=1.0, start=0, end=640).stretched(1 / 64)
    starts = [p.start for p in short.phases]
    assert starts[0] == 0
    assert all(b > a for a, b in pairwise(starts))
