"""What a fit of past runs says: the mixture, how sure of every part of it, and what was done to get there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuvee.interop.mixturefile import write_mixture
from cuvee.mixture.weights import Mixture
from cuvee.plan.choice import Choice
from cuvee.plan.problem import Target
from cuvee.tables.holdout import Holdout


@dataclass(frozen=True)
class Share:
    """One domain's share.

    Args:
        low, high: The 90 % interval of the best share over posterior draws: how well the runs tell where the optimum is.
        near_low, near_high: Shares that cost next to nothing (`Fitted.tolerance`), the others adapting; equal to `share` where
            guards are not met.
        epochs: Passes over the domain in the target run; None where tokens are not known.
        natural: The share in the natural mixture.
        tried: The least and the largest share in any run.
    """

    domain: str
    share: float
    low: float
    high: float
    near_low: float
    near_high: float
    epochs: float | None
    natural: float
    tried: tuple[float, float]


@dataclass(frozen=True)
class Interval:
    """A figure with its 90 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Skill:
    """How well runs are foretold that a fit did not see: rank correlation and root mean square error of the objective."""

    spearman: float
    rmse: float


@dataclass(frozen=True)
class Unconstrained:
    """The optimum without the user's bounds and guards, a diagnostic: what they cost."""

    mixture: Mapping[str, float]
    gain: float


@dataclass(frozen=True)
class Fitted:
    """The choice from tables of past runs.

    Args:
        choice: What to train on (`choice.schedule`), predicted differences to natural, near-optimal ranges, reasons.
        shares: One a domain.
        predicted: Target -> its level at the mixture, in its own unit and sign, without the noise of one run.
        gain: What is predicted to be won over natural, in the objective's unit; more is better.
        p_better: The probability that the mixture is better than natural.
        regret: Expected regret: what the best mixture is better by, on average over posterior draws; NaN where no mixture keeps
            the guards.
        cv: Over runs, each foretold without its block; with one block, or where blocks hold the same mixtures, without its
            mixture and an eighth of the others.
        holdout: None without held-out runs.
        unconstrained: None without bounds and guards; domains that never varied stay where they were.
        objective: Targets with weights that sum to 1.
        maximised: The targets of which more is better.
        natural, natural_from: The mixture that gains are against.
        predictor: Its name.
        runs, blocks, domains: Counts of what was fitted.
        tolerance: What near-optimal shares may cost of the objective.
        unit: Of the objective.
        names: Short name -> column, of domains and of metrics.
        warnings: What was assumed, left out, or should worry.
    """

    choice: Choice
    shares: tuple[Share, ...]
    predicted: Mapping[str, Interval]
    gain: Interval
    p_better: float
    regret: float
    cv: Skill
    holdout: Holdout | None
    unconstrained: Unconstrained | None
    objective: tuple[Target, ...]
    maximised: tuple[str, ...]
    natural: Mixture
    natural_from: str
    predictor: str
    runs: int
    blocks: int
    domains: int
    tolerance: float
    unit: str
    names: Mapping[str, Mapping[str, str]]
    warnings: tuple[str, ...]

    @property
    def mixture(self) -> Mixture:
        """What to train on, in shares of tokens."""
        return self.choice.schedule.phases[0].mixture

    def write(self, path: Path | str, tokens: int | None = None) -> None:
        """Write the mixture as a mixture file, which `cuvee export` takes; `tokens` are those of the run."""
        origin = f"fit:{self.predictor}"
        choice = self.choice
        write_mixture(
            Path(path),
            choice.schedule,
            corpus="",
            origin=origin,
            predicted=choice.predicted,
            unit=choice.unit,
            tokens=tokens,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; figures that are not known are null."""
        shares = ("share", "low", "high", "near_low", "near_high", "epochs", "natural", "tried")
        figures = ("spearman", "spearman_mean", "kendall_mean", "regret", "coverage", "runs")
        value = {
            "mixture": {s.domain: {key: getattr(s, key) for key in shares} for s in self.shares},
            "predicted": {name: _interval(level) for name, level in self.predicted.items()},
            "p_better_than_natural": self.p_better,
            "gain": _interval(self.gain),
            "expected_regret": self.regret,
            "cv": {"spearman": self.cv.spearman, "rmse": self.cv.rmse},
            "objective": {t.name: t.weight for t in self.objective},
            "maximised": list(self.maximised),
            "guards": {
                e.name.removeprefix("guard:"): {"change": e.mean, "low": e.low, "high": e.high, "p_holds": e.p_better}
                for e in self.choice.predicted
                if e.name.startswith("guard:")
            },
            "natural": {"from": self.natural_from, "shares": self.natural.as_dict()},
            "unconstrained": None
            if self.unconstrained is None
            else {"mixture": dict(self.unconstrained.mixture), "gain": self.unconstrained.gain},
            "predictor": self.predictor,
            "runs": self.runs,
            "blocks": self.blocks,
            "domains": self.domains,
            "tolerance": self.tolerance,
            "unit": self.unit,
            "names": {kind: dict(names) for kind, names in self.names.items()},
            "why": list(self.choice.why),
            "warnings": list(self.warnings),
        }
        if self.holdout is not None:
            value["holdout"] = {key: getattr(self.holdout, key) for key in figures}
        return {key: _plain(item) for key, item in value.items()}


def _interval(found: Interval) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
