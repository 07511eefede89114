"""A schedule: mixtures with the token counts at which they take over. A mixture is a schedule of one phase."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np

from cuvee.base.errors import UsageError
from cuvee.mixture.weights import Mixture


@dataclass(frozen=True)
class Phase:
    """From `start` tokens of training on, `mixture` holds until the next phase starts."""

    start: int
    mixture: Mixture


@dataclass(frozen=True)
class Schedule:
    """Phases in order, the first at 0 tokens, all over the same domains.

    Raises:
        UsageError: no phases, a first start other than 0, starts that do not rise, or differing domains.
    """

    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        starts = [p.start for p in self.phases]
        if not starts or starts[0] != 0 or any(b <= a for a, b in pairwise(starts)):
            raise UsageError(f"got phases that start at {starts}", wanted="starts that rise from 0")
        if any(p.mixture.domains != self.domains for p in self.phases):
            raise UsageError(
                "the phases name different domains", wanted="the same domains in the same order in every phase"
            )

    @classmethod
    def constant(cls, mixture: Mixture) -> Self:
        """The schedule of one phase."""
        return cls((Phase(0, mixture),))

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains of every phase."""
        return self.phases[0].mixture.domains

    def at(self, tokens: int) -> Mixture:
        """The mixture in force after `tokens` tokens."""
        return [p.mixture for p in self.phases if p.start <= tokens][-1]

    def mean(self, total: int) -> Mixture:
        """The token-weighted mean mixture of a run of `total` tokens."""
        ends = [*(p.start for p in self.phases[1:]), total]
        if len(self.phases) == 1:
            return self.phases[0].mixture
        spans = [max(min(end, total) - phase.start, 0) for phase, end in zip(self.phases, ends, strict=True)]
        shares_PD = np.stack([phase.mixture.shares for phase in self.phases])
        return Mixture.from_array(self.domains, np.array(spans, np.float64) @ shares_PD)
