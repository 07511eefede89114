"""Plan: one run to make. Trial: one run that ended. Both survive JSON and are told apart by content.

Letters: T targets, S evaluation points, X scored examples.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cuvee.base.codec import canonical, content_id
from cuvee.base.errors import UsageError
from cuvee.mixture.schedule import Schedule
from cuvee.plan.sizes import Size, size

Split = Literal["search", "verify"]
Status = Literal["done", "diverged", "failed"]
RECIPE = 1
"""Bumped by hand when the training code changes its numbers; guarded by a golden-loss test."""


LATER = ("measures", "start", "trainer", "backend", "device", "together")
"""Fields of a plan that came after format 1: left out of its id while they say nothing, so that older ids stay."""
Precision = Literal["fp32", "bf16"]
Backend = Literal["eager", "compile"]
Device = Literal["cpu", "cuda"]
Kind = Literal["text", "continuation", "choice", "outside"]
RunKind = Literal["train", "short", "expert", "ngram"]
"""`train`: a mixture's run. `short`: its complete run of fewer tokens (`plan.rungs`), whose losses compare with none of these.
`expert`, `ngram`: evidence about one domain, by a proxy or an n-gram model (`plan.experts`)."""
Want = Literal["example_log_likelihoods", "token_log_likelihoods"]
WANTS: tuple[Want, ...] = ("example_log_likelihoods", "token_log_likelihoods")
"""What a run can record of held-out text besides losses: of every window or example, or of tokens spread evenly over it."""


@dataclass(frozen=True)
class Measure:
    """A target that is no domain of the corpus.

    Args:
        name: As objectives, guards and trials call it.
        kind: `text`: bits/byte of a text of the user's. `continuation`: bits/byte of given answers to prompts, nothing
            else scored. `choice`: bits/byte of the right answer minus the mean of the wrong ones. `outside`: a metric
            that another trainer reports.
        search, verify: Content hashes of the tokenised halves of the user's file; empty for `outside`.
        tokens: Tokens that scoring one half takes, at most.
        unit: Of the values.
        direction: Whether less or more is better. Trials hold values of which less is better: what is to be maximised
            is stored with its sign turned.
    """

    name: str
    kind: Kind
    search: str = ""
    verify: str = ""
    tokens: int = 0
    unit: str = "bits/byte"
    direction: Literal["minimise", "maximise"] = "minimise"


@dataclass(frozen=True)
class Start:
    """The checkpoint that a run goes on from, instead of weights drawn from (seed, block).

    Args:
        sha: Hash of its shape and weights (`proxies.start`), by which its file is named.
        size: Its shape.
        vocab_size: Rows of its embedding; at least the entries of the corpus's tokenizer.
    """

    sha: str
    size: Size
    vocab_size: int


@dataclass(frozen=True)
class Plan:
    """One run, self-contained.

    Args:
        schedule: The mixture over training; its domains are the corpus's.
        size: A named size of `plan.sizes`, or the name of the start's.
        steps: Optimiser steps of `batch` sequences of `seq_len` tokens.
        seed: The study's seed.
        block: Trials of one (seed, block) share initial weights, data order and pools.
        pools: Tokens of each domain's pool, aligned with the schedule's domains; drawn in whole documents by
            (seed, block), nested across sizes of pool.
        targets: Domains whose held-out `split` is scored.
        eval_points: Evaluations, evenly spaced, the last one at the end.
        precision: Of matrix products; weights, sums and the optimiser are fp32 in either.
        kind, requires, wants: What does not fit "mixture -> loss": kinds of run, ids of trials needed first, arrays to record
            (`WANTS`).
        measures: What is scored besides domains.
        trainer: Who makes the run. Part of what it is: the losses of two trainers do not compare.
        start: The checkpoint that training goes on from; its loss before training is then the first of the curves.
        backend: Whether the model's operations run one by one or as code compiled for this shape.
        device: Class of the machine.
        together: Plans of a block that are trained as one batched model, K.
    """

    schedule: Schedule
    size: str
    steps: int
    seq_len: int
    batch: int
    learning_rate: float
    precision: Precision
    seed: int
    block: int
    pools: tuple[int, ...]
    targets: tuple[str, ...]
    split: Split
    eval_points: int
    kind: RunKind = "train"
    requires: tuple[str, ...] = ()
    wants: tuple[Want, ...] = ()
    measures: tuple[Measure, ...] = ()
    trainer: Literal["proxies", "outside"] = "proxies"
    start: Start | None = None
    backend: Backend = "eager"
    device: Device = "cpu"
    together: int = 1

    def __post_init__(self) -> None:
        if len(self.pools) != len(self.schedule.domains):
            raise UsageError(
                f"got {len(self.pools)} pools for {len(self.schedule.domains)} domains", wanted="one a domain"
            )
        if self.start is not None and self.size != self.start.size.name:
            raise UsageError(f"a plan of size {self.size!r} with a start", wanted=f"size {self.start.size.name!r}")

    @property
    def tokens(self) -> int:
        """Tokens trained on."""
        return self.steps * self.batch * self.seq_len

    @property
    def shape(self) -> Size:
        """The shape of the model."""
        return size(self.size) if self.start is None else self.start.size

    def id(self, fingerprint: str) -> str:
        """The trial id on the corpus with that fingerprint: blake2b-128 of canonical JSON."""
        plain: dict[str, Any] = json.loads(canonical(self))
        for item in fields(self):
            if item.name in LATER and getattr(self, item.name) == item.default:
                del plain[item.name]
        return content_id({"format": 1, "plan": plain, "corpus": fingerprint, "recipe": RECIPE})


@dataclass(frozen=True)
class Curve:
    """Loss of one target over training, shape S each: tokens seen, nats/token, bits/byte.

    Of measures the values are in their unit, less is better, and `nats` is empty. `errors` are standard errors, where an
    outside trainer gives them.

    Args:
        sample_sums, sample_sizes: The last value, apart for every document or example of the held-out text (in runs of a
            verification): it is the sum of the first over the sum of the second.
        start_sums: The same sums before training, of runs that start from a checkpoint.
    """

    target: str
    tokens: tuple[int, ...]
    nats: tuple[float, ...]
    bits_per_byte: tuple[float, ...]
    errors: tuple[float, ...] = ()
    sample_sums: tuple[float, ...] = ()
    sample_sizes: tuple[float, ...] = ()
    start_sums: tuple[float, ...] = ()


@dataclass(frozen=True)
class Likelihoods:
    """What a run thinks of one target's held-out examples, in an order that all runs on a corpus share.

    Small, so it lies in the trial's own file: 512 tokens of a target are 5 kB.

    Args:
        want: What an example is.
        target: The domain or measure.
        examples: Hash of the examples; only likelihoods with the same one may be joined.
        nats: Minus the natural logarithm of each example's likelihood, summed over its tokens; fp32, packed (`pack`).
        sizes: Bytes of text of each example, packed.
    """

    want: Want
    target: str
    examples: str
    nats: str
    sizes: str

    @classmethod
    def of(cls, want: Want, target: str, examples: str, nats_X: NDArray[Any], sizes_X: NDArray[Any]) -> Self:
        """The record of these numbers."""
        return cls(want, target, examples, pack(nats_X), pack(sizes_X))

    @property
    def nats_X(self) -> NDArray[np.float64]:
        """Nats of each example, shape X."""
        return unpack(self.nats)

    @property
    def sizes_X(self) -> NDArray[np.float64]:
        """Bytes of each example, shape X."""
        return unpack(self.sizes)


def pack(values_X: NDArray[Any]) -> str:
    """Base64 of the numbers as little-endian fp32: 5.3 characters a number, where JSON's own take about 18."""
    return base64.b64encode(np.ascontiguousarray(values_X, "<f4").tobytes()).decode("ascii")


def unpack(text: str) -> NDArray[np.float64]:
    """The numbers that `pack` was given, to fp32. Shape X."""
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float64)


@dataclass(frozen=True)
class Cost:
    """What a run took."""

    seconds: float
    cpu_seconds: float
    flops: float


@dataclass(frozen=True)
class Trial:
    """One run that ended.

    Args:
        status: `done`; `diverged` (a loss that is not finite, or twice that of a uniform guess); `failed` (an error, in `message`).
        curves: One per target; empty when failed.
        realised: Tokens trained on per domain, aligned with the plan's domains.
        provenance: Versions, hardware, commit: recorded, not part of the id.
        likelihoods: What the plan `wants`, one per want and target that has it.
    """

    id: str
    plan: Plan
    status: Status
    curves: tuple[Curve, ...]
    realised: tuple[int, ...]
    cost: Cost
    provenance: Mapping[str, str]
    message: str = ""
    likelihoods: tuple[Likelihoods, ...] = ()

    def curve(self, target: str) -> Curve | None:
        """The curve of a target; None when the run has none."""
        return next((c for c in self.curves if c.target == target and c.bits_per_byte), None)

    def start_loss(self, target: str) -> float:
        """Loss of a target before training, of a run that starts from a checkpoint; NaN of any other."""
        curve = self.curve(target)
        return curve.bits_per_byte[0] if curve and curve.tokens[0] == 0 else math.nan

    def loss(self, target: str) -> float:
        """Final loss of a target in bits/byte (or its unit); NaN when the run has none."""
        curve = self.curve(target)
        return curve.bits_per_byte[-1] if curve else math.nan
