"""How fast the runs of a study end, and when those that are planned will have: from its files alone, while others run it.

A batch of runs that ended tells what a FLOP takes; one that is being made, how much of it is left. N batches of W workers
end no sooner than their work divided by W, or than the longest; and no later than the first of these plus (1 - 1/W) of the
second, for no worker idles while a batch waits (Graham 1969).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from cuvee.plan.trial import Plan, Trial
from cuvee.study import claims
from cuvee.study.layout import Planned
from cuvee.study.store import Store
from cuvee.study.worker import together

DOUBT = 0.2
"""How far the rate may be from that of fewer than `ENOUGH` batches, relative."""
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


def pace(store: Store, stages: Sequence[Sequence[Planned]], ended: Sequence[Trial], vocab: int) -> Pace:
    """The pace of the runs of stages, of which `ended` have; runs that are no trainings of ours count in numbers only.

    A batch that is short of runs takes as long as a full one: it is filled with copies (`study.worker`).

    Args:
        stages: Runs that are planned together: batches are made within a stage.
        vocab: Tokens of the corpus's vocabulary.
    """
    trials, planned = {t.id: t for t in ended}, {p.id for stage in stages for p in stage}
    whole, half, made = list[_Seen](), list[_Seen](), 0
    # of batches by the first run that is left: FLOPs, and the share of them made
    left = dict[str, tuple[float, float]]()
    for batch in (b for stage in stages for b in together(stage) if _timed(b[0].plan)):
        plan, waiting = batch[0].plan, [p.id for p in batch if p.id not in trials]
        flops = work(plan, vocab) * plan.together
        ends = (trials.get(p.id) for p in batch)
        if done := [t for t in ends if t is not None and t.status == "done" and t.cost.seconds > 0]:  # told runs cost 0
            whole.append(_Seen(mean(t.cost.seconds for t in done) * plan.together, flops, plan.tokens * len(done)))
        if not waiting or waiting[0] in left:
            continue
        share, held = 0.0, claims.held(store.claim_path(batch[0].id))
        made += held
        if held and (told := store.progress(waiting[0])) is not None and told.step:
            share = min(told.step / plan.steps, 1.0)
            half.append(_Seen(told.seconds, flops * share, plan.tokens * share * len(waiting)))
        left[waiting[0]] = flops, share
    seen = whole or half
    if not seen:
        return Pace(len(trials), len(planned), made, None, None, None)
    rates = [s.seconds / s.flops for s in seen]
    seconds = [flops * (1 - share) * mean(rates) for flops, share in left.values()]
    speed = made * sum(s.tokens for s in seen) / sum(s.seconds for s in seen)
    return Pace(
        ended=len(trials),
        planned=len(planned),
        workers=made,
        tokens_per_second=speed if made else None,
        work_seconds=sum(seconds),
        eta_seconds=_between(seconds, rates, made),
    )


@dataclass(frozen=True)
class _Seen:
    """What a batch took so far: seconds of the clock, FLOPs with those of copies, tokens without."""

    seconds: float
    flops: float
    tokens: float


def work(plan: Plan, vocab: int) -> float:
    """FLOPs of a run's training, scoring left out: what makes runs of two sizes comparable."""
    return plan.tokens * plan.shape.flops_per_token(plan.start.vocab_size if plan.start else vocab, plan.seq_len)


def _timed(plan: Plan) -> bool:
    return plan.kind != "ngram" and plan.trainer == "proxies"


def _between(left: Sequence[float], rates: Sequence[float], workers: int) -> tuple[float, float] | None:
    """The least and the most that batches take which have so many seconds left each; None when nobody makes them."""
    if not workers:
        return None
    doubt = DOUBT
    if len(rates) >= ENOUGH:
        doubt = max(LEAST_DOUBT, 2 * stdev(rates) / (mean(rates) * len(rates) ** 0.5))
    total, longest = sum(left), max(left)
    low, high = max(total / workers, longest), total / workers + (1 - 1 / workers) * longest
    low, high = max(low * (1 - doubt), 0.0), high * (1 + doubt)
    assert low <= high, f"{left} in {low} to {high} seconds"
    return low, high


def duration(seconds: float) -> str:
    """A span of time as people read it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
