"""Exact order against random draws of domains: the same mixture, trained both ways from the same weights.

Two things are compared. The loss at the end, as the mean over domains and weighted by the mixture; the shares that random draws
happened to realise are in both. And how much gradients scatter from step to step: in windows
of steps, the mean squared distance of each step's gradient from the window's mean, which exact shares should lessen by the
part that comes from batches of other compositions. Both are paired by seed; intervals are Student's over the seeds.

Letters: K = 2 runs (exact, random), D domains, B sequences of a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats

from cuvee.base.progress import Progress, Silent
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.plan.sizes import learning_rate, size
from cuvee.proxies.evaluate import held_out, score
from cuvee.proxies.model import Decoder
from cuvee.proxies.optimise import BETAS, WEIGHT_DECAY
from cuvee.proxies.train import learning_rate_factor
from cuvee.shards.corpus import Corpus
from cuvee.stream.mixer import Mixer
from cuvee.stream.state import OrderKind

ORDERS: tuple[OrderKind, OrderKind] = ("exact", "random")
SIZE, SEQ_LEN, BATCH, WINDOW = "0.1M", 128, 8, 16


@dataclass(frozen=True)
class Pair:
    """One seed, trained both ways; losses in bits/byte, `scatter` of gradients as above, each shape K.

    `off` is the largest relative error of a domain's realised share.
    """

    seed: int
    loss: tuple[float, ...]
    weighted: tuple[float, ...]
    scatter: tuple[float, ...]
    off: tuple[float, ...]


def run(
    corpus: Corpus,
    *,
    seeds: int = 5,
    tokens: int = 400_000,
    progress: Progress | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """`rows`: what random order changes, with 90 % intervals over the seeds; `seeds`: each pair.

    The mixture gives each domain half of what the one before has, so that some are rare in a batch.
    """
    say = progress or Silent()
    mixture = Mixture.from_shares({d: 0.5**i for i, d in enumerate(corpus.domains)})
    pairs = []
    for seed in range(seeds):
        pairs.append(_train(corpus, mixture, seed, tokens))
        say.advance(2)
    rows = [
        {"measure": "mean loss, bits/byte, random - exact", **_interval([p.loss[1] - p.loss[0] for p in pairs])},
        {
            "measure": "loss weighted by the mixture, bits/byte, random - exact",
            **_interval([p.weighted[1] - p.weighted[0] for p in pairs]),
        },
        {
            "measure": "scatter of gradients, log(random / exact)",
            **_interval([math.log(p.scatter[1] / p.scatter[0]) for p in pairs]),
        },
    ]
    each = [
        {"seed": p.seed}
        | {f"loss {o}": round(v, 5) for o, v in zip(ORDERS, p.loss, strict=True)}
        | {f"weighted {o}": round(v, 5) for o, v in zip(ORDERS, p.weighted, strict=True)}
        | {f"scatter {o}": round(v, 6) for o, v in zip(ORDERS, p.scatter, strict=True)}
        | {f"share off {o}": round(v, 4) for o, v in zip(ORDERS, p.off, strict=True)}
        for p in pairs
    ]
    return {"rows": rows, "seeds": each}


def _interval(values: list[float]) -> dict[str, float]:
    mean, n = float(np.mean(values)), len(values)
    half = float(stats.t.ppf(0.95, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return {"mean": round(mean, 5), "low": round(mean - half, 5), "high": round(mean + half, 5)}


def _train(corpus: Corpus, mixture: Mixture, seed: int, tokens: int) -> Pair:
    sources = {d: corpus.source(d, "train") for d in corpus.domains}
    schedule = Schedule.constant(mixture)
    mixers = [Mixer(sources, schedule, seq_len=SEQ_LEN, seed=seed, batch=BATCH, order=order) for order in ORDERS]
    model = Decoder(size(SIZE), corpus.vocab_size, len(ORDERS), seed=seed, block=0)
    count = sum(p.numel() for p in model.parameters()) // len(ORDERS)
    adam = torch.optim.AdamW(model.parameters(), learning_rate(count, tokens), BETAS, weight_decay=WEIGHT_DECAY)
    steps, peak, scatter = tokens // (BATCH * SEQ_LEN), adam.param_groups[0]["lr"], _Scatter()
    for step in range(steps):
        adam.param_groups[0]["lr"] = peak * learning_rate_factor(step, steps)
        rows_KBL1 = torch.from_numpy(np.stack([next(m).tokens for m in mixers]))
        adam.zero_grad()
        model.loss(rows_KBL1).sum().backward()  # type: ignore[no-untyped-call]
        if step >= steps // 4:
            scatter.add(torch.cat([p.grad.flatten(1) for p in model.parameters() if p.grad is not None], 1))
        adam.step()
    texts = [held_out(corpus, d, "search", SEQ_LEN) for d in corpus.domains]
    losses_DK = [[text.value(reading.raw) for reading in score(model, text)] for text in texts]
    weighted = (mixture.shares[:, None] * losses_DK).sum(0)
    off = [
        max(abs(n / (m.tokens * w) - 1) for n, w in zip(m.realised.values(), mixture.shares, strict=True))
        for m in mixers
    ]
    return Pair(seed, tuple(np.mean(losses_DK, axis=0).tolist()), tuple(weighted.tolist()), scatter.mean(), tuple(off))


class _Scatter:
    """Mean squared distance of gradients from the mean of their window, over windows."""

    def __init__(self) -> None:
        self._windows: list[torch.Tensor] = []
        self._empty()

    def _empty(self) -> None:
        self._n, self._sum, self._squares = 0, torch.zeros(1), torch.zeros(1)

    def add(self, gradient_KW: torch.Tensor) -> None:
        self._n += 1
        self._sum = self._sum + gradient_KW
        self._squares = self._squares + (gradient_KW**2).sum(1)
        if self._n == WINDOW:
            mean_K = (self._squares - (self._sum**2).sum(1) / WINDOW) / (WINDOW - 1)
            self._windows.append(mean_K)
            self._empty()

    def mean(self) -> tuple[float, ...]:
        return tuple(torch.stack(self._windows).mean(0).tolist())
