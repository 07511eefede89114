"""The recommendation and how sure, in sentences that a manager can read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cuvee.plan.choice import Arm, Choice, Estimate, Verification
from cuvee.plan.problem import Problem
from cuvee.report.data import Evidence, GuardRow, Verdict
from cuvee.report.gains import level, objective, paired
from cuvee.report.text import count, interval, plural, probability, ratio, signed
from cuvee.study import judge
from cuvee.study.documents import text_error

LABELS = {
    "choice": "Choice",
    "natural": "Natural",
    "uniform": "Uniform",
    "unimax": "UniMax",
    "present": "Present blend",
    "best seen": "Best of the search",
}


def label(name: str) -> str:
    """An arm's name for a reader."""
    return LABELS.get(name, name)


@dataclass(frozen=True)
class Tested:
    """The choice's verification at one scale: in words where, natural's objective there (NaN when unknown)."""

    verification: Verification
    arm: Arm
    where: str
    natural_loss: float

    @property
    def estimate(self) -> Estimate:
        """The objective's difference to natural."""
        return self.arm.estimates[0]

    @property
    def outcome(self) -> Literal["gain", "none", "worse", "endless"]:
        """What the interval says; `endless` for one block."""
        if not math.isfinite(self.estimate.high - self.estimate.low):
            return "endless"
        return "gain" if self.estimate.high < 0 else "worse" if self.estimate.low > 0 else "none"


def verdict(evidence: Evidence, guards: tuple[GuardRow, ...]) -> Verdict:
    """What to do and how sure, in the objective's unit."""
    found, unit = _verdict(evidence, guards), evidence.problem.unit
    said = [line.replace("bits/byte", unit) for line in (found.headline, *found.sentences)]
    return replace(found, headline=said[0], sentences=tuple(said[1:]))


def _verdict(evidence: Evidence, guards: tuple[GuardRow, ...]) -> Verdict:
    choice = evidence.choice
    if choice is None:
        return _no_choice(evidence)
    tests = _tests(evidence)
    if choice.schedule.mean(evidence.problem.target_tokens) == evidence.problem.natural:
        return _keep_natural(choice, tests)
    if not tests:
        return _unverified(choice, level(evidence.problem, evidence.problem.objective, evidence.trials))
    return _verified(evidence, choice, tests, guards)


def _tests(evidence: Evidence) -> tuple[Tested, ...]:
    """The verifications, the proxies' scale first."""
    problem, found = evidence.problem, []
    scales = (
        ("proxies", evidence.verification, evidence.verification_trials),
        ("larger runs", evidence.larger, evidence.larger_trials),
    )
    for name, verification, trials in scales:
        arm = verified_arm(verification, "choice")
        if verification is not None and arm is not None:
            size = (verification.proxy or problem.proxy).size
            natural_loss = level(problem, problem.objective, trials)
            found.append(Tested(verification, arm, f"{name} of {size} parameters", natural_loss))
    return tuple(found)


def verified_arm(verification: Verification | None, name: str) -> Arm | None:
    """The arm of that name with its estimates, if it was verified."""
    arms = verification.arms if verification is not None else ()
    return next((a for a in arms if a.name == name and a.estimates), None)


def _no_choice(evidence: Evidence) -> Verdict:
    done = sum(t.status == "done" for t in evidence.trials)
    return Verdict(
        "missing",
        "No choice yet",
        "There is no recommendation yet: the search has not ended.",
        (f"{plural(done, 'proxy run')} finished so far. Run the study again to go on: cuvee run STUDY.yaml",),
    )


def _keep_natural(choice: Choice, tests: tuple[Tested, ...]) -> Verdict:
    more = " Fresh runs have nothing to compare it with but itself." if tests else ""
    return Verdict(
        "none",
        "Keep natural",
        "Keep the corpus's natural proportions: the method chose them.",
        (f"The method {choice.method} recommends what the corpus already is, so there is no gain to report.{more}",),
    )


def _unverified(choice: Choice, natural_loss: float) -> Verdict:
    badge, todo = (
        "Not yet verified",
        "Fresh runs on text that the search never saw have not tested it: cuvee verify STUDY.yaml",
    )
    predicted = objective(choice.predicted)
    if predicted is None:
        headline = f"The mixture of {choice.method}, of which nothing is known yet."
        return Verdict("unverified", badge, headline, ("This method predicts no gain.", todo))
    if not math.isfinite(predicted.high - predicted.low):
        headline = "Predicted from one block, which says nothing of how sure the gain is; nothing is verified yet."
    elif predicted.high < 0:
        headline = f"Predicted, but not yet verified: {_better(predicted, natural_loss)}."
    else:
        headline = "No gain over natural proportions is predicted with confidence, and nothing is verified yet."
    return Verdict("unverified", badge, headline, (f"Predicted difference: {_range(predicted)}.", todo))


def _verified(evidence: Evidence, choice: Choice, tests: tuple[Tested, ...], guards: tuple[GuardRow, ...]) -> Verdict:
    """By the outcomes at the scales; a single block says nothing where another scale has more."""
    told = [t for t in tests if t.outcome != "endless"] or list(tests)
    nearest, outcomes = told[-1], [t.outcome for t in told]
    sentences = (
        *(f"Measured in {t.where}: {_range(t.estimate)}, over {_pairs(t.arm)}." for t in tests),
        *_agreement(choice, tests[0]),
        *_alternatives(evidence, nearest),
        *_transfer(evidence),
        _scale(evidence),
    )
    better, natural = _better(nearest.estimate, nearest.natural_loss), "natural proportions"
    if outcomes == ["endless"]:
        headline = "One fresh block says nothing of how sure the gain is: verify with at least two, better four."
        return Verdict("unverified", "Not yet verified", headline, sentences)
    if outcomes == ["worse", "gain"]:
        headline = (
            f"{_first(nearest.where)} bring {better}, but in {told[0].where} this mixture was worse than {natural}."
        )
        return Verdict("scale", "The scales disagree", headline, sentences)
    if "worse" in outcomes:
        where = told[outcomes.index("worse")].where
        headline = f"Do not use this mixture: fresh {where} found it worse than {natural}."
        return Verdict("worse", "Verified worse", headline, sentences)
    if outcomes == ["gain", "none"]:
        small = _better(told[0].estimate, told[0].natural_loss)
        headline = f"Not confirmed at scale: {told[0].where} bring {small}, but {nearest.where} cannot tell this mixture from {natural}."
        return Verdict(
            "scale", "Verified at proxy scale, not at the larger", headline, (*sentences, *_power(nearest, ""))
        )
    if outcomes[-1] == "gain":
        return _gain(better, _badge(evidence, told), guards, sentences)
    headline = f"No significant gain: fresh runs cannot tell this mixture from {natural}."
    keep = "Keeping the natural proportions is as well founded. "
    return Verdict("none", "No significant gain", headline, (*_power(nearest, keep), *sentences))


def _badge(evidence: Evidence, told: Sequence[Tested]) -> str:
    if [t.outcome for t in told] == ["gain", "gain"]:
        return "Gain verified at both scales"
    scale = "the larger" if told[-1].verification is evidence.larger else "proxy"
    return f"Gain verified at {scale} scale"


def _pairs(arm: Arm) -> str:
    return plural(len(arm.blocks), "fresh pair") + " of runs, scored on text that the search never saw"


def _first(words: str) -> str:
    return words[:1].upper() + words[1:]


def _power(test: Tested, before: str) -> tuple[str, ...]:
    power = test.verification.detectable
    if not math.isfinite(power):
        return (before.strip(),) if before else ()
    found = f"So many runs find a gain of {power:.4f} bits/byte four times out of five; a smaller one may be there."
    return (before + found,)


def _gain(better: str, badge: str, guards: tuple[GuardRow, ...], sentences: tuple[str, ...]) -> Verdict:
    broken = [g.name for g in guards if g.state == "does not hold"]
    open_ = [g.name for g in guards if g.state in ("not confirmed", "unknown")]
    if broken:
        headline = f"This mixture brings {better}, but it breaks the guard {', '.join(broken)}."
        return Verdict("worse", "Guard broken", headline, sentences)
    if open_:
        headline = f"This mixture brings {better}; that it keeps the guard {', '.join(open_)} is not confirmed."
        return Verdict("guard", f"{badge}, guard not confirmed", headline, sentences)
    return Verdict("gain", badge, f"Use this mixture: {better}.", sentences)


def _better(estimate: Estimate, natural_loss: float) -> str:
    """`2.1 % lower loss than natural proportions (0.0310 bits/byte)`."""
    if not natural_loss > 0:
        return f"{-estimate.mean:.4f} bits/byte better than natural proportions"
    return f"{-100 * estimate.mean / natural_loss:.1f} % lower loss than natural proportions ({-estimate.mean:.4f} bits/byte)"


def _range(estimate: Estimate) -> str:
    return (
        f"{signed(estimate.mean)} bits/byte against natural (negative is better; 90 % interval {signed(estimate.low)} to "
        f"{signed(estimate.high)}; probability that it is better {probability(estimate.p_better)})"
    )


def _agreement(choice: Choice, test: Tested) -> list[str]:
    predicted, verified = objective(choice.predicted), test.estimate
    if predicted is None:
        return []
    if predicted.low <= verified.mean <= predicted.high:
        how = "the measurement lies inside the prediction's interval"
    elif max(predicted.low, verified.low) <= min(predicted.high, verified.high):
        how = "the intervals overlap"
    else:
        how = "the intervals do not overlap, so trust the measurement"
    return [f"The search had predicted {signed(predicted.mean)}: {how}."]


def _alternatives(evidence: Evidence, test: Tested) -> list[str]:
    """What the mixtures that need no search came to, compared with the choice block by block."""
    problem, told = evidence.problem, test.verification
    trials = evidence.larger_trials if told is evidence.larger else evidence.verification_trials
    free = [a for a in told.arms if a.name in ("uniform", "unimax") and a.estimates]
    keeping = [a for a in free if not _missed_guards(problem, a)]
    compared = [
        judge.student(a.name, d_B, text_error=text_error(problem.objective, paired(told, trials, a.name, "choice")))
        for a in keeping
        if (d_B := _between(a, test.arm))
    ]
    if not compared:
        return []
    best = min(compared, key=lambda e: e.mean)
    came_to = next(a.estimates[0].mean for a in keeping if a.name == best.name)
    name = f"{label(best.name)}, which needs no search,"
    if best.high < 0:
        return [f"{name} did better than the choice: {interval(best)} against it. Consider it instead."]
    if best.low <= 0:
        return [
            f"{name} came to {signed(came_to)}; block by block it cannot be told from the choice ({interval(best)})."
        ]
    return [f"{name} came to {signed(came_to)}, {signed(best.mean)} against the choice."]


def arm_label(problem: Problem, arm: Arm) -> str:
    """An arm's name for a reader, with the guards that are not sure to hold for it: a gain may be bought with them."""
    missed = _missed_guards(problem, arm)
    return label(arm.name) + (f" (not sure to keep {', '.join(missed)})" if missed else "")


def _missed_guards(problem: Problem, arm: Arm) -> list[str]:
    found = {e.name: e.p_better for e in arm.estimates}
    return [g.name for g in problem.guards if found.get(f"guard:{g.name}", 1.0) < g.probability]


def _between(arm: Arm, other: Arm) -> list[float]:
    """Differences of `arm` to `other` in the blocks that both ran in."""
    theirs = dict(zip(other.blocks, other.differences, strict=True))
    return [d - theirs[b] for b, d in zip(arm.blocks, arm.differences, strict=True) if b in theirs]


def _transfer(evidence: Evidence) -> list[str]:
    found = evidence.transfer
    if found is None or not math.isfinite(found.spearman):
        return []
    return [
        f"{plural(len(found.pairs), 'mixture')} ran at {evidence.problem.proxy.size} and at {found.proxy.size} parameters: the "
        f"order agrees with a rank correlation of {found.spearman:.2f} (90 % interval {found.low:.2f} to {found.high:.2f})."
    ]


def _scale(evidence: Evidence) -> str:
    """How far all of it is from the target run."""
    problem = evidence.problem
    largest = problem.proxy
    if evidence.larger is not None and evidence.larger.proxy is not None:
        largest = evidence.larger.proxy
    return (
        f"The largest runs behind this have {largest.size} parameters and {count(largest.tokens)} tokens, "
        f"{ratio(largest.tokens / problem.target_tokens)} of the target run's tokens; the target run itself was not made."
    )


def without_stale(evidence: Evidence) -> Evidence:
    """The evidence without verifications of another choice than the present one."""
    choice, found, larger = evidence.choice, evidence.verification, evidence.larger
    if choice and found and not judge.judges(found, choice, evidence.problem):
        evidence = replace(evidence, verification=None, verification_trials=(), stale=True)
    if choice and larger and not judge.judges(larger, choice, evidence.problem):
        evidence = replace(evidence, larger=None, larger_trials=(), stale=True)
    return evidence
