"""The training loop: K plans of one size and block trained together, scored on held-out text, resumable to the bit.

How a step is computed is `proxies.way`. On a CPU the numbers are a function of the plan, the corpus, the way, K and the number
of threads; the caller sets the threads (`torch.set_num_threads`), workers of a study use one. Change what they depend on,
and `plan.trial.RECIPE` must change.

Letters: K plans, S evaluation points, T targets, B sequences of L tokens, W weights.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cuvee.base.errors import DataError
from cuvee.plan.trial import Cost, Curve, Likelihoods, Plan, Trial
from cuvee.proxies.checkpoint import Saved, load, save
from cuvee.proxies.evaluate import HeldOut, Prompts, Reading, held_out, prompts, score
from cuvee.proxies.model import Decoder
from cuvee.proxies.ngram import count
from cuvee.proxies.optimise import Optimiser
from cuvee.proxies.progress import Progress, tell
from cuvee.proxies.provenance import provenance
from cuvee.proxies.record import record, token_nats
from cuvee.proxies.start import load_start
from cuvee.proxies.way import Way, way_of
from cuvee.shards.corpus import Corpus
from cuvee.shards.pools import pool_of
from cuvee.stream.mixer import Mixer

WARM_UP = 0.1
FINAL = 0.1
TELL = 5.0
"""Seconds between words of how far a run is."""
LOOK = 16
"""Steps of a GPU between looks at what diverged: each waits for the device."""


def _nothing(step: int, steps: int) -> None:
    """The default of `on_step`."""


def train(
    plans: Sequence[Plan],
    corpus: Corpus,
    *,
    checkpoint: Path | None = None,
    inputs: Path | None = None,
    checkpoint_seconds: float = 30.0,
    on_step: Callable[[int, int], None] = _nothing,
    way: Way | None = None,
) -> tuple[Trial, ...]:
    """Train the plans together and score them; one trial a plan, in order.

    Plans trained together differ in schedule and learning rate only; those of kind `ngram` are counted instead, one by one.
    A plan whose loss or gradient stops being finite, or whose loss is twice that of a uniform guess, becomes a `diverged` trial
    with what it had until then: its model stays as it was before that step, and the others do not notice.

    Args:
        checkpoint: Where an interrupted run goes on from and how far it got is kept. A file that is not whole, or of
            other plans or computed otherwise, is ignored and written over. Removing it is the caller's, once the trials are safe.
        inputs: The folder of the arrays that plans name by their hash: what measures score, the weights that plans start from.
        checkpoint_seconds: Seconds between checkpoints.
        on_step: Called with (steps done, steps in all) after every step and what belongs to it.
        way: How to compute, whatever the plans say (for comparisons); otherwise as they say, as far as this machine can.

    Raises:
        DataError: a target without held-out text, a pool with a weight that is shorter than one sequence, a start that is
            missing, not what it was, or of too small a vocabulary.
        UsageError: the schedules name domains that the corpus lacks.
        PartialError: the plans are for a GPU and there is none.
    """
    if plans[0].kind == "ngram":
        return tuple(count(plan, corpus, _texts(plan, corpus, inputs)) for plan in plans)
    return finish(Run(plans, corpus, inputs, way or way_of(plans[0])), checkpoint, checkpoint_seconds, on_step)


def finish(
    run: Run, checkpoint: Path | None, checkpoint_seconds: float, on_step: Callable[[int, int], None]
) -> tuple[Trial, ...]:
    """Train a run from its checkpoint, if there is one, to its end; as for `train`."""
    if not run.load(checkpoint) and 0 in run.evaluations:
        run.evaluate()
    checkpoint = checkpoint if run.keeps else None
    last_save = last_told = time.monotonic()
    first: tuple[int, float] | None = None
    while run.step < run.plan.steps and run.alive:
        run.advance()
        if run.step in run.evaluations:
            run.evaluate()
        run.look()
        if first is None:  # what compiles, and tells nothing of the steps to come
            first, last_told = (run.step, run.spent()[0]), time.monotonic()
        if checkpoint is not None and time.monotonic() - last_save >= checkpoint_seconds:
            run.save(checkpoint)
            last_save = time.monotonic()
        if checkpoint is not None and time.monotonic() - last_told >= TELL and run.step > first[0]:
            each = (run.spent()[0] - first[1]) / (run.step - first[0])
            tell(checkpoint, Progress(run.step, each * run.step))
            last_told = time.monotonic()
        on_step(run.step, run.plan.steps)
    return run.trials()


@dataclass(frozen=True)
class _Fall:
    """Where a plan diverged, and what it had been trained on by then."""

    step: int
    realised: tuple[int, ...]


class Run:
    """K models in training: everything that a checkpoint holds, and what follows from the plans."""

    keeps = True
    """Whether this process writes checkpoints."""

    def __init__(self, plans: Sequence[Plan], corpus: Corpus, inputs: Path | None, way: Way) -> None:
        self.plans, self.plan, self.corpus, self.inputs, self.way = tuple(plans), plans[0], corpus, inputs, way
        for plan in plans:
            assert plan == replace(self.plan, schedule=plan.schedule, learning_rate=plan.learning_rate), "plans differ"
        assert self.plan.kind in ("train", "short", "expert"), f"cannot train a run of kind {self.plan.kind!r}"
        self.ids = tuple(p.id(corpus.fingerprint) for p in plans)
        self.model = _model(self.plan, corpus, len(plans), inputs, way)
        self.optimiser = Optimiser(self.model, [p.learning_rate for p in plans])
        self.mixers, self._sound_SK = _mixers(self.plans, corpus), list[Tensor]()
        self.texts = _texts(self.plan, corpus, inputs)
        self.evaluations = evaluation_steps(self.plan)
        self.flops_per_token = self.plan.shape.flops_per_token(self.model.vocab, self.plan.seq_len)
        self.step, self.nats_STK, self.falls = 0, list[list[list[float]]](), dict[int, _Fall]()
        self.last_TK: list[list[Reading]] = []
        self.start_T: list[Reading] = []
        self._spent = (0.0, 0.0)
        self._began = _now()

    @property
    def alive(self) -> bool:
        """Whether any plan has not diverged."""
        return len(self.falls) < len(self.plans)

    def advance(self) -> None:
        """One step of all models."""
        tokens_KBL1 = torch.from_numpy(np.stack([next(m).tokens for m in self.mixers]))
        if self.way.device == "cuda":
            tokens_KBL1 = tokens_KBL1.pin_memory().to("cuda", non_blocking=True)
        loss_K = self.backward(tokens_KBL1)
        self._sound_SK.append(self.optimiser.step(learning_rate_factor(self.step, self.plan.steps), loss_K.detach()))
        self.step += 1

    def look(self) -> None:
        """Note what has diverged, if it is time to."""
        if self.way.device == "cuda" and self.step % LOOK and self.step not in (*self.evaluations, self.plan.steps):
            return
        self.note()

    def note(self) -> None:
        """Note which plans have diverged since the last time."""
        first = self.step - len(self._sound_SK) + 1
        for step, sound_K in enumerate(self._sound_SK, first):
            for k in (~sound_K).nonzero()[:, 0].tolist():
                if k not in self.falls:
                    self.falls[k] = _Fall(step, _realised(self.plans[k], self.corpus, step))
        self._sound_SK.clear()

    def backward(self, tokens_KBL1: Tensor) -> Tensor:
        """Leave the gradients of a batch in the weights; its mean nats per token, shape K."""
        loss_K = self.model.loss(tokens_KBL1)
        loss_K.sum().backward()  # type: ignore[no-untyped-call]
        return loss_K

    def evaluate(self) -> None:
        """Score every target."""
        self.last_TK = [score(self.model, text) for text in self.texts]
        self.nats_STK.append([[reading.raw for reading in row_K] for row_K in self.last_TK])

    def spent(self) -> tuple[float, float]:
        """Wall and CPU seconds, of interrupted attempts up to their last checkpoint too."""
        wall, cpu = _now()
        return self._spent[0] + wall - self._began[0], self._spent[1] + cpu - self._began[1]

    def state(self) -> Saved:
        """What `restore` goes on from."""
        self.note()
        return Saved(
            ids=self.ids,
            way=self.way.name,
            step=self.step,
            weights=self.model.state_dict(),
            optimiser=self.optimiser.state(),
            mixers=tuple(m.state() for m in self.mixers),
            nats_STK=self.nats_STK,
            falls={k: (f.step, f.realised) for k, f in self.falls.items()},
            spent=self.spent(),
        )

    def save(self, checkpoint: Path) -> None:
        """Keep how far it is."""
        save(checkpoint, self.state())

    def load(self, checkpoint: Path | None) -> bool:
        """Go on from where it was kept; whether there is such a place."""
        saved = None if checkpoint is None else load(checkpoint, self.ids, self.way.name)
        if saved is not None:
            self.restore(saved)
        return saved is not None

    def restore(self, saved: Saved) -> None:
        """Go on from there."""
        self.model.load_state_dict(saved.weights)
        self.optimiser.restore(saved.optimiser)
        for mixer, state in zip(self.mixers, saved.mixers, strict=True):
            mixer.restore(state)
        self.step, self.nats_STK = saved.step, saved.nats_STK
        self.falls = {k: _Fall(*fall) for k, fall in saved.falls.items()}
        self._spent, self._began = saved.spent, _now()

    def trials(self) -> tuple[Trial, ...]:
        """One a plan."""
        made_on = provenance(len(self.plans), self.way)
        if not self.last_TK and self.step == self.plan.steps:  # the checkpoint was taken after the last evaluation
            self.last_TK = [score(self.model, text) for text in self.texts]
        if self.plan.start is not None and self.plan.split == "verify":
            # again, not kept since step 0: a checkpoint may lie between
            before = _model(self.plan, self.corpus, 1, self.inputs, self.way)
            self.start_T = [score(before, text)[0] for text in self.texts]
        return tuple(self._trial(k, made_on) for k in range(len(self.plans)))

    def _trial(self, k: int, made_on: dict[str, str]) -> Trial:
        fall, (wall, cpu) = self.falls.get(k), self.spent()
        scored = sum(text.tokens for text in self.texts) * len(self.nats_STK)
        trained = self.mixers[k].tokens
        return Trial(
            id=self.ids[k],
            plan=self.plans[k],
            status="diverged" if fall else "done",
            curves=tuple(self._curve(k, t, text) for t, text in enumerate(self.texts)),
            realised=fall.realised if fall else tuple(self.mixers[k].realised.values()),
            # scoring is the forward third of training
            cost=Cost(wall / len(self.plans), cpu / len(self.plans), self.flops_per_token * (trained + scored / 3)),
            provenance=made_on,
            message=self._message(fall) if fall else "",
            likelihoods=() if fall else self._likelihoods(k),
        )

    def _message(self, fall: _Fall) -> str:
        worst = f"the loss was above {self.optimiser.worst:.1f} nats"
        return f"{worst}, or it or its gradient not finite, at step {fall.step} of {self.plan.steps}"

    def _likelihoods(self, k: int) -> tuple[Likelihoods, ...]:
        """What the plan wants recorded of the trained model `k`."""
        if not self.plan.wants:
            return ()
        return tuple(r for text in self.texts for r in record(self.plan.wants, text, token_nats(self.model, text, k)))

    def _curve(self, k: int, t: int, text: HeldOut | Prompts) -> Curve:
        last = self.falls[k].step if k in self.falls else self.plan.steps + 1
        points = [(step, nats_TK[t][k]) for step, nats_TK in zip(self.evaluations, self.nats_STK, strict=False)]
        points = [(step, nats) for step, nats in points if step < last]
        last_read = self.last_TK[t][k] if self.plan.split == "verify" and k not in self.falls else None
        return Curve(
            target=text.target,
            tokens=tuple(step * self.plan.batch * self.plan.seq_len for step, _ in points),
            nats=tuple(text.nats(raw) for _, raw in points),
            bits_per_byte=tuple(text.value(raw) for _, raw in points),
            sample_sums=tuple(last_read.sums) if last_read else (),
            sample_sizes=tuple(last_read.sizes) if last_read else (),
            start_sums=tuple(self.start_T[t].sums) if last_read and self.start_T else (),
        )


def _texts(plan: Plan, corpus: Corpus, inputs: Path | None) -> tuple[HeldOut | Prompts, ...]:
    """What the plan scores."""
    return (
        *(held_out(corpus, t, plan.split, plan.seq_len) for t in plan.targets),
        *(prompts(m, inputs, plan.split, plan.seq_len) for m in plan.measures),
    )


def _model(plan: Plan, corpus: Corpus, members: int, inputs: Path | None, way: Way) -> Decoder:
    """The models before training."""
    vocab = corpus.vocab_size if plan.start is None else plan.start.vocab_size
    if vocab < corpus.vocab_size:
        raise DataError(
            f"a checkpoint with {vocab:,} embeddings for a corpus of {corpus.vocab_size:,} different tokens",
            wanted="a corpus of the checkpoint's tokenizer",
            fix="cuvee prepare --tokenizer CHECKPOINT/tokenizer.json",
        )
    model = Decoder(plan.shape, vocab, members, seed=plan.seed, block=plan.block, way=way)
    if plan.start is not None:
        assert inputs is not None, "a plan with a start needs the folder of its weights"
        model.begin(load_start(inputs, plan.start))
    return model


def _mixers(plans: tuple[Plan, ...], corpus: Corpus) -> tuple[Mixer, ...]:
    plan = plans[0]
    pools = {
        domain: pool_of(corpus, domain, tokens, seed=plan.seed, block=plan.block)
        for domain, tokens in zip(plan.schedule.domains, plan.pools, strict=True)
    }
    return tuple(Mixer(pools, p.schedule, seq_len=p.seq_len, seed=p.seed, batch=p.batch, block=p.block) for p in plans)


def _realised(plan: Plan, corpus: Corpus, steps: int) -> tuple[int, ...]:
    """Tokens per domain that `plan` has read after so many steps."""
    (mixer,) = _mixers((plan,), corpus)
    mixer.skip(steps)
    return tuple(mixer.realised.values())


def learning_rate_factor(step: int, steps: int) -> float:
    """Share of the peak at a step, from 0: linear warm-up over a tenth of the steps, then a cosine down to a tenth."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    done = (step + 1 - warm) / max(1, steps - warm)
    return FINAL + (1 - FINAL) * (1 + math.cos(math.pi * done)) / 2


def evaluation_steps(plan: Plan) -> tuple[int, ...]:
    """Steps after which targets are scored: evenly spaced, the last step among them; 0 too when there is a start."""
    points = min(plan.eval_points, plan.steps)
    before = () if plan.start is None else (0,)
    return before + tuple(round(plan.steps * (i + 1) / points) for i in range(points))


def _now() -> tuple[float, float]:
    """Wall and CPU seconds; those of a compiler that this process called count."""
    times = os.times()
    return time.monotonic(), time.process_time() + times.children_user + times.children_system
