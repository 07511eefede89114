"""How fast the runs of a study end, and when those that are planned will have: from its files alone, while others run it.

A run that ended tells what a FLOP takes; one that is being made, how much of it is left. N runs of W workers end no sooner than
their work divided by W, or than the longest; and no later than the first of these plus (1 - 1/W) of the second, for no
worker idles while a run waits (Graham 1969).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from cuvee.plan.trial import Plan, Trial
from cuvee.study import claims
from cuvee.study.layout import Planned
from cuvee.study.store import Store

DOUBT = 0.2
"""How far the rate may be from that of fewer than `ENOUGH` runs, relative."""
LEAST_DOUBT = 0.05
ENOUGH = 3


@dataclass(frozen=True)
class Pace:
    """How far the planned runs are.

    Args:
        ended: Runs that ended, whatever their status.
        planned: All runs.
        workers: Workers at work now.
        tokens_per_second: Of all of them together; None when none is at work, or no run has ended and none has said how
            far it is.
        work_seconds: Left for one worker; None when nothing tells what a run takes.
        eta_seconds: The least and the most that is left of the clock; None when that is not known or nobody is at work.
    """

    ended: int
    planned: int
    workers: int
    tokens_per_second: float | None
    work_seconds: float | None
    eta_seconds: tuple[float, float] | None

    def __str__(self) -> str:
        said = [f"{self.ended} of {self.planned} planned runs ended"]
        if self.tokens_per_second is not None:
            said.append(f"{self.tokens_per_second:,.0f} tokens/s by {self.workers} workers")
        return "; ".join([*said, self.left])

    @property
    def left(self) -> str:
        """How long it will take, in words."""
        if self.ended == self.planned:
            return "nothing left"
        if self.eta_seconds is not None:
            low, high = map(duration, self.eta_seconds)
            return f"{low} to {high} left"
        if self.work_seconds is None:
            return "no run has ended yet, so the time left is not known"
        return f"nobody is at work; {duration(self.work_seconds)} of one worker left"


def pace(store: Store, planned: Sequence[Planned], ended: Sequence[Trial], vocab: int) -> Pace:
    """The pace of `planned`, of which `ended` have; runs that are no trainings of ours count in numbers only.

    Args:
        vocab: Tokens of the corpus's vocabulary.
    """
    have = {t.id for t in ended}
    left = {p.id: p.plan for p in planned if p.id not in have and _timed(p.plan)}
    made = [i for i in left if claims.held(store.claim_path(i))]
    share = dict.fromkeys(left, 0.0)
    half = list[tuple[float, float, int]]()  # seconds, FLOPs and tokens of runs that are being made
    for i in made:
        plan, told = left[i], store.progress(i)
        if told is not None and told.step:
            share[i] = min(told.step / plan.steps, 1.0)
            tokens = round(plan.tokens * share[i])
            half.append((told.seconds / plan.together, work(plan, vocab) * share[i], tokens))
    whole = [
        (t.cost.seconds, work(t.plan, vocab), t.plan.tokens) for t in ended if _timed(t.plan) and t.status == "done"
    ]
    seen = whole or half
    if not seen:
        return Pace(len(have), len(planned), len(made), None, None, None)
    rates = [seconds / flops for seconds, flops, _ in seen]
    # those that are trained with the run that is claimed are as far as it is
    work_i = {i: work(p, vocab) * mean(rates) for i, p in left.items()}
    gone = sum(work_i[i] * share[i] * left[i].together for i in made)
    total = max(sum(work_i.values()) - gone, 0.0)
    speed = len(made) * sum(tokens for *_, tokens in seen) / sum(seconds for seconds, *_ in seen)
    return Pace(
        ended=len(have),
        planned=len(planned),
        workers=len(made),
        tokens_per_second=speed if made else None,
        work_seconds=total,
        eta_seconds=_between(
            total, max((work_i[i] * (1 - share[i]) * left[i].together for i in left), default=0.0), rates, len(made)
        ),
    )


def work(plan: Plan, vocab: int) -> float:
    """FLOPs of its training, scoring left out: what makes runs of two sizes comparable."""
    return plan.tokens * plan.shape.flops_per_token(plan.start.vocab_size if plan.start else vocab, plan.seq_len)


def _timed(plan: Plan) -> bool:
    return plan.kind != "ngram" and plan.trainer == "proxies"


def _between(total: float, longest: float, rates: Sequence[float], workers: int) -> tuple[float, float] | None:
    if not workers:
        return None
    doubt = DOUBT
    if len(rates) >= ENOUGH:
        doubt = max(LEAST_DOUBT, 2 * stdev(rates) / (mean(rates) * len(rates) ** 0.5))
    low, high = max(total / workers, longest), total / workers + (1 - 1 / workers) * longest
    return max(low * (1 - doubt), 0.0), high * (1 + doubt)


def duration(seconds: float) -> str:
    """A span of time as people read it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
