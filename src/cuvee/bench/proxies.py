"""How fast one core trains proxies: tokens/s and share of its peak, against a plain loop and against `torch.func.vmap`.

A contender's step (data, forward, backward, optimiser) and its scoring of 16 windows are timed in turn, one contender after
the other, in CPU time of one thread, so that whatever else the machine does falls on all alike. From their medians follows a whole
run at the batch of the rule: so many steps and so many scorings. Setting up and compiling are not in it; the latter is
told apart.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from cuvee.base.progress import Progress, Silent
from cuvee.bench import plain
from cuvee.mixture.weights import Mixture
from cuvee.plan.problem import Problem, Proxy
from cuvee.plan.sizes import HELD_OUT_TOKENS
from cuvee.plan.trial import Plan, Precision
from cuvee.proxies.evaluate import WINDOWS
from cuvee.proxies.model import Decoder
from cuvee.proxies.optimise import Optimiser
from cuvee.proxies.way import FASTER, Way, bf16_gain, compiler
from cuvee.shards.corpus import Corpus
from cuvee.shards.pools import pool_of
from cuvee.stream.mixer import Mixer
from cuvee.testing.corpora import synthetic

SIZES = (("0.1M", 600_000), ("1M", 1_000_000))
VOCAB = 8192
TARGETS = 3
"""Domains that a run scores, at each of its evaluations."""
ROUNDS = 7
TOGETHER = 4
GEMM = 1024


@dataclass(frozen=True)
class Contender:
    """One way to train: `step` reads its own data, `score` runs 16 windows of a model; K models at a time."""

    name: str
    precision: Precision
    k: int
    step: Callable[[], object]
    score: Callable[[], object]


@dataclass(frozen=True)
class Row:
    """A contender at one size. `share_of_peak` is of products in its precision; `step_ms` and `score_ms` are medians, `first_s` what
    the first of each took beyond them."""

    size: str
    vocab: int
    contender: str
    workers: int
    k: int
    tokens_per_s: float
    model_gflops: float
    precision: Precision
    share_of_peak: float
    step_ms: float
    score_ms: float
    first_s: float


@dataclass(frozen=True)
class Found:
    """The whole benchmark.

    Args:
        gemm_peak_gflops: fp32 products of 1,024 x 1,024 matrices, the best of all rounds.
        gemm_peak_bf16_gflops: The same in bf16.
        ratio_eager: Tokens/s of the best of ours that is one plan at a time over the plain loop's, of each size.
        ratio_vmap: The best of ours over vmap's, K plans together, of each size.
    """

    gemm_peak_gflops: float
    gemm_peak_bf16_gflops: float
    rows: tuple[Row, ...]
    ratio_eager: dict[str, float]
    ratio_vmap: dict[str, float]

    def ratios(self) -> dict[str, float]:
        """What is no row, by name."""
        return {
            "gemm_peak_gflops": self.gemm_peak_gflops,
            "gemm_peak_bf16_gflops": self.gemm_peak_bf16_gflops,
            **{f"ratio_eager {size}": ratio for size, ratio in self.ratio_eager.items()},
            **{f"ratio_vmap {size}": ratio for size, ratio in self.ratio_vmap.items()},
        }


def run(
    *,
    sizes: Sequence[tuple[str, int]] = SIZES,
    vocab: int = VOCAB,
    rounds: int = ROUNDS,
    together: int = TOGETHER,
    progress: Progress | None = None,
) -> Found:
    """Measure on one thread.

    Args:
        sizes: Named sizes, each with the tokens of its runs, from which the batch follows.
        rounds: Alternations, after one that warms up.
        together: K of the contenders that train several plans.
    """
    threads, report = torch.get_num_threads(), progress or Silent()
    torch.set_num_threads(1)
    rows, peaks = list[Row](), dict[Precision, float](fp32=0.0, bf16=0.0)
    try:
        with tempfile.TemporaryDirectory() as folder:
            corpus = synthetic(folder, documents=400, vocab=vocab)
            for name, tokens in sizes:
                plan = _plan(corpus, name, tokens)
                contenders = _contenders(plan, corpus, together)
                seconds, best = _alternate(contenders, rounds)
                peaks = {"fp32": max(peaks["fp32"], best["fp32"]), "bf16": max(peaks["bf16"], best["bf16"])}
                rows += [_row(plan, vocab, c, s) for c, s in zip(contenders, seconds, strict=True)]
                report.advance(1, note=name)
    finally:
        torch.set_num_threads(threads)
    rows = [replace(row, share_of_peak=row.model_gflops / peaks[row.precision]) for row in rows]
    return Found(
        peaks["fp32"],
        peaks["bf16"],
        tuple(rows),
        {name: _ratio(rows, name, "plain") for name, _ in sizes},
        {name: _ratio(rows, name, "vmap") for name, _ in sizes},
    )


def _ratio(rows: Sequence[Row], size: str, rival: str) -> float:
    (other,) = (r for r in rows if r.size == size and r.contender == rival)
    ours = [r.tokens_per_s for r in rows if r.size == size and r.k == other.k and r.contender not in ("plain", "vmap")]
    return max(ours) / other.tokens_per_s


def _plan(corpus: Corpus, name: str, tokens: int) -> Plan:
    problem = Problem.from_corpus(corpus, target_tokens=tokens, targets="all-domains", proxy=Proxy(tokens, name))
    return problem.plan(Mixture.from_shares(dict.fromkeys(corpus.domains, 1.0)), 0)


def _contenders(plan: Plan, corpus: Corpus, together: int) -> list[Contender]:
    ways = [Way()]
    if compiler():
        ways.append(Way(backend="compile"))
        if bf16_gain() > FASTER:
            ways.append(Way("bf16", "compile"))
    vocab, length = corpus.vocab_size, plan.seq_len
    found = [_ours(plan, corpus, 1, way) for way in ways]
    found.append(_rival("plain", plan, corpus, 1, *plain.alone(plan.shape, vocab, length)))
    found += [_ours(plan, corpus, together, way) for way in dict.fromkeys((ways[0], ways[-1]))]
    found.append(_rival("vmap", plan, corpus, together, *plain.stacked(plan.shape, vocab, length, together)))
    return found


def _batches(plan: Plan, corpus: Corpus, k: int) -> Iterator[Tensor]:
    """Tokens of K plans, shape K x B x (L + 1)."""
    pools = {
        domain: pool_of(corpus, domain, tokens, seed=plan.seed, block=plan.block)
        for domain, tokens in zip(plan.schedule.domains, plan.pools, strict=True)
    }
    mixers = [Mixer(pools, plan.schedule, seq_len=plan.seq_len, seed=i, batch=plan.batch) for i in range(k)]
    while True:
        yield torch.from_numpy(np.stack([next(m).tokens for m in mixers]))


def _ours(plan: Plan, corpus: Corpus, k: int, way: Way) -> Contender:
    model = Decoder(plan.shape, corpus.vocab_size, k, seed=0, block=0, way=way)
    optimiser = Optimiser(model, [plan.learning_rate] * k)
    batches, windows = _batches(plan, corpus, k), _windows(plan, corpus, k)

    def step() -> None:
        loss_K = model.loss(next(batches))
        loss_K.sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step(1.0, loss_K.detach())

    return Contender(f"ours {way.precision} {way.backend}", way.precision, k, step, lambda: model.nats(windows))


def _rival(name: str, plan: Plan, corpus: Corpus, k: int, step: plain.Step, score: plain.Step) -> Contender:
    batches, windows = _batches(plan, corpus, k), _windows(plan, corpus, k)
    return Contender(name, "fp32", k, lambda: step(next(batches)), lambda: score(windows))


def _windows(plan: Plan, corpus: Corpus, k: int) -> Tensor:
    return torch.randint(corpus.vocab_size, (k, WINDOWS, plan.seq_len + 1))


def _alternate(
    contenders: Sequence[Contender], rounds: int
) -> tuple[list[tuple[list[float], list[float]]], dict[Precision, float]]:
    """CPU seconds of the steps and of the scorings of each contender, the first of either being warm-up; GFLOP/s of products."""
    seconds = [(list[float](), list[float]()) for _ in contenders]
    factors: dict[Precision, Tensor] = {"fp32": torch.randn(GEMM, GEMM), "bf16": torch.randn(GEMM, GEMM).bfloat16()}
    best = dict.fromkeys(factors, float("inf"))
    for _ in range(rounds + 1):
        for contender, (steps, scorings) in zip(contenders, seconds, strict=True):
            steps.append(_seconds(contender.step))
            scorings.append(_seconds(contender.score))
        for precision, factor in factors.items():
            best[precision] = min(best[precision], _seconds(partial(torch.mm, factor, factor)))
    return seconds, {precision: 2 * GEMM**3 / took / 1e9 for precision, took in best.items()}


def _seconds(call: Callable[[], object]) -> float:
    started = _spent()
    call()
    return _spent() - started


def _spent() -> float:
    """CPU seconds, of a compiler that this process called too."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def _row(plan: Plan, vocab: int, contender: Contender, seconds: tuple[list[float], list[float]]) -> Row:
    steps, scorings = seconds
    step, score = statistics.median(steps[1:]), statistics.median(scorings[1:])
    scored = plan.eval_points * TARGETS * HELD_OUT_TOKENS
    took = plan.steps * step + scored / (WINDOWS * plan.seq_len) * score
    flops = plan.shape.flops_per_token(vocab, plan.seq_len) * (plan.tokens + scored / 3)
    return Row(
        size=plan.size,
        vocab=vocab,
        contender=contender.name,
        workers=1,
        k=contender.k,
        tokens_per_s=contender.k * plan.tokens / took,
        model_gflops=contender.k * flops / took / 1e9,
        precision=contender.precision,
        share_of_peak=0.0,
        step_ms=1e3 * step,
        score_ms=1e3 * score,
        first_s=max(steps[0] + scorings[0] - step - score, 0.0),
    )
