"""What the choice does to every target, against hand-made figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cuvee.mixture.schedule import Schedule
from cuvee.plan.choice import Verification
from cuvee.plan.problem import Target
from cuvee.report.data import Evidence
from cuvee.report.gains import against, gains
from cuvee.study import judge
from tests.report import fakes


def with_present(evidence: Evidence) -> tuple[Evidence, Verification]:
    """The evidence with an arm `present`, uniform, and its runs."""
    assert evidence.verification is not None
    uniform = next(a for a in evidence.verification.arms if a.name == "uniform")
    present = replace(uniform, name="present", schedule=Schedule.constant(uniform.schedule.at(0)))
    verification = replace(evidence.verification, arms=(*evidence.verification.arms, present))
    rng = np.random.default_rng(3)
    runs = [fakes.trial(evidence.problem, present.schedule.at(0), b, rng, "verify") for b in present.blocks]
    found = replace(evidence, verification=verification, verification_trials=(*evidence.verification_trials, *runs))
    return found, verification


def test_the_present_blend_is_compared_block_by_block() -> None:
    evidence, verification = with_present(fakes.study())
    arms = {a.name: a.schedule for a in verification.arms}
    runs = {(t.plan.schedule, t.plan.block): t for t in evidence.verification_trials}
    for row in gains(evidence)[1:]:
        d_B = [
            runs[arms["choice"], b].loss(row.name) - runs[arms["present"], b].loss(row.name) for b in range(1000, 1004)
        ]
        assert row.present == judge.student(row.name, d_B)
        assert row.present is not None
        assert row.present.mean == pytest.approx(np.mean(d_B))
    objective = gains(evidence)[0].present
    assert objective is not None
    assert objective.mean == pytest.approx(np.mean([r.present.mean for r in gains(evidence)[1:3] if r.present]))


def test_a_block_that_one_arm_lacks_is_left_out() -> None:
    evidence, verification = with_present(fakes.study())
    fewer = evidence.verification_trials[:-1]
    found = against(verification, fewer, "math", (Target("math"),))
    whole = against(verification, evidence.verification_trials, "math", (Target("math"),))
    assert found is not None
    assert whole is not None
    assert found.high - found.low > whole.high - whole.low
    assert against(verification, (), "math", (Target("math"),)) is None


def test_without_a_present_blend_there_is_nothing_to_say() -> None:
    assert all(row.present is None and row.present_larger is None for row in gains(fakes.study(stage="larger")))


def test_levels_are_natural_nearest_to_the_target_run() -> None:
    evidence = fakes.study(stage="larger")
    rows = {r.name: r for r in gains(evidence)}
    natural = [t for t in evidence.larger_trials if t.plan.schedule.at(0) == evidence.problem.natural]
    assert rows["math"].level == pytest.approx(np.mean([t.loss("math") for t in natural]))
    assert rows["math"].larger == next(e for e in evidence.larger.arms[0].estimates if e.name == "math")  # type: ignore[union-attr]
    assert rows["math"].best == rows["math"].larger
    small = [t for t in evidence.verification_trials if t.plan.schedule.at(0) == evidence.problem.natural]
    assert rows["math"].levels[1] == pytest.approx(np.mean([t.loss("math") for t in small])), "of its own scale"
    assert rows["math"].levels[2] == rows["math"].level
