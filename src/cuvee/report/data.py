"""What a report says, as values: the page renders them and `--json` writes them.

Differences are to natural in bits/byte of held-out text, negative is better; shares are shares of tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cuvee.base.codec import LATER
from cuvee.plan.choice import Check, Choice, Estimate, Simplified, Verification
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Status, Trial
from cuvee.study.alternatives import Alternative, Alternatives, Front
from cuvee.study.transfer import Pair, Transfer


@dataclass(frozen=True)
class Evidence:
    """What a report reads of a study: the question, the runs that ended, and what was made of them so far.

    `recipe` numbers the training code of the runs; `larger` is the verification at the larger scale; `transfer_trials` are
    the larger runs of the transfer check; `stale` says that a verification of an earlier choice was left out.
    """

    name: str
    folder: str
    problem: Problem
    method: str
    fingerprint: str
    recipe: int
    trials: tuple[Trial, ...]
    verification_trials: tuple[Trial, ...] = ()
    choice: Choice | None = None
    verification: Verification | None = None
    larger: Verification | None = None
    larger_trials: tuple[Trial, ...] = ()
    transfer: Transfer | None = None
    transfer_trials: tuple[Trial, ...] = ()
    alternatives: Alternatives | None = None
    front: Front | None = None
    citation: tuple[str, ...] = ()
    tokenizer: str = ""
    edits: tuple[str, ...] = ()
    stale: bool = False

    @property
    def stages(self) -> dict[str, tuple[Trial, ...]]:
        """The runs by what they were made for, as a reader calls it."""
        return {
            "Search": self.trials,
            "Transfer check": self.transfer_trials,
            "Verification": self.verification_trials,
            "Verification at the larger scale": self.larger_trials,
        }

    @property
    def all_trials(self) -> tuple[Trial, ...]:
        """Every run."""
        return tuple(t for trials in self.stages.values() for t in trials)


Level = Literal["gain", "guard", "scale", "none", "worse", "unverified", "missing"]
GuardState = Literal["holds", "not confirmed", "does not hold", "unknown"]
Role = Literal["natural", "proposed", "shorter", "expert"]


@dataclass(frozen=True)
class Verdict:
    """The recommendation and how sure: a badge, a headline and a few sentences for a manager."""

    level: Level
    badge: str
    headline: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Fact:
    """A labelled statement."""

    label: str
    value: str


@dataclass(frozen=True)
class WeightRow:
    """A domain at the target run. `low` and `high` bound its near-optimal range; `cap` is the tightest upper bound."""

    domain: str
    tokens: int
    natural: float
    share: float
    low: float | None
    high: float | None
    floor: float
    cap: float
    epochs: float
    cap_epochs: float
    bound: Literal["cap", "floor", ""]


@dataclass(frozen=True)
class PhaseRow:
    """A phase of the schedule: from `start` tokens on, these shares, reached over `ramp` tokens."""

    start: int
    shares: Mapping[str, float]
    ramp: int = field(default=0, metadata=LATER)


@dataclass(frozen=True)
class GainRow:
    """What the choice does to one target.

    Args:
        weight: The target's share of the objective; 0 outside it.
        unit: Of the values.
        level: Natural's own loss; None where it is not known or is no loss that parts of mean something (a margin).
        predicted, verified, larger: Differences to natural: by the search, in fresh proxies, in fresh larger runs.
        present, present_larger: Verified differences to the present blend, at both scales.
        levels: Natural's own loss in the runs of those three differences: larger runs have a lower one.
    """

    name: str
    weight: float
    unit: str = "bits/byte"
    level: float | None = None
    predicted: Estimate | None = None
    verified: Estimate | None = None
    larger: Estimate | None = None
    present: Estimate | None = None
    present_larger: Estimate | None = None
    levels: tuple[float | None, float | None, float | None] = (None, None, None)

    @property
    def best(self) -> Estimate | None:
        """The estimate nearest to the target run."""
        return self.larger or self.verified or self.predicted


@dataclass(frozen=True)
class GuardRow:
    """A guard: relative differences to natural, which `tolerance` bounds with `probability`."""

    name: str
    targets: tuple[str, ...]
    tolerance: float
    probability: float
    predicted: Estimate | None
    verified: Estimate | None
    larger: Estimate | None = None

    @property
    def weakest(self) -> Estimate | None:
        """The verification in which the guard is least sure to hold; without one the prediction."""
        found = [e for e in (self.verified, self.larger) if e is not None]
        return min(found, key=lambda e: -1.0 if math.isnan(e.p_better) else e.p_better) if found else self.predicted

    @property
    def state(self) -> GuardState:
        """By the weakest verification if there is one, else by the prediction."""
        estimate = self.weakest
        if estimate is None or math.isnan(estimate.p_better):
            return "unknown"
        if estimate.p_better >= self.probability:
            return "holds"
        return "does not hold" if estimate.low > self.tolerance else "not confirmed"


@dataclass(frozen=True)
class AggregationRow:
    """The choice's difference to natural under another way of counting; points, without intervals."""

    name: str
    predicted: float | None
    verified: float | None
    larger: float | None = None


@dataclass(frozen=True)
class ArmRow:
    """A mixture under verification."""

    name: str
    label: str
    estimate: Estimate
    blocks: tuple[int, ...]
    differences: tuple[float, ...]


@dataclass(frozen=True)
class ScaleRows:
    """A verification: fresh runs of every mixture at one scale. `basis` is what its figures rest on."""

    scale: Literal["proxy", "large"]
    title: str
    arms: tuple[ArmRow, ...]
    detectable: float | None
    missing: tuple[str, ...]
    basis: str


@dataclass(frozen=True)
class TransferRows:
    """The transfer check: the same mixtures at both sizes, and how far their order agrees; None where it is not known."""

    title: str
    pairs: tuple[Pair, ...]
    spearman: float | None
    low: float | None
    high: float | None
    sign: float | None
    missing: int
    basis: str


@dataclass(frozen=True)
class RunRow:
    """A trial of the search: the objective's loss at the end, and its difference to natural in the same block."""

    id: str
    block: int
    role: Role
    status: Status
    loss: float | None
    difference: float | None
    seconds: float
    message: str


@dataclass(frozen=True)
class CurveRow:
    """The objective's loss in bits/byte over tokens seen, of one trial."""

    id: str
    role: Role
    tokens: tuple[int, ...]
    loss: tuple[float, ...]


@dataclass(frozen=True)
class CostRow:
    """What a stage took."""

    stage: str
    runs: int
    tokens: int
    cpu_seconds: float
    flops: float


@dataclass(frozen=True)
class Usage:
    """Texts to paste: the shares as YAML and JSON, command lines, Python."""

    yaml: str
    json: str
    shell: str
    python: str


@dataclass(frozen=True)
class ReportData:
    """All that a report says: `title` is the question in a line, `study` the study's name, `basis` what the figures of the
    search rest on."""

    study: str
    title: str
    question: tuple[Fact, ...]
    verdict: Verdict
    warnings: tuple[str, ...]
    why: tuple[str, ...]
    weights: tuple[WeightRow, ...]
    phases: tuple[PhaseRow, ...]
    tolerance: float | None
    simplified: Simplified | None
    gains: tuple[GainRow, ...]
    guards: tuple[GuardRow, ...]
    aggregations: tuple[AggregationRow, ...]
    alternatives: tuple[Alternative, ...]
    front: Front | None
    verifications: tuple[ScaleRows, ...]
    transfer: TransferRows | None
    checks: tuple[Check, ...]
    rank_correlation: float | None
    diagnostics: Mapping[str, float]
    runs: tuple[RunRow, ...]
    curves: tuple[CurveRow, ...]
    costs: tuple[CostRow, ...]
    usage: Usage | None
    provenance: tuple[Fact, ...]
    basis: str
    citation: tuple[str, ...]
    format: int = 1
