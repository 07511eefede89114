"""What the report recommends, for every outcome that a study can have."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cuvee.mixture.schedule import Schedule
from cuvee.plan.choice import Estimate
from cuvee.plan.problem import Guard, Target
from cuvee.report.assemble import assemble
from cuvee.report.data import Evidence, Verdict
from cuvee.report.verdict import arm_label, label
from tests.report import fakes


def verified(mean: float, half: float, guard: Estimate | None = None) -> Evidence:
    evidence = fakes.study()
    assert evidence.choice is not None
    result = fakes.verification(evidence.problem, evidence.choice, mean, half)
    if guard is not None:
        arm = result.arms[0]
        result = replace(result, arms=(replace(arm, estimates=(*arm.estimates[:-1], guard)), *result.arms[1:]))
    return replace(evidence, verification=result)


def verdict(evidence: Evidence) -> Verdict:
    return assemble(evidence).verdict


def test_gain() -> None:
    found = verdict(verified(-0.055, 0.01))
    assert found.level == "gain"
    assert "0.0550 bits/byte" in found.headline
    assert "% lower loss than natural proportions" in found.headline
    assert any("inside the prediction's interval" in s for s in found.sentences)


@pytest.mark.parametrize(("mean", "half"), [(-0.004, 0.01), (0.004, 0.01), (-0.0099, 0.01)])
def test_no_significant_gain(mean: float, half: float) -> None:
    found = verdict(verified(mean, half))
    assert found.level == "none"
    assert found.headline.startswith("No significant gain")
    assert any("0.0081 bits/byte" in s for s in found.sentences)


def test_worse() -> None:
    found = verdict(verified(0.03, 0.01))
    assert found.level == "worse"
    assert "Do not use" in found.headline
    assert any("do not overlap" in s for s in found.sentences)


def test_one_block_is_no_verification() -> None:
    evidence = verified(-0.05, 0.01)
    assert evidence.verification is not None
    arm = evidence.verification.arms[0]
    endless = replace(arm, estimates=(Estimate("objective", -0.05, -math.inf, math.inf, 0.5), *arm.estimates[1:]))
    found = verdict(replace(evidence, verification=replace(evidence.verification, arms=(endless,))))
    assert found.level == "unverified"
    assert "at least two" in found.headline


@pytest.mark.parametrize(
    ("guard", "level", "words"),
    [
        (Estimate("guard:the rest", 0.015, 0.0, 0.03, 0.7), "guard", "is not confirmed"),
        (Estimate("guard:the rest", 0.021, -0.05, 0.09, 0.45), "guard", "is not confirmed"),
        (Estimate("guard:the rest", 0.05, 0.04, 0.06, 0.01), "worse", "breaks the guard the rest"),
    ],
)
def test_guards(guard: Estimate, level: str, words: str) -> None:
    data = assemble(verified(-0.055, 0.01, guard))
    assert data.verdict.level == level
    assert words in data.verdict.headline
    assert any("Guard the rest holds with probability" in w for w in data.warnings)


def with_uniform(evidence: Evidence, differences: tuple[float, ...], guard: Estimate | None = None) -> Evidence:
    """The evidence with other paired differences of the arm uniform."""
    assert evidence.verification is not None
    arms = list(evidence.verification.arms)
    i = next(k for k, a in enumerate(arms) if a.name == "uniform")
    estimates = [Estimate("objective", sum(differences) / 4, -1.0, 1.0, 0.9), *([guard] if guard else [])]
    arms[i] = replace(arms[i], differences=differences, estimates=tuple(estimates))
    return replace(evidence, verification=replace(evidence.verification, arms=tuple(arms[: i + 1])))


def test_an_alternative_is_compared_with_the_choice_block_by_block() -> None:
    evidence = verified(-0.034, 0.01)
    assert evidence.verification is not None
    d_B = evidence.verification.arms[0].differences
    better = verdict(with_uniform(evidence, tuple(d - 0.01 - 0.001 * (i % 2) for i, d in enumerate(d_B)))).sentences
    assert any("did better than the choice" in s and "Consider it instead" in s for s in better)
    same = verdict(with_uniform(evidence, tuple(d + 0.01 * (-1) ** i for i, d in enumerate(d_B)))).sentences
    assert any("cannot be told from the choice" in s for s in same)
    worse = verdict(with_uniform(evidence, tuple(d + 0.01 + 0.001 * (i % 2) for i, d in enumerate(d_B)))).sentences
    assert any("against the choice." in s for s in worse)


def test_an_alternative_that_breaks_a_guard_is_not_recommended() -> None:
    evidence = verified(-0.034, 0.01)
    assert evidence.verification is not None
    better = tuple(d - 0.01 for d in evidence.verification.arms[0].differences)
    name = f"guard:{evidence.problem.guards[0].name}"
    sentences = verdict(with_uniform(evidence, better, Estimate(name, 0.12, 0.11, 0.13, 0.0))).sentences
    assert not any("needs no search" in s for s in sentences)


def test_unverified() -> None:
    found = verdict(fakes.study(stage="chosen"))
    assert (found.level, found.badge) == ("unverified", "Not yet verified")
    assert found.headline.startswith("Predicted, but not yet verified")
    assert any("cuvee verify" in s for s in found.sentences)


@pytest.mark.parametrize(
    ("predicted", "words"),
    [
        ((), "of which nothing is known yet"),
        ((Estimate("objective", -0.01, math.nan, math.nan, math.nan),), "from one block"),
        ((Estimate("objective", -0.01, -0.03, 0.01, 0.8),), "No gain over natural proportions is predicted"),
    ],
)
def test_unverified_and_unsure(predicted: tuple[Estimate, ...], words: str) -> None:
    evidence = fakes.study(stage="chosen")
    assert evidence.choice is not None
    found = verdict(replace(evidence, choice=replace(evidence.choice, predicted=predicted)))
    assert words in found.headline


@pytest.mark.parametrize("stage", ["empty", "search"])
def test_no_choice(stage: str) -> None:
    found = verdict(fakes.study(stage=stage))
    assert found.level == "missing"
    assert any("cuvee run" in s for s in found.sentences)


def test_keep_natural() -> None:
    evidence = fakes.study(stage="chosen")
    assert evidence.choice is not None
    natural = replace(evidence.choice, schedule=Schedule.constant(evidence.problem.natural))
    found = verdict(replace(evidence, choice=natural))
    assert found.level == "none"
    assert "Keep" in found.headline


def test_a_verification_of_another_choice_is_not_shown() -> None:
    evidence = fakes.study()
    assert evidence.choice is not None
    other = replace(evidence.choice, schedule=evidence.trials[0].plan.schedule)
    data = assemble(replace(evidence, choice=other))
    assert data.verdict.level == "unverified"
    assert not data.verifications
    assert any("earlier choice" in w for w in data.warnings)


def test_warnings() -> None:
    evidence = fakes.study(target=40_000_000)
    assert evidence.verification is not None
    mixed = replace(evidence.trials[0], provenance={"torch": "2.8.0"})
    lost = replace(evidence.verification, missing=("choice, block 1000: failed",))
    found = " ".join(assemble(replace(evidence, trials=(mixed, *evidence.trials[1:]), verification=lost)).warnings)
    for words in (
        "Transfer unproven: proxies see 1/21.3",
        "1 run failed",
        "1 run diverged",
        "Runs differ in torch: 2.8.0, 2.9.0",
        "Runs differ in python: 3.11.7, not recorded",
        "choice, block 1000: failed",
    ):
        assert words in found


def test_a_sound_study_has_no_warnings() -> None:
    evidence = fakes.study()
    sound = tuple(t for t in evidence.trials if t.status == "done")
    assert assemble(replace(evidence, trials=sound)).warnings == ()


def test_few_blocks() -> None:
    evidence = fakes.study()
    few = tuple(t for t in evidence.trials if t.plan.block < 2 and t.status == "done")
    assert any("2 blocks only" in w for w in assemble(replace(evidence, trials=few)).warnings)


def at_both(proxy: tuple[float, float], large: tuple[float, float]) -> Evidence:
    """Verifications at both scales with these objectives (mean, half width)."""
    evidence = fakes.study(stage="larger")
    assert evidence.choice is not None
    small = fakes.verification(evidence.problem, evidence.choice, *proxy)
    return replace(evidence, verification=small, larger=fakes.larger(evidence.problem, evidence.choice, *large))


@pytest.mark.parametrize(
    ("proxy", "large", "level", "badge", "words"),
    [
        ((-0.05, 0.01), (-0.04, 0.01), "gain", "Gain verified at both scales", "0.0400 bits/byte"),
        (
            (-0.05, 0.01),
            (-0.004, 0.01),
            "scale",
            "Verified at proxy scale, not at the larger",
            "of 3M parameters cannot tell",
        ),
        ((-0.05, 0.01), (0.03, 0.01), "worse", "Verified worse", "larger runs of 3M parameters found it worse"),
        ((-0.004, 0.01), (-0.04, 0.01), "gain", "Gain verified at the larger scale", "0.0400 bits/byte"),
        ((0.03, 0.01), (-0.04, 0.01), "scale", "The scales disagree", "in proxies of 0.6M parameters"),
        ((-0.004, 0.01), (0.004, 0.01), "none", "No significant gain", "cannot tell"),
        ((0.03, 0.01), (0.004, 0.01), "worse", "Verified worse", "proxies of 0.6M parameters found it worse"),
    ],
)
def test_both_scales(
    proxy: tuple[float, float], large: tuple[float, float], level: str, badge: str, words: str
) -> None:
    found = verdict(at_both(proxy, large))
    assert (found.level, found.badge) == (level, badge)
    assert words in found.headline
    assert any("Measured in larger runs of 3M parameters" in s for s in found.sentences)


def test_a_gain_in_proxies_alone_says_so() -> None:
    found = verdict(verified(-0.055, 0.01))
    assert found.badge == "Gain verified at proxy scale"
    assert any("The largest runs behind this have 0.6M parameters" in s for s in found.sentences)


def test_one_larger_block_does_not_undo_the_proxies() -> None:
    evidence = at_both((-0.05, 0.01), (-0.04, math.inf))
    found = verdict(evidence)
    assert (found.level, "0.0500 bits/byte" in found.headline) == ("gain", True)
    assert found.badge == "Gain verified at proxy scale"


def test_a_guard_that_breaks_at_the_larger_scale_decides() -> None:
    evidence = at_both((-0.05, 0.01), (-0.04, 0.01))
    assert evidence.larger is not None
    arm = evidence.larger.arms[0]
    broken = replace(arm, estimates=(*arm.estimates[:-1], Estimate("guard:the rest", 0.05, 0.04, 0.06, 0.01)))
    larger = replace(evidence.larger, arms=(broken, *evidence.larger.arms[1:]))
    found = verdict(replace(evidence, larger=larger))
    assert (found.level, found.badge) == ("worse", "Guard broken")


def test_a_larger_verification_of_another_choice_is_not_shown() -> None:
    evidence = fakes.study(stage="larger")
    assert evidence.larger is not None
    other = replace(evidence.larger.arms[0], schedule=evidence.trials[0].plan.schedule)
    data = assemble(replace(evidence, larger=replace(evidence.larger, arms=(other, *evidence.larger.arms[1:]))))
    assert [v.scale for v in data.verifications] == ["proxy"]
    assert any("earlier choice" in w for w in data.warnings)


def test_transfer_is_warned_of() -> None:
    evidence = fakes.study()
    assert evidence.transfer is not None
    assert any("Transfer not checked" in w for w in assemble(replace(evidence, transfer=None)).warnings)
    vague = replace(evidence.transfer, spearman=0.3, low=-0.2, high=0.7)
    assert any("includes 0 (-0.20 to 0.70)" in w for w in assemble(replace(evidence, transfer=vague)).warnings)
    few = replace(evidence.transfer, spearman=math.nan, low=math.nan, high=math.nan, missing=("a",))
    found = " ".join(assemble(replace(evidence, transfer=few)).warnings)
    assert "Transfer not known" in found
    assert "1 run missing from the transfer check" in found
    sure = [w for w in assemble(evidence).warnings if "ransfer" in w]
    assert sure == []


def test_a_rule_without_a_search_needs_no_transfer() -> None:
    evidence = fakes.study(stage="chosen")
    assert evidence.choice is not None
    rule = replace(evidence, choice=replace(evidence.choice, predicted=(), checks=()), transfer=None)
    assert not any("ransfer not" in w for w in assemble(rule).warnings)


def test_an_arm_that_may_break_a_guard_says_so() -> None:
    """A gain that is bought with what was to be kept must not stand there as a better mixture."""
    evidence = verified(-0.03, 0.01)
    assert evidence.verification is not None
    question = replace(
        evidence.problem, guards=(Guard("rest", (Target(evidence.problem.domains[0]),), 0.02, probability=0.9),)
    )
    arm = evidence.verification.arms[-1]
    sure, unsure = (replace(arm, estimates=(Estimate("guard:rest", 0.01, 0.0, 0.02, p),)) for p in (0.95, 0.4))
    assert arm_label(question, sure) == label(arm.name)
    assert arm_label(question, unsure) == f"{label(arm.name)} (not sure to keep rest)"
