"""What a report says, as values: the page renders them and `--json` writes them.

Differences are to natural in bits/byte of held-out text, negative is better; shares are shares of tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cuvee.plan.choice import Check, Choice, Estimate, Verification
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Status, Trial


@dataclass(frozen=True)
class Evidence:
    """What a report reads of a study: the question, the runs that ended, and what was made of them so far.

    `recipe` numbers the training code of the runs; `stale` says that a verification of an earlier choice was left out.
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
    edits: tuple[str, ...] = ()
    stale: bool = False


Level = Literal["gain", "guard", "none", "worse", "unverified", "missing"]
GuardState = Literal["holds", "not confirmed", "does not hold", "unknown"]
Role = Literal["natural", "proposed"]


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
    """A phase of the schedule: from `start` tokens on, these shares."""

    start: int
    shares: Mapping[str, float]


@dataclass(frozen=True)
class GainRow:
    """A difference to natural, predicted and verified. `weight` is the target's share of the objective, 0 outside it."""

    name: str
    weight: float
    predicted: Estimate | None
    verified: Estimate | None


@dataclass(frozen=True)
class GuardRow:
    """A guard: relative differences to natural, which `tolerance` bounds with `probability`."""

    name: str
    targets: tuple[str, ...]
    tolerance: float
    probability: float
    predicted: Estimate | None
    verified: Estimate | None

    @property
    def state(self) -> GuardState:
        """By the verification if there is one, else by the prediction."""
        estimate = self.verified or self.predicted
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


@dataclass(frozen=True)
class ArmRow:
    """A mixture under verification."""

    name: str
    label: str
    estimate: Estimate
    blocks: tuple[int, ...]
    differences: tuple[float, ...]


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
    """All that a report says: `title` is the question in a line, `study` the study's name."""

    study: str
    title: str
    question: tuple[Fact, ...]
    verdict: Verdict
    warnings: tuple[str, ...]
    why: tuple[str, ...]
    weights: tuple[WeightRow, ...]
    phases: tuple[PhaseRow, ...]
    tolerance: float | None
    gains: tuple[GainRow, ...]
    guards: tuple[GuardRow, ...]
    aggregations: tuple[AggregationRow, ...]
    arms: tuple[ArmRow, ...]
    detectable: float | None
    missing: tuple[str, ...]
    checks: tuple[Check, ...]
    rank_correlation: float | None
    diagnostics: Mapping[str, float]
    runs: tuple[RunRow, ...]
    curves: tuple[CurveRow, ...]
    costs: tuple[CostRow, ...]
    usage: Usage | None
    provenance: tuple[Fact, ...]
    format: int = 1
