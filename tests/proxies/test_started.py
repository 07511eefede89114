"""Runs that go on from a checkpoint's weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cuvee.base.codec import from_json, to_json
from cuvee.base.errors import DataError
from cuvee.plan.sizes import Size
from cuvee.plan.trial import Plan, Trial
from cuvee.proxies.checkpoint import load
from cuvee.proxies.evaluate import held_out, score
from cuvee.proxies.model import Decoder
from cuvee.proxies.start import path_of, save_start, start_of
from cuvee.proxies.train import evaluation_steps, train
from cuvee.proxies.way import Way
from cuvee.shards.corpus import Corpus
from tests.proxies.tiny import Killed, kill_at, plan

pytestmark = pytest.mark.slow

SIZE = Size("checkpoint", 2, 32, 4, 48, kv_heads=2, rotary_base=50_000.0, epsilon=1e-6, tied=True)
VOCAB = 260
"""More rows than the corpus has tokens, as in models whose tables are padded."""


def started(inputs: Path, like: Plan, size: Size = SIZE, vocab: int = VOCAB) -> tuple[Plan, Decoder]:
    """The plan from a model's weights, which it puts among the inputs, and that model."""
    model = Decoder(size, vocab, 1, seed=5, block=0)
    weights = {name: weight[0].detach().numpy() for name, weight in model.named_parameters()}
    save_start(inputs, start := start_of(size, vocab, weights), weights)
    return replace(like, size=size.name, start=start), model


@pytest.mark.parametrize("size", [SIZE, replace(SIZE, tied=False, kv_heads=None)], ids=["tied", "untied"])
def test_the_first_point_is_the_checkpoint(size: Size, corpus: Corpus, tmp_path: Path) -> None:
    p, model = started(tmp_path, plan(steps=8, eval_points=2), size)
    (trial,) = train([p], corpus, inputs=tmp_path)
    assert evaluation_steps(p) == (0, 4, 8)
    assert [c.tokens for c in trial.curves] == [(0, 192, 384)] * 2
    for curve in trial.curves:
        text = held_out(corpus, curve.target, "search", p.seq_len)
        assert [curve.nats[0]] == [text.nats(reading.raw) for reading in score(model, text)]
        assert curve.nats[-1] < curve.nats[0] - 0.02  # and it learns
    assert (trial.id, trial.status) == (p.id(corpus.fingerprint), "done")
    scored = 3 * sum(corpus.source(t, "search").tokens - 1 for t in p.targets)
    assert trial.cost.flops == pytest.approx(size.flops_per_token(VOCAB, p.seq_len) * (p.tokens + scored / 3))
    assert from_json(Trial, to_json(trial)) == trial


def test_blocks_differ_in_data_only(corpus: Corpus, tmp_path: Path) -> None:
    trials = [train([started(tmp_path, plan(block=b))[0]], corpus, inputs=tmp_path)[0] for b in (0, 1)]
    first, second = ([c.nats for c in t.curves] for t in trials)
    assert [n[0] for n in first] == [n[0] for n in second]
    assert first != second


def test_together_as_alone(corpus: Corpus, tmp_path: Path) -> None:
    plans = [started(tmp_path, p)[0] for p in (plan(), plan(5, 1, 1, learning_rate=0.02))]
    for trial, p in zip(train(plans, corpus, inputs=tmp_path), plans, strict=True):
        (alone,) = train([p], corpus, inputs=tmp_path)
        for curve, other in zip(trial.curves, alone.curves, strict=True):
            assert curve.nats == pytest.approx(other.nats, rel=1e-4)


@pytest.mark.parametrize("shares", [[(1, 1, 1)], [(1, 1, 1), (4, 1, 1)]], ids=["K=1", "K=2"])
def test_resumed_to_the_bit(
    shares: Sequence[Sequence[float]], corpus: Corpus, checkpoint: Path, tmp_path: Path
) -> None:
    plans = [started(tmp_path, plan(*s))[0] for s in shares]
    whole = train(plans, corpus, inputs=tmp_path)
    for step in (1, 4, 5, 9, 10):
        with pytest.raises(Killed):
            train(plans, corpus, inputs=tmp_path, checkpoint=checkpoint, checkpoint_seconds=0, on_step=kill_at(step))
        again = kill_at(*range(1, step + 1))
        resumed = train(plans, corpus, inputs=tmp_path, checkpoint=checkpoint, on_step=again)
        for trial, other in zip(resumed, whole, strict=True):
            assert replace(trial, cost=other.cost) == other
            assert trial.cost.flops == other.cost.flops
        checkpoint.unlink()


def test_a_tied_table_stays_tied_and_every_weight_moves(corpus: Corpus, checkpoint: Path, tmp_path: Path) -> None:
    p, model = started(tmp_path, plan())
    with pytest.raises(Killed):
        train([p], corpus, inputs=tmp_path, checkpoint=checkpoint, checkpoint_seconds=0, on_step=kill_at(4))
    saved = load(checkpoint, (p.id(corpus.fingerprint),), Way().name)
    assert saved is not None
    assert torch.equal(saved.weights["table"], saved.weights["head"])
    for name, weight in model.named_parameters():
        assert not torch.equal(saved.weights[name], weight), name
    assert len(saved.optimiser["first"]) == 2 + 7 * SIZE.layers  # the table once


def test_starts_that_cannot_be_used(corpus: Corpus, tmp_path: Path) -> None:
    small, _ = started(tmp_path, plan(), vocab=200)
    with pytest.raises(DataError, match="200 embeddings for a corpus of 256 different tokens"):
        train([small], corpus, inputs=tmp_path)
    p, _ = started(tmp_path, plan())
    with pytest.raises(AssertionError, match="the folder of its weights"):
        train([p], corpus)
    with pytest.raises(AssertionError, match="plans differ"):
        train([p, plan()], corpus, inputs=tmp_path)
    assert p.start is not None
    path_of(tmp_path, p.start).unlink()
    with pytest.raises(DataError, match="is missing"):
        train([p], corpus, inputs=tmp_path)
