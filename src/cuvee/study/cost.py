"""What a study will take, before anything is spent: runs, tokens, FLOPs, epochs at both scales, time, disk.

Letters: R tokens of the target run, r tokens of a proxy, n tokens of a domain.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cuvee.base.codec import to_json
from cuvee.base.errors import CuveeError
from cuvee.base.files import dump_json
from cuvee.mixture import closed_form
from cuvee.mixture.weights import Mixture
from cuvee.plan.problem import TRANSFER_FLOOR, Problem
from cuvee.plan.sizes import HELD_OUT_TOKENS
from cuvee.plan.trial import Plan
from cuvee.shards.corpus import Corpus
from cuvee.study.judge import FIRST_BLOCK

Speed = Literal["measured", "assumed"]
FLOP_RATE = 3e10
"""FLOP/s assumed of one core when there is nothing to calibrate with: about what small models reach on a recent core."""
CALIBRATION = 2.0
"""Seconds that a calibration may take, about."""
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
class CostEstimate:
    """What is left to spend.

    Args:
        runs: Proxy runs left of the search: those planned, or all that the method says it will make.
        verify_runs: Runs left of the verification, five arms in every fresh block; fewer where arms coincide.
        finished: Runs of the search that have ended.
        tokens, flops: Summed over the runs left.
        ratio: r/R.
        smallest_pool: The domain with the smallest pool, and that pool in sequences.
        seconds: Wall-clock time left with `workers` on this machine's cores.
        rate: Tokens per second and worker, and how it is known: `measured` or `assumed`.
        disk: Bytes that trials and checkpoints will take.
    """

    runs: int
    verify_runs: int
    finished: int
    tokens: int
    flops: float
    ratio: float
    smallest_pool: tuple[str, int]
    epochs: tuple[DomainEpochs, ...]
    workers: int
    seconds: float
    rate: float
    rate_is: Speed
    disk: int

    def __str__(self) -> str:
        lines = [
            f"{self.runs} proxy runs to make ({self.finished} finished), then {self.verify_runs} for verification: "
            f"{self.tokens:,} tokens, {self.flops:.2e} FLOPs",
            f"about {_duration(self.seconds)} with {self.workers} workers ({self.rate:,.0f} tokens/s each, {self.rate_is}), "
            f"{self.disk / 1e6:.1f} MB of disk",
            f"r/R = {self.ratio:.4f}; smallest pool: {self.smallest_pool[0]}, {self.smallest_pool[1]:,} sequences",
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
    budget: int,
    workers: int,
    verify_seeds: int,
    speed: Speed,
) -> CostEstimate:
    """The cost of `plans` and a verification with `verify_seeds` fresh blocks.

    Args:
        plans: Runs of the search that are known, finished or not.
        finished: How many of them have ended.
        budget: Runs in total that the method means to make, where it says so (a field `runs`); otherwise 0.
        speed: `measured` trains for seconds to learn it; `assumed` takes a FLOP rate for granted.
    """
    left = max(len(plans), budget) - finished
    verify = (ARMS + (problem.present is not None)) * verify_seeds
    probe = problem.plan(problem.natural, FIRST_BLOCK, "search")
    per_token = probe.shape.flops_per_token(corpus.vocab_size, probe.seq_len)
    flops = per_token * (probe.tokens + scored_tokens(probe) / 3)
    measured = measure(probe, corpus) if speed == "measured" else None
    per_run = measured if measured is not None else flops / FLOP_RATE
    streams = max(1, min(workers, os.cpu_count() or 1))
    pool = min(range(len(problem.domains)), key=lambda i: problem.pools[i])
    return CostEstimate(
        runs=left,
        verify_runs=verify,
        finished=finished,
        tokens=(left + verify) * probe.tokens,
        flops=(left + verify) * flops,
        ratio=problem.proxy.tokens / problem.target_tokens,
        smallest_pool=(problem.domains[pool], problem.pools[pool] // problem.proxy.seq_len),
        epochs=_epochs(problem, plans),
        workers=workers,
        seconds=(-(-left // streams) + -(-verify // streams)) * per_run,
        rate=probe.tokens / per_run,
        rate_is="measured" if measured is not None else "assumed",
        disk=_disk(probe, corpus.vocab_size, left + verify, workers),
    )


def measure(plan: Plan, corpus: Corpus) -> float | None:
    """Seconds that `plan` takes one thread, from two short runs of the real training; None when they cannot be made.

    The difference between the runs is the price of steps. Scoring is counted as forward passes, a third of a step's
    price per token.
    """
    try:
        import torch

        from cuvee.proxies.train import train
    except ImportError:
        return None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    short = replace(plan, targets=plan.targets[:1], measures=(), eval_points=1)

    def seconds(steps: int) -> float:
        started = time.perf_counter()
        train([replace(short, steps=steps)], corpus)
        return time.perf_counter() - started

    per_step = plan.batch * plan.seq_len
    flops = plan.shape.flops_per_token(corpus.vocab_size, plan.seq_len) * per_step
    more = min(max(2, round(CALIBRATION * FLOP_RATE / flops)), 50)
    try:
        base = seconds(1)
        slope = max((seconds(1 + more) - base) / more, 1e-6)
    except (CuveeError, RuntimeError):
        return None  # the study itself will say what is wrong
    finally:
        torch.set_num_threads(threads)
    return base + slope * (plan.steps - 1 + scored_tokens(plan) / 3 / per_step)


def scored_tokens(plan: Plan) -> int:
    """Tokens that a run of `plan` scores, at most."""
    scorings = plan.eval_points + (plan.start is not None)
    return scorings * (len(plan.targets) * HELD_OUT_TOKENS + sum(m.tokens for m in plan.measures))


def _epochs(problem: Problem, plans: Sequence[Plan]) -> tuple[DomainEpochs, ...]:
    uniform = Mixture.from_array(problem.domains, closed_form.uniform(problem.tokens))
    mixtures = [p.schedule.mean(p.tokens) for p in plans] or [problem.natural]
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


def _disk(plan: Plan, vocab: int, runs: int, workers: int) -> int:
    weights = plan.shape.all_parameters(vocab)
    trial = 2 * len(dump_json(to_json(plan))) + 200 * plan.eval_points * len(plan.targets)
    return runs * trial + workers * weights * 4 * 3  # weights and the two moments of AdamW, 4 bytes each


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
