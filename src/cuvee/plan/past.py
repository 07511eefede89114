"""Runs of an earlier study about other domains, as a problem carries them: what they trained on, what came out, the edits since.

They are values inside the problem, so methods that see only a problem and trials see them, and a study keeps them when the
earlier one is gone.

Letters: D domains of the earlier study.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from cuvee.base.codec import nearest
from cuvee.base.errors import UsageError
from cuvee.mixture.edits import Edit, Lift, describe, lift
from cuvee.plan.trial import Trial


@dataclass(frozen=True)
class PastRun:
    """One run: its trial id, its block in its own study, realised shares of the past domains, losses by past target."""

    id: str
    block: int
    shares: tuple[float, ...]
    losses: tuple[float, ...]

    @classmethod
    def of(cls, trial: Trial, targets: Sequence[str]) -> Self:
        """What a trial that is done says of those targets."""
        shares = np.array(trial.realised, np.float64) / sum(trial.realised)
        return cls(trial.id, trial.plan.block, tuple(shares.tolist()), tuple(trial.loss(name) for name in targets))


@dataclass(frozen=True)
class Past:
    """The runs of one earlier study.

    Args:
        source: The study, for people.
        domains, targets: What `shares` and `losses` of the runs are about.
        natural: Natural shares of its corpus.
        edits: From its domains to those of the problem that carries it, in order.
        runs: Those that are done.

    Raises:
        UsageError: edits that do not apply, runs with the wrong number of shares or losses.
    """

    source: str
    domains: tuple[str, ...]
    targets: tuple[str, ...]
    natural: tuple[float, ...]
    edits: tuple[Edit, ...]
    runs: tuple[PastRun, ...]

    def __post_init__(self) -> None:
        wrong = [r.id for r in self.runs if (len(r.shares), len(r.losses)) != (len(self.domains), len(self.targets))]
        if wrong or len(self.natural) != len(self.domains):
            raise UsageError(
                f"runs of {self.source}: {len(wrong)} have not {len(self.domains)} shares and {len(self.targets)} losses",
                wanted="one share a domain and one loss a target, and natural shares of the same domains",
            )
        self.lift()

    def lift(self) -> Lift:
        """The map onto the domains after the edits."""
        return lift(self.domains, self.edits, np.array(self.natural, np.float64))

    def check(self, domains: Sequence[str]) -> None:
        """That the edits lead to these domains.

        Raises:
            UsageError: they do not; says which domain is too many or missing.
        """
        after = self.lift().after
        extra = [d for d in after if d not in domains]
        missing = [d for d in domains if d not in after]
        if extra or missing:
            hints = [f"- {{remove: {d}}}" for d in extra] + [f"- {{add: {d}}}" for d in missing]
            near = nearest(extra[0], missing) if extra else ""
            raise UsageError(
                f"after its edits, {self.source} has {', '.join(after)}",
                wanted=f"the domains of today: {', '.join(domains)}",
                fix=f"say what became of them: {'; '.join(hints)}{f' ({near})' if near else ''}",
            )

    def story(self) -> str:
        """Where the runs are from and what was edited, for people."""
        edits = "; ".join(describe(edit) for edit in self.edits) or "no edits"
        return f"{len(self.runs)} runs of {self.source} ({edits})"
