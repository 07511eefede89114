"""A schedule: mixtures with the token counts at which they take over. A mixture is a schedule of one phase.

Letters: D domains, P phases.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from numbers import Real
from typing import Self

import numpy as np

from cuvee.base.codec import LATER
from cuvee.base.errors import InfeasibleError, UsageError
from cuvee.mixture.weights import UNIT, Mixture


@dataclass(frozen=True)
class Phase:
    """From `start` tokens of training on, `mixture` holds until the next phase starts.

    Args:
        ramp: Tokens over which weights move there in a straight line from those in force at `start`; 0 for at once.
    """

    start: int
    mixture: Mixture
    ramp: int = field(default=0, metadata=LATER)

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", whole(self.start))
        object.__setattr__(self, "ramp", whole(self.ramp))


def whole(tokens: float) -> int:
    """A number of tokens; 80e9 is one too.

    Raises:
        UsageError: no whole number.
    """
    if isinstance(tokens, Real) and tokens % 1 == 0:
        return int(tokens)
    raise UsageError(f"got {tokens!r} tokens", wanted="a whole number")


@dataclass(frozen=True)
class Schedule:
    """Phases in order, the first at 0 tokens, all over the same domains.

    A phase that starts while another's ramp is under way ends it, and ramps from the weights that it finds.

    Raises:
        UsageError: no phases, a first start other than 0, starts that do not rise, differing domains, a ramp below 0 or in
            the first phase.
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
        if self.phases[0].ramp or any(p.ramp < 0 for p in self.phases):
            raise UsageError(
                f"got ramps of {[p.ramp for p in self.phases]} tokens",
                wanted="ramps of 0 or more, and none in the first phase, which has nothing to come from",
            )

    @classmethod
    def constant(cls, mixture: Mixture) -> Self:
        """The schedule of one phase."""
        return cls((Phase(0, mixture),))

    def then(self, start: int, mixture: Mixture, *, ramp: int = 0) -> Self:
        """This schedule, and from `start` tokens on `mixture`, reached over `ramp` tokens.

        Raises:
            UsageError: a start at or before the last phase's; other domains.
        """
        return type(self)((*self.phases, Phase(start, mixture, ramp)))

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains of every phase."""
        return self.phases[0].mixture.domains

    @cached_property
    def _starts(self) -> list[int]:
        return [p.start for p in self.phases]

    @cached_property
    def _origins(self) -> tuple[Mixture, ...]:
        """The mixture that each phase finds at its start."""
        found = [self.phases[0].mixture]
        for before, phase in pairwise(self.phases):
            found.append(_between(found[-1], before, phase.start))
        return tuple(found)

    def at(self, tokens: int) -> Mixture:
        """The mixture in force after `tokens` tokens."""
        place = bisect_right(self._starts, tokens) - 1
        return _between(self._origins[place], self.phases[place], tokens)

    def steady(self, tokens: int) -> int | None:
        """The first position after `tokens` at which the mixture may be another; None if it stays."""
        place = bisect_right(self._starts, tokens) - 1
        if tokens < self.phases[place].start + self.phases[place].ramp:
            return tokens + 1
        return self.phases[place + 1].start if place + 1 < len(self.phases) else None

    def mean(self, total: int) -> Mixture:
        """The token-weighted mean mixture of a run of `total` tokens."""
        ends = [*(p.start for p in self.phases[1:]), total]
        if len(self.phases) == 1:
            return self.phases[0].mixture
        spans = [max(min(end, total) - phase.start, 0) for phase, end in zip(self.phases, ends, strict=True)]
        shares_PD = np.stack([phase.mixture.shares for phase in self.phases])
        origins_PD = np.stack([origin.shares for origin in self._origins])
        # on a ramp the origin's part falls from 1 in a straight line
        done = [min(span, p.ramp) for span, p in zip(spans, self.phases, strict=True)]
        old = [d - d * d / (2 * p.ramp) if p.ramp else 0.0 for d, p in zip(done, self.phases, strict=True)]
        new = np.array(spans, np.float64) - old
        return Mixture.from_array(self.domains, new @ shares_PD + np.array(old) @ origins_PD)

    def stepped(self, steps: int) -> Self:
        """The same without ramps: each is cut into `steps` equal pieces, at their middle weights; for what knows no ramps.

        Raises:
            UsageError: fewer than one step.
        """
        if steps < 1:
            raise UsageError(f"got {steps} steps", wanted="at least 1")
        phases: list[Phase] = []
        for place, phase in enumerate(self.phases):
            end = self._starts[place + 1] if place + 1 < len(self.phases) else phase.start + phase.ramp + 1
            for n in range(min(steps, phase.ramp)):
                start, stop = (phase.start + phase.ramp * k // min(steps, phase.ramp) for k in (n, n + 1))
                if start < end:
                    phases.append(Phase(start, self.at((start + min(stop, end)) // 2)))
            if phase.start + phase.ramp < end:
                phases.append(Phase(phase.start + phase.ramp, phase.mixture))
        return type(self)(tuple(phases))

    def stretched(self, ratio: float) -> Self:
        """The same over a run `ratio` times as long: starts and ramps at the same fraction of training, a token apart at least."""
        first, *rest = self.phases
        phases = [first]
        for p in rest:
            phases.append(Phase(max(round(p.start * ratio), phases[-1].start + 1), p.mixture, round(p.ramp * ratio)))
        return type(self)(tuple(phases))

    def floored(self, floors: Mapping[str, float]) -> Self:
        """The same with at least these shares in every phase, ramps included: see `floored`.

        Raises:
            UsageError, InfeasibleError: as `floored`.
        """
        return type(self)(tuple(Phase(p.start, floored(p.mixture, floors), p.ramp) for p in self.phases))


def _between(origin: Mixture, phase: Phase, tokens: int) -> Mixture:
    """The mixture `tokens - phase.start` tokens into a phase that began at `origin`, in exact integers."""
    done = tokens - phase.start
    if done >= phase.ramp:
        return phase.mixture
    pairs = zip(origin.units, phase.mixture.units, strict=True)
    scaled = [old * (phase.ramp - done) + new * done for old, new in pairs]  # sums to UNIT * ramp
    units = [s // phase.ramp for s in scaled]
    remainders = sorted(range(len(units)), key=lambda i: (-(scaled[i] % phase.ramp), i))
    for i in remainders[: UNIT - sum(units)]:
        units[i] += 1
    return Mixture(origin.domains, tuple(units))


def floored(mixture: Mixture, floors: Mapping[str, float]) -> Mixture:
    """`mixture` with at least the share `floors[domain]` of each domain named, the others scaled down in proportion.

    For replay: a continued run that keeps a part of what the model was trained on before.

    Raises:
        UsageError: a domain that the mixture lacks, or a floor outside 0 to 1.
        InfeasibleError: floors that sum to more than 1.
    """
    for domain, floor in floors.items():
        if domain not in mixture.domains or not 0 <= floor <= 1:
            raise UsageError(
                f"a floor of {floor} for {domain!r}", wanted=f"0 to 1 for one of {', '.join(mixture.domains)}"
            )
    if sum(floors.values()) > 1 + 1e-12:
        raise InfeasibleError(f"floors that sum to {sum(floors.values()):.4g}", wanted="at most 1")
    floor_D = np.array([floors.get(d, 0.0) for d in mixture.domains])
    share_D, low_D = mixture.shares, np.zeros(len(mixture.domains), bool)
    while True:
        free = share_D[~low_D].sum()
        left = 1 - floor_D[low_D].sum()
        scaled_D = np.where(low_D, floor_D, share_D * (left / free if free > 0 else 0.0))
        below_D = ~low_D & (scaled_D < floor_D)
        if not below_D.any():
            return Mixture.from_array(mixture.domains, scaled_D)
        low_D |= below_D


def upsampled(mixture: Mixture, late: Mixture, *, total: int, last: float, ramp: int = 0) -> Schedule:
    """`mixture`, and `late` in the last part `last` (0 to 1) of a run of `total` tokens, reached over `ramp` tokens.

    Raises:
        UsageError: a part outside 0 to 1, or one that begins at the first token.
    """
    if not 0 < last < 1:
        raise UsageError(f"got the last {last} of the run", wanted="a part between 0 and 1, such as 0.1")
    return Schedule.constant(mixture).then(total - round(last * total), late, ramp=ramp)


def cooldown(sizes: Mapping[str, int], *, first: float, last: float, start: int, end: int) -> Schedule:
    """Temperature sampling that cools: shares in proportion to size^(1/T), T from `first` to `last`.

    T is `first` up to `start` tokens, `last` from `end` on, and in between falls in a straight line (Li et al. 2024,
    Upsample or Upweight?, lower it during training); weights follow it in 16 ramps, each exact at its ends.

    Args:
        sizes: Domain -> tokens available.

    Raises:
        UsageError: a temperature or size that is not positive, or an end that is not after the start.
    """
    if min(first, last, *sizes.values()) <= 0 or not 0 <= start < end:
        raise UsageError(
            f"temperatures {first} to {last} from {start:,} to {end:,} tokens",
            wanted="positive temperatures and sizes, 0 <= start < end",
        )
    logs_D = np.log(np.fromiter(sizes.values(), np.float64, len(sizes)))

    def at(temperature: float) -> Mixture:
        return Mixture.from_array(tuple(sizes), np.exp((logs_D - logs_D.max()) / temperature))

    start, end = whole(start), whole(end)
    knots = sorted({start + (end - start) * k // 16 for k in range(17)})
    phases = [Phase(0, at(first))]
    for a, b in pairwise(knots):
        mixture = at(first + (last - first) * (b - start) / (end - start))
        # a ramp may not be the first phase: one that would start at 0 starts a token later
        phases.append(Phase(max(a, 1), mixture, b - max(a, 1)))
    return Schedule(tuple(phases))
