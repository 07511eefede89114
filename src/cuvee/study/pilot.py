"""The pilot: natural and one more mixture in every block of the first round, and the paired noise that they measure.

Its runs are the first round's own, so a study that goes on has lost nothing.

Letters: B blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cuvee.base.errors import DataError, UsageError
from cuvee.mixture.schedule import Schedule
from cuvee.plan.experts import mixtures
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Plan, Trial
from cuvee.predict.detect import detectable
from cuvee.study.judge import by_schedule, noise, value

CAUTION = 0.8
"""How sure it is that the noise lies under its upper limit."""
SHOWN = (4, 5, 8, 12)


@dataclass(frozen=True)
class Noise:
    """The paired noise of a study, as measured.

    Args:
        sd: Standard deviation between blocks of the objective's difference to natural, bits/byte.
        low, high: Its 90 % interval, from the chi-square distribution with B - 1 degrees of freedom.
        cautious: Its upper 80 % limit, from the same.
        blocks: B. Several mixtures repeated in the same blocks share natural's runs there, so they add no freedom.
        natural: Mean over blocks of natural's objective, bits/byte.
    """

    sd: float
    low: float
    high: float
    cautious: float
    blocks: int
    natural: float

    def __str__(self) -> str:
        return (
            f"paired noise between blocks {self.sd:.4f} bits/byte (90 % interval {self.low:.4f} to {self.high:.4f}, "
            f"upper {100 * CAUTION:g} % limit {self.cautious:.4f}; {self.blocks} blocks); natural {self.natural:.4f} bits/byte"
        )

    def table(self) -> str:
        """The gains that some numbers of blocks detect, at the noise measured and at its upper limit."""
        lines = [
            "gain that a verification finds (one-sided paired t test at 5 %, 80 % power), bits/byte:",
            f"  {'blocks':>6} {'at this noise':>15} {'at its limit':>15}",
        ]
        for blocks in SHOWN:
            at, limit = detectable(self.sd, blocks), detectable(self.cautious, blocks)
            lines.append(f"  {blocks:>6} {at:>15.4f} {limit:>15.4f}")
        return "\n".join(lines)


def measured(problem: Problem, trials: Sequence[Trial]) -> Noise | None:
    """The paired noise of those trials; None when no mixture but natural ran beside it in two blocks."""
    sd = noise(problem, trials)
    if math.isnan(sd):
        return None
    from scipy import special

    blocks = max(map(len, by_schedule(problem, trials).values()))

    def limit(probability: float) -> float:
        return sd * math.sqrt((blocks - 1) / float(special.chdtri(blocks - 1, probability)))

    natural = Schedule.constant(problem.natural)
    level = [value(problem.objective, t) for t in mixtures(trials) if t.status == "done" and t.plan.schedule == natural]
    return Noise(sd, limit(0.05), limit(0.95), limit(CAUTION), blocks, sum(level) / len(level))


def anchors(problem: Problem, plans: Sequence[Plan]) -> tuple[Plan, ...]:
    """Of the first round's plans those of the pilot: the mixture that runs beside natural in most blocks, and natural there.

    Empty when no mixture runs beside natural in two blocks: no noise can be measured with these plans.
    """
    plans = [p for p in plans if p.kind == "train"]
    natural = Schedule.constant(problem.natural)
    references = {p.block for p in plans if p.schedule == natural}
    blocks: dict[Schedule, set[int]] = {}
    for plan in plans:
        if plan.schedule != natural and plan.block in references:
            blocks.setdefault(plan.schedule, set()).add(plan.block)
    repeated = max(blocks, key=lambda schedule: len(blocks[schedule]), default=natural)
    if len(blocks.get(repeated, ())) < 2:
        return ()
    return tuple(p for p in plans if p.schedule in (natural, repeated) and p.block in blocks[repeated])


NO_PILOT = "a method such as auto, or one verification of two blocks or more, whose runs then tell the noise"


def check_plans(plans: Sequence[Plan], method: str) -> None:
    """Refuse a pilot that would measure nothing."""
    if not plans:
        raise UsageError(
            f"the first round of {method} has no mixture beside natural in two blocks",
            wanted="one mixture that is repeated, from which the noise between blocks can be told",
            fix=NO_PILOT,
        )


def check_noise(noise: Noise | None, trials: Sequence[Trial]) -> Noise:
    """Refuse a pilot of which too few runs ended well."""
    if noise is None:
        messages = [f"{t.status}: {t.message}" for t in trials if t.status != "done"]
        raise DataError(
            f"{len(messages)} of {len(trials)} runs of the pilot did not end well; the first: {messages[0]}",
            wanted="natural and one more mixture done in two blocks",
            fix="mend the cause (diverged: a lower proxy.learning_rate); removed trial files are made again",
        )
    return noise
