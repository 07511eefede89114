from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from cuvee.base.errors import DataError, UsageError
from cuvee.plan.sizes import SIZES
from cuvee.proxies import evaluate
from cuvee.proxies.evaluate import HeldOut, held_out, score
from cuvee.proxies.model import Decoder
from cuvee.shards.corpus import Corpus
from cuvee.testing.corpora import synthetic


def test_bits_per_byte() -> None:
    def text(ratio: float) -> HeldOut:
        return HeldOut("a", torch.zeros(1, 2), torch.ones(1, 1), ratio, torch.zeros(1))

    assert text(1.0).value(math.log(2)) == pytest.approx(1.0)
    assert text(4.0).value(3 * math.log(2)) == pytest.approx(0.75)


def test_every_token_but_the_first_is_predicted_once(corpus: Corpus) -> None:
    source = corpus.source("a", "search")
    text = held_out(corpus, "a", "search", seq_len=32)
    predicted = text.tokens_WL1[:, 1:][text.counts_WL]
    assert text.tokens == len(predicted) == source.tokens - 1
    expected = np.bincount(source.flat(0, source.tokens), minlength=256)
    expected[int(text.tokens_WL1[0, 0])] -= 1
    np.testing.assert_array_equal(np.bincount(predicted.numpy(), minlength=256), expected)
    assert torch.equal(text.tokens_WL1[1:, 0], text.tokens_WL1[:-1, -1])


def test_a_sample_is_spread_evenly_over_the_whole_split(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "HELD_OUT_TOKENS", 8 * 32)
    text = held_out(corpus, "a", "verify", seq_len=32)
    assert text.tokens == 8 * 32
    source = corpus.source("a", "verify")
    flat, windows = source.flat(0, source.tokens), (source.tokens - 1) // 32
    starts = [next(j for j in range(windows) if np.array_equal(flat[j * 32 : j * 32 + 33], w)) for w in text.tokens_WL1]
    assert starts == sorted(set(starts))
    assert max(np.diff(starts)) <= 1 + windows // 8
    assert starts[0] < windows // 8
    assert starts[-1] >= windows - 1 - windows // 8


def test_splits_and_targets_have_samples_of_their_own(corpus: Corpus) -> None:
    samples = [held_out(corpus, t, s, 32).tokens_WL1 for t in ("a", "b") for s in ("search", "verify")]
    assert len({s.numpy().tobytes() for s in samples}) == 4
    assert torch.equal(samples[0], held_out(corpus, "a", "search", 32).tokens_WL1)


def test_the_mean_is_over_counted_tokens_of_all_windows(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Decoder(SIZES["0.1M"], corpus.vocab_size, 2, seed=0, block=0)
    text = held_out(corpus, "b", "search", 32)
    whole = [reading.raw for reading in score(model, text)]
    monkeypatch.setattr(evaluate, "WINDOWS", 3)
    assert [reading.raw for reading in score(model, text)] == pytest.approx(whole)
    nats_WL = model.nats(text.tokens_WL1.expand(2, -1, -1))[0]
    assert whole == pytest.approx([nats_WL[text.counts_WL].mean().item()] * 2, rel=1e-5)


def test_documents_add_up_to_the_text(corpus: Corpus) -> None:
    model = Decoder(SIZES["0.1M"], corpus.vocab_size, 2, seed=0, block=0)
    text = held_out(corpus, "b", "verify", 32)
    readings = score(model, text)
    ends = corpus.source("b", "verify").ends
    begun = np.searchsorted(ends, np.arange(0, ends[-1] - 1, 32), side="right")
    for reading in readings:
        assert len(reading.sums) == len(reading.sizes) == len(set(begun.tolist()))
        assert sum(reading.sums) / sum(reading.sizes) == pytest.approx(text.value(reading.raw))
        assert sum(reading.sizes) == pytest.approx(text.tokens * text.bytes_per_token)


def test_text_shorter_than_a_window_is_scored(corpus: Corpus) -> None:
    text = held_out(corpus, "a", "search", seq_len=100_000)
    assert text.tokens_WL1.shape == (1, 100_001)
    assert text.tokens == corpus.source("a", "search").tokens - 1


def test_errors(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no domain 'd'"):
        held_out(corpus, "d", "search", 32)
    empty = synthetic(tmp_path, domains=("a", "b"), documents=1)
    with pytest.raises(DataError, match="0 tokens in its verify split"):
        held_out(empty, "a", "verify", 32)
