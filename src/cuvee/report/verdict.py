"""The recommendation and how sure, in sentences that a manager can read; and what a reader must be warned of."""

from __future__ import annotations

import math
from dataclasses import replace

from cuvee.plan.choice import Arm, Choice, Estimate, Verification
from cuvee.plan.problem import TRANSFER_FLOOR, Problem
from cuvee.plan.trial import Trial
from cuvee.report.data import Evidence, GuardRow, Verdict
from cuvee.report.text import count, interval, plural, probability, ratio, signed
from cuvee.study import judge

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


def verdict(evidence: Evidence, natural_loss: float, guards: tuple[GuardRow, ...]) -> Verdict:
    """What to do and how sure; `natural_loss` is the objective of natural in bits/byte, NaN when unknown."""
    choice, verification = evidence.choice, evidence.verification
    if choice is None:
        return _no_choice(evidence)
    arm = verified_arm(verification, "choice")
    if choice.schedule.mean(evidence.problem.target_tokens) == evidence.problem.natural:
        return _keep_natural(choice, verification)
    if arm is None or verification is None:
        return _unverified(choice, natural_loss)
    return _verified(evidence, choice, verification, arm, natural_loss, guards)


def verified_arm(verification: Verification | None, name: str) -> Arm | None:
    """The arm of that name with its estimates, if it was verified."""
    arms = verification.arms if verification is not None else ()
    return next((a for a in arms if a.name == name and a.estimates), None)


def objective(estimates: tuple[Estimate, ...]) -> Estimate | None:
    """The objective's estimate: the first."""
    return estimates[0] if estimates else None


def _no_choice(evidence: Evidence) -> Verdict:
    done = sum(t.status == "done" for t in evidence.trials)
    return Verdict(
        "missing",
        "No choice yet",
        "There is no recommendation yet: the search has not ended.",
        (f"{plural(done, 'proxy run')} finished so far. Run the study again to go on: cuvee run STUDY.yaml",),
    )


def _keep_natural(choice: Choice, verification: Verification | None) -> Verdict:
    more = "" if verification is None else " Fresh runs have nothing to compare it with but itself."
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


def _verified(
    evidence: Evidence,
    choice: Choice,
    verification: Verification,
    arm: Arm,
    natural_loss: float,
    guards: tuple[GuardRow, ...],
) -> Verdict:
    estimate, scale = arm.estimates[0], _scale(evidence.problem)
    blocks = plural(len(arm.blocks), "fresh pair") + " of runs, scored on text that the search never saw"
    measured = f"Measured: {_range(estimate)}, over {blocks}."
    sentences = [measured, *_agreement(choice, estimate), *_alternatives(evidence.problem, verification, arm), scale]
    if estimate.high < 0:
        return _gain(_better(estimate, natural_loss), guards, tuple(sentences))
    if not math.isfinite(estimate.high - estimate.low):
        headline = "One fresh block says nothing of how sure the gain is: verify with at least two, better four."
        return Verdict("unverified", "Not yet verified", headline, tuple(sentences))
    if estimate.low > 0:
        headline = "Do not use this mixture: fresh runs found it worse than natural proportions."
        return Verdict("worse", "Verified worse", headline, tuple(sentences))
    headline = "No significant gain: fresh runs cannot tell this mixture from natural proportions."
    power = "Keeping the natural proportions is as well founded."
    if math.isfinite(verification.detectable):
        found = f"So many runs find a gain of {verification.detectable:.4f} bits/byte four times out of five"
        power = f"{power} {found}; a smaller one may be there."
    return Verdict("none", "No significant gain", headline, (measured, power, *sentences[1:]))


def _gain(better: str, guards: tuple[GuardRow, ...], sentences: tuple[str, ...]) -> Verdict:
    broken = [g.name for g in guards if g.state == "does not hold"]
    open_ = [g.name for g in guards if g.state in ("not confirmed", "unknown")]
    if broken:
        headline = f"This mixture brings {better}, but it breaks the guard {', '.join(broken)}."
        return Verdict("worse", "Guard broken", headline, sentences)
    if open_:
        headline = f"This mixture brings {better}; that it keeps the guard {', '.join(open_)} is not confirmed."
        return Verdict("guard", "Gain verified, guard not confirmed", headline, sentences)
    return Verdict("gain", "Verified gain", f"Use this mixture: {better}.", sentences)


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


def _agreement(choice: Choice, verified: Estimate) -> list[str]:
    predicted = objective(choice.predicted)
    if predicted is None:
        return []
    if predicted.low <= verified.mean <= predicted.high:
        how = "the measurement lies inside the prediction's interval"
    elif max(predicted.low, verified.low) <= min(predicted.high, verified.high):
        how = "the intervals overlap"
    else:
        how = "the intervals do not overlap, so trust the measurement"
    return [f"The search had predicted {signed(predicted.mean)}: {how}."]


def _alternatives(problem: Problem, verification: Verification, choice: Arm) -> list[str]:
    """What the mixtures that need no search came to, compared with the choice block by block."""
    keeping = [a for a in verification.arms if a.name in ("uniform", "unimax") and _keeps_guards(problem, a)]
    paired = {a.name: judge.student(a.name, d_B) for a in keeping if (d_B := _between(a, choice))}
    if not paired:
        return []
    best = min(paired.values(), key=lambda e: e.mean)
    came_to = next(a.estimates[0].mean for a in keeping if a.name == best.name)
    name = f"{label(best.name)}, which needs no search,"
    if best.high < 0:
        return [f"{name} did better than the choice: {interval(best)} against it. Consider it instead."]
    if best.low <= 0:
        return [
            f"{name} came to {signed(came_to)}; block by block it cannot be told from the choice ({interval(best)})."
        ]
    return [f"{name} came to {signed(came_to)}, {signed(best.mean)} against the choice."]


def _keeps_guards(problem: Problem, arm: Arm) -> bool:
    sure = {f"guard:{g.name}": g.probability for g in problem.guards}
    return bool(arm.estimates) and all(e.p_better >= sure[e.name] for e in arm.estimates if e.name in sure)


def _between(arm: Arm, other: Arm) -> list[float]:
    """Differences of `arm` to `other` in the blocks that both ran in."""
    theirs = dict(zip(other.blocks, other.differences, strict=True))
    return [d - theirs[b] for b, d in zip(arm.blocks, arm.differences, strict=True) if b in theirs]


def _scale(problem: Problem) -> str:
    scale = problem.proxy.tokens / problem.target_tokens
    return (
        f"All of it was measured on small models ({problem.proxy.size} parameters, {count(problem.proxy.tokens)} tokens, "
        f"{ratio(scale)} of the target run), not on the target run itself."
    )


def without_stale(evidence: Evidence) -> Evidence:
    """The evidence without a verification of another choice than the present one."""
    arm = verified_arm(evidence.verification, "choice")
    if arm is None or evidence.choice is None:
        return evidence
    if arm.schedule == judge.scaled(evidence.choice.schedule, evidence.problem):
        return evidence
    return replace(evidence, verification=None, verification_trials=(), stale=True)


def warnings(evidence: Evidence, guards: tuple[GuardRow, ...]) -> tuple[str, ...]:
    """What weakens the evidence."""
    problem, found = evidence.problem, []
    scale = problem.proxy.tokens / problem.target_tokens
    if scale < TRANSFER_FLOOR:
        found.append(f"Transfer unproven: proxies see {ratio(scale)} of the target run's tokens, less than 1/16.")
    for guard in guards:
        estimate = guard.verified or guard.predicted
        if estimate is not None and guard.state != "holds":
            found.append(
                f"Guard {guard.name} holds with probability {probability(estimate.p_better)}; {guard.probability:.2f} is asked for."
            )
    for status in ("failed", "diverged"):
        number = sum(t.status == status for t in (*evidence.trials, *evidence.verification_trials))
        if number:
            found.append(f"{plural(number, 'run')} {status}; see the runs below.")
    if evidence.stale:
        found.append("There is a verification, but of an earlier choice: verify again.")
    if evidence.verification is not None and evidence.verification.missing:
        found.append(
            f"Missing from the verification: {', '.join(evidence.verification.missing)}. Their blocks are left out."
        )
    blocks = {t.plan.block for t in evidence.trials if t.status == "done"}
    if evidence.choice is not None and evidence.choice.predicted and len(blocks) < 4:
        found.append(f"{plural(len(blocks), 'block')} only: intervals from fewer than four are too narrow.")
    small = problem.small_pool_domains()
    if small:
        found.append(f"Pools under 100 sequences, so capped at one epoch at the target run: {', '.join(small)}.")
    return (*found, *_mixed((*evidence.trials, *evidence.verification_trials)))


def _mixed(trials: tuple[Trial, ...]) -> list[str]:
    """Versions and hardware that differ between trials."""
    keys = dict.fromkeys(key for t in trials for key in t.provenance)
    mixed = {key: sorted({t.provenance.get(key, "not recorded") for t in trials}) for key in keys}
    return [f"Runs differ in {key}: {', '.join(values)}." for key, values in mixed.items() if len(values) > 1]


def finite(value: float) -> float | None:
    """None for what is not a number: JSON has no NaN."""
    return value if math.isfinite(value) else None
