"""Choice: the schedule to use, how sure, and why. Verification: what fresh runs say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.plan.problem import Proxy
from cuvee.plan.provenance import Provenance


@dataclass(frozen=True)
class Estimate:
    """A difference to natural in bits/byte (negative is better) with its 90 % interval and P(difference < 0).

    `name` is `objective`, a target, or `guard:NAME`. For guards the difference is relative and `p_better` is the
    probability that the guard holds. `text_error` is the part of the standard error that other held-out documents would
    make; it is in the interval of verified differences, and 0 where it is not known.
    """

    name: str
    mean: float
    low: float
    high: float
    p_better: float
    text_error: float = 0.0


@dataclass(frozen=True)
class Range:
    """Shares of a domain that cost less than `tolerance` bits/byte of the objective, the others adapting."""

    domain: str
    low: float
    high: float
    tolerance: float


@dataclass(frozen=True)
class Check:
    """A trial's objective difference to natural in its block, in bits/byte: predicted from the other blocks, and measured."""

    trial: str
    predicted: float
    measured: float


@dataclass(frozen=True)
class Simplified:
    """What was done to the optimum so that people can use it: shares of domains left out (domain -> share), the step the
    others were rounded to, and the predicted cost in bits/byte."""

    dropped: Mapping[str, float]
    step: float
    cost: float


@dataclass(frozen=True)
class Unconstrained:
    """What would be chosen with no caps, floors, rows and guards: the price of the bounds, never a recommendation.

    Args:
        predicted: The objective's difference to natural.
        epochs: Passes over each domain that it would take in the target run.
    """

    mixture: Mixture
    predicted: Estimate
    epochs: Mapping[str, float]


@dataclass(frozen=True)
class Choice:
    """The schedule to use.

    Args:
        method: The method's name.
        schedule: What to train on.
        predicted: Differences to natural: the objective first, then everything scored, then guards.
            Empty when the method predicts nothing (a baseline).
        near_optimal: One range a domain; empty when the method predicts nothing.
        why: Sentences for a person: how it was found, what binds.
        evidence: Ids of the trials it rests on.
        checks: Predicted against measured, each trial predicted without its own block.
        diagnostics: Named figures, such as the leave-one-block-out rank correlation.
        simplified: Tiny shares dropped and the rest rounded; None when the optimum was left as it is.
        provenance: What the prediction rests on; None in files of versions that did not record it.
        citation: What the method's rule is from.
        unit: Of the objective; targets have their own.
        unconstrained: The optimum without bounds; None where there are none, or the method predicts nothing.
    """

    method: str
    schedule: Schedule
    predicted: tuple[Estimate, ...] = ()
    near_optimal: tuple[Range, ...] = ()
    why: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    simplified: Simplified | None = None
    provenance: Provenance | None = None
    citation: tuple[str, ...] = ()
    unit: str = "bits/byte"
    unconstrained: Unconstrained | None = None

    def estimate(self, name: str) -> Estimate | None:
        """The prediction of that name."""
        return next((e for e in self.predicted if e.name == name), None)

    def summary(self) -> str:
        """A few lines: shares, the predicted gain and how sure."""
        mixture = self.schedule.phases[0].mixture
        shares = ", ".join(f"{d} {s:.1%}" for d, s in sorted(mixture.as_dict().items(), key=lambda x: -x[1]) if s > 0)
        lines = [f"{self.method}: {shares}"]
        if self.predicted:
            objective = self.predicted[0]
            lines.append(
                f"predicted {objective.mean:+.4f} {self.unit} against natural "
                f"(90 % interval {objective.low:+.4f} to {objective.high:+.4f}, P(better) {objective.p_better:.2f})"
            )
        return "\n".join([*lines, *self.why])


@dataclass(frozen=True)
class Arm:
    """A mixture under verification: paired differences to natural on the verify split, one per block.

    `differences[b]` belongs to `blocks[b]`; `estimates` hold the objective first, then targets, then guards.
    """

    name: str
    schedule: Schedule
    blocks: tuple[int, ...]
    differences: tuple[float, ...]
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True)
class Verification:
    """Fresh blocks, the verify split, the same tokens in every arm.

    `detectable` is the gain in bits/byte that so many blocks find with 80 % power at 5 % (one-sided), from the noise
    of the search. `missing` names runs that failed or diverged: their blocks are left out of that arm. `proxy` are the
    runs that it was made with; None in files of versions that knew one size only: the study's proxy.
    """

    arms: tuple[Arm, ...]
    detectable: float
    trials: tuple[str, ...]
    missing: tuple[str, ...] = ()
    proxy: Proxy | None = None
    unit: str = "bits/byte"

    def arm(self, name: str) -> Arm:
        """The arm of that name."""
        return next(a for a in self.arms if a.name == name)

    def __str__(self) -> str:
        scale = f" at {self.proxy.size} parameters, {self.proxy.tokens:,} tokens" if self.proxy else ""
        lines = [
            f"{len(self.arms[0].blocks)} fresh blocks{scale} on the verify split; "
            f"detectable gain {self.detectable:.4f} {self.unit}"
        ]
        for arm in self.arms:
            if arm.estimates:
                e = arm.estimates[0]
                lines.append(
                    f"  {arm.name:<10} {e.mean:+.4f} {self.unit} ({e.low:+.4f} to {e.high:+.4f}), P(better) {e.p_better:.2f}"
                )
        return "\n".join(lines)
