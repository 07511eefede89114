"""What a study will take, before anything is spent: runs, tokens, FLOPs, epochs at both scales, time, disk.

Letters: R tokens of the target run, r tokens of a proxy, n tokens of a domain.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cuvee.base.codec import to_json
from cuvee.base.errors import InfeasibleError
from cuvee.base.files import dump_json
from cuvee.methods.contract import Method, Staged
from cuvee.mixture import closed_form
from cuvee.mixture.weights import Mixture
from cuvee.plan.problem import TRANSFER_FLOOR, Problem, Proxy
from cuvee.plan.sizes import HELD_OUT_TOKENS
from cuvee.plan.trial import Plan
from cuvee.shards.corpus import Corpus
from cuvee.study import transfer
from cuvee.study.calibrate import FLOP_RATE, Speed, measure
from cuvee.study.checks import check_larger
from cuvee.study.judge import FIRST_BLOCK, FIRST_LARGE
from cuvee.study.pace import duration
from cuvee.study.pilot import anchors

Known = Literal["measured", "assumed"]
ERROR = 0.2
"""How far CPU-seconds may be from those foretold, relative (`docs/benchmarks.md`)."""
START = 3.0
"""CPU-seconds assumed of a worker's start, most of them torch's."""
ARMS = 5
"""Arms of a verification without a present blend (`study.judge`)."""


@dataclass(frozen=True)
class DomainEpochs:
    """Passes over one domain at the target run, and over its pool in a proxy, in the same mixtures.

    `designed` are the least and the most over the runs planned or proposed; `most` is at the domain's upper bound.
    """

    domain: str
    tokens: int
    pool: int
    natural: float
    uniform: float
    designed: tuple[float, float]
    most: float
    proxy_designed: tuple[float, float]


@dataclass(frozen=True)
class Price:
    """One run: tokens trained on, FLOPs with its scoring, CPU-seconds of one worker, bytes of its trial, of a checkpoint and of memory.

    `together` runs of a block are trained as one model, which copies fill up and of which each takes as much.
    """

    tokens: int
    flops: float
    seconds: float
    record: int
    checkpoint: int
    memory: int
    together: int = 1

    def trainings(self, runs: int, blocks: int) -> int:
        """Runs and the copies beside them, of so many runs spread evenly over so many blocks."""
        blocks = max(1, min(runs, blocks))
        each, more = divmod(runs, blocks)
        batches = (blocks - more) * -(-each // self.together) + more * -(-(each + 1) // self.together)
        return batches * self.together


@dataclass(frozen=True)
class Bill:
    """Some runs: tokens, FLOPs, seconds of wall-clock time and of CPU time, bytes on disk."""

    tokens: int
    flops: float
    seconds: float
    cpu_seconds: float
    disk: int

    def __str__(self) -> str:
        return f"{self.tokens:,} tokens, {self.flops:.2e} FLOPs, {duration(self.seconds)}, {self.disk / 1e6:.1f} MB"


@dataclass(frozen=True)
class Larger:
    """What is meant to run at a larger scale: a verification of `seeds` fresh blocks, a check of `transfer` mixtures."""

    proxy: Proxy
    seeds: int
    transfer: int


@dataclass(frozen=True)
class LargerCost:
    """The larger runs: how many of either kind, what one takes (from the proxies' by their FLOPs), r/R, the smallest pool."""

    proxy: Proxy
    verify_runs: int
    transfer_runs: int
    each: Price
    ratio: float
    smallest_pool: tuple[str, int]

    def __str__(self) -> str:
        kinds = [(self.verify_runs, "for verification"), (self.transfer_runs, "for the transfer check")]
        return (
            f"larger runs, {self.proxy.size} parameters and {self.each.tokens:,} tokens: "
            f"{', '.join(f'{n} {what}' for n, what in kinds if n)}; {self.each.flops:.2e} FLOPs and about "
            f"{duration(self.each.seconds)} each, in {self.each.memory / 1e9:.1f} GB of memory; {_ratio(self.ratio, self.smallest_pool)}"
        )


@dataclass(frozen=True)
class CostEstimate:
    """What is left to spend.

    Args:
        runs: Proxy runs left of the search: those planned, or all that the method says it will make.
        rungs: Tokens and number of these where not all see as many; empty where they do.
        verify_runs: Runs left of the verification, five arms in every fresh block; fewer where arms coincide.
        finished: Runs of the search that have ended.
        blocks: Blocks of the search.
        pilot_runs: Runs of the search that measure the noise (`Study.pilot`); 0 where none can.
        each: What a proxy run takes.
        large: The larger runs; None when none are meant.
        tokens, flops: Summed over the runs left, the larger ones included.
        ratio: r/R.
        smallest_pool: The domain with the smallest pool, and that pool in sequences.
        seconds: Wall-clock time left with `workers` on this machine's cores and nothing else to do.
        cpu_seconds: Of the runs left, of the copies beside them and of the workers' starts.
        copies: What fills batches of runs trained together that are short of runs, at least.
        between: Wall-clock time left, from what CPU-seconds may be less to what they may be more while the machine is as busy
            as it was just now.
        rate: Tokens per second and worker, and how it is known: `measured` or `assumed`.
        disk: Bytes that trials and checkpoints will take.
    """

    runs: int
    verify_runs: int
    finished: int
    blocks: int
    pilot_runs: int
    each: Price
    large: LargerCost | None
    tokens: int
    flops: float
    ratio: float
    smallest_pool: tuple[str, int]
    epochs: tuple[DomainEpochs, ...]
    workers: int
    seconds: float
    cpu_seconds: float
    between: tuple[float, float]
    rate: float
    rate_is: Known
    disk: int
    copies: int = 0
    rungs: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.runs} proxy runs to make ({self.finished} finished), then {self.verify_runs} for verification",
            *(f"  {n} of {tokens:,} tokens each" for tokens, n in self.rungs if n),
            *(
                [f"  and {self.copies} copies or more, to fill batches of together: {self.each.together}"]
                if self.copies
                else []
            ),
            *([str(self.large)] if self.large else []),
            f"in all {self.tokens:,} tokens, {self.flops:.2e} FLOPs, {duration(self.cpu_seconds)} of CPU time, "
            f"{self.disk / 1e6:.1f} MB of disk",
            f"{duration(self.between[0])} to {duration(self.between[1])} with {self.workers} workers on this machine "
            f"({self.rate:,.0f} tokens/s each on a core of its own, {self.rate_is})",
            _ratio(self.ratio, self.smallest_pool),
            f"  {'epochs of':<20} {'natural':>8} {'uniform':>8} {'planned':>17} {'bound':>8}   in a proxy",
        ]
        for e in self.epochs:
            lines.append(
                f"  {e.domain:<20.20} {e.natural:>8.2f} {e.uniform:>8.2f} {e.designed[0]:>8.2f}-{e.designed[1]:<8.2f} "
                f"{e.most:>8.2f}   {e.proxy_designed[0]:.2f}-{e.proxy_designed[1]:.2f}"
            )
        if self.ratio < TRANSFER_FLOOR:
            lines.append("r/R is below 1/16: that the choice transfers to the target run is unproven")
        return "\n".join(lines)


def estimate(
    problem: Problem,
    corpus: Corpus,
    plans: Sequence[Plan],
    *,
    finished: int,
    budget: Sequence[tuple[Plan, int]],
    workers: int,
    verify_seeds: int,
    speed: Known,
    large: Larger | None = None,
    inputs: Path | None = None,
) -> CostEstimate:
    """The cost of `plans`, a verification with `verify_seeds` fresh blocks, and larger runs.

    Args:
        plans: Trainings of the search that are known, finished or not.
        finished: How many of them have ended.
        budget: How many runs like which plan the method means to make in total (`budget_of`).
        speed: `measured` trains for seconds to learn it; `assumed` takes a FLOP rate for granted.
        inputs: Where the weights lie that proxies start from.

    Raises:
        UsageError: the larger runs are no larger.
        InfeasibleError: a pool of theirs is under the floor.
    """
    left, verify = _left(plans, finished, budget), arms(problem) * verify_seeds
    probe = problem.plan(problem.natural, FIRST_BLOCK, "search")
    streams = max(1, min(workers, os.cpu_count() or 1))
    found = measure(probe, corpus, inputs, streams) if speed == "measured" else None
    flops = _flops(probe, corpus.vocab_size)
    known = found or Speed(START, flops / FLOP_RATE, 1.0)
    rate = flops / known.run
    each = _price(probe, corpus.vocab_size, rate)
    larger = _larger(problem, corpus, plans, large, rate) if large else None
    blocks = len({p.block for p in (*plans, *(plan for plan, _ in budget))})
    proxies = [(n, _price(plan, corpus.vocab_size, rate), blocks) for plan, n in left] + [(verify, each, verify_seeds)]
    others = (
        [(larger.transfer_runs, larger.each, blocks), (larger.verify_runs, larger.each, large.seeds)]
        if larger and large
        else []
    )
    stages = [stage for stage in proxies + others if stage[0]]
    bill = total(stages or proxies, workers)
    seconds = bill.seconds + len(stages) * known.start
    starts = sum(min(workers, price.trainings(n, among) // price.together) for n, price, among in stages)
    return CostEstimate(
        runs=sum(n for _, n in left),
        rungs=tuple((plan.tokens, n) for plan, n in left) if len(left) > 1 else (),
        verify_runs=verify,
        finished=finished,
        blocks=len({p.block for p in plans}),
        pilot_runs=len(anchors(problem, plans)),
        each=each,
        large=larger,
        tokens=bill.tokens,
        flops=bill.flops,
        ratio=problem.proxy.tokens / problem.target_tokens,
        smallest_pool=problem.smallest_pool,
        epochs=_epochs(problem, plans),
        workers=workers,
        seconds=seconds,
        cpu_seconds=bill.cpu_seconds + starts * known.start,
        copies=sum(price.trainings(n, among) - n for n, price, among in proxies),
        between=(seconds * (1 - ERROR), seconds * (1 + ERROR) * known.stretch),
        rate=each.tokens / each.seconds,
        rate_is="measured" if found else "assumed",
        disk=bill.disk,
    )


def budget_of(problem: Problem, method: Method | None) -> tuple[tuple[Plan, int], ...]:
    """The runs that a method says it will make: its stages, or so many of the proxies' as it has `runs`; else none."""
    if isinstance(method, Staged):
        return method.stages(problem)
    return ((problem.plan(problem.natural, 0), int(getattr(method, "runs", 0))),)


def _left(plans: Sequence[Plan], finished: int, budget: Sequence[tuple[Plan, int]]) -> list[tuple[Plan, int]]:
    """How many runs like which plan are left, by their tokens, fewest first: what is planned or meant, less what has ended."""
    like = {plan.tokens: plan for plan in (*plans, *(plan for plan, _ in budget))}
    planned, done = (Counter(plan.tokens for plan in some) for some in (plans, plans[:finished]))
    meant = Counter({plan.tokens: n for plan, n in budget})
    return [(like[tokens], max(planned[tokens], meant[tokens]) - done[tokens]) for tokens in sorted(like)]


def arms(problem: Problem) -> int:
    """Arms of a verification, at most."""
    return ARMS + (problem.present is not None)


def total(stages: Sequence[tuple[int, Price, int]], workers: int) -> Bill:
    """Stages of so many runs of a price in so many blocks, one after the other, with `workers` on this machine's cores."""
    streams = max(1, min(workers, os.cpu_count() or 1))
    trainings = [(price.trainings(n, blocks), price) for n, price, blocks in stages]
    return Bill(
        sum(n * price.tokens for n, price, _ in stages),
        sum(n * price.flops for n, price, _ in stages),
        sum(-(-all_ // (streams * p.together)) * p.together * p.seconds for all_, p in trainings),
        sum(all_ * p.seconds for all_, p in trainings),
        sum(n * price.record for n, price, _ in stages)
        + max(min(workers, all_ // p.together) * p.checkpoint * p.together for all_, p in trainings),
    )


def _larger(problem: Problem, corpus: Corpus, plans: Sequence[Plan], large: Larger, rate: float) -> LargerCost:
    check_larger(large.proxy, problem.proxy)
    try:
        at = replace(problem, proxy=large.proxy)
    except InfeasibleError as error:  # a pool under the floor
        raise InfeasibleError(f"the larger runs: {error.what}", wanted=error.wanted, fix=error.fix) from error
    checked = len(transfer.plans(problem, plans, large.proxy, large.transfer)) if large.transfer else 0
    if large.transfer and not checked and any(p.kind == "short" for p in plans):  # full runs are yet to come
        checked = large.transfer + len({p.block for p in plans})
    return LargerCost(
        proxy=large.proxy,
        verify_runs=arms(problem) * large.seeds,
        transfer_runs=checked,
        each=_price(at.plan(at.natural, FIRST_LARGE, "verify"), corpus.vocab_size, rate),
        ratio=large.proxy.tokens / problem.target_tokens,
        smallest_pool=at.smallest_pool,
    )


def _flops(plan: Plan, vocab: int) -> float:
    """FLOPs of a run with its scoring, whose forward passes are a third of a step's price per token."""
    return plan.shape.flops_per_token(vocab, plan.seq_len) * (plan.tokens + scored_tokens(plan) / 3)


def _price(plan: Plan, vocab: int, rate: float) -> Price:
    flops, weights = _flops(plan, vocab), plan.shape.all_parameters(vocab)
    record = 2 * len(dump_json(to_json(plan))) + 200 * plan.eval_points * len(plan.targets)
    # the weights and the two moments of AdamW, 4 bytes each
    memory = plan.shape.training_bytes(vocab, plan.batch * plan.seq_len)
    return Price(plan.tokens, flops, flops / rate, record, weights * 4 * 3, memory, plan.together)


def _ratio(ratio: float, pool: tuple[str, int]) -> str:
    return f"r/R = {ratio:.4f}; smallest pool: {pool[0]}, {pool[1]:,} sequences"


def scored_tokens(plan: Plan) -> int:
    """Tokens that a run of `plan` scores, at most."""
    scorings = plan.eval_points + (plan.start is not None)
    return scorings * (len(plan.targets) * HELD_OUT_TOKENS + sum(m.tokens for m in plan.measures))


def _epochs(problem: Problem, plans: Sequence[Plan]) -> tuple[DomainEpochs, ...]:
    uniform = Mixture.from_array(problem.domains, closed_form.uniform(problem.tokens))
    mixtures = [p.schedule.mean(p.tokens) for p in plans if p.kind in ("train", "short")] or [problem.natural]
    at_target = [problem.epochs(m) for m in mixtures]
    natural, flat, caps = problem.epochs(problem.natural), problem.epochs(uniform), problem.feasible().high
    rows = []
    for i, (domain, n, pool) in enumerate(zip(problem.domains, problem.tokens, problem.pools, strict=True)):
        least, most = min(e[i] for e in at_target), max(e[i] for e in at_target)
        proxy = problem.proxy.tokens / max(pool, 1) / (problem.target_tokens / n)
        rows.append(
            DomainEpochs(
                domain=domain,
                tokens=n,
                pool=pool,
                natural=float(natural[i]),
                uniform=float(flat[i]),
                designed=(float(least), float(most)),
                most=min(caps[i], 1.0) * problem.target_tokens / n,
                proxy_designed=(float(least * proxy), float(most * proxy)),
            )
        )
    return tuple(rows)
