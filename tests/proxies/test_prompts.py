"""Examples of the user's: what is counted, in which unit, against sums made by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cuvee.base.errors import DataError
from cuvee.plan.sizes import SIZES
from cuvee.plan.trial import Measure
from cuvee.proxies.evaluate import prompts, score
from cuvee.proxies.model import Decoder
from cuvee.proxies.train import train
from cuvee.shards.corpus import Corpus
from cuvee.shards.examples import Kind, Tokenised
from tests.proxies.tiny import plan

L = 16


def examples(kind: Kind, seed: int = 0) -> Tokenised:
    """Five examples; choices have two to four continuations."""
    rng = np.random.default_rng(seed)
    rows, counts, of = [], [], []
    sizes = [2, 3, 4, 2, 3] if kind == "choice" else [1] * 5
    bytes_EC = np.zeros((5, max(sizes)), np.int64)
    for e, size in enumerate(sizes):
        for c in range(size):
            rows.append(rng.integers(1, 200, L + 1))
            count = np.zeros(L, np.bool_)
            count[5 : 5 + rng.integers(1, 8)] = True
            counts.append(count)
            of.append((e, c))
            bytes_EC[e, c] = rng.integers(3, 30)
    example_W, choice_W = np.array(of, np.int32).T
    gold_E = np.array([s - 1 for s in sizes], np.int32)
    return Tokenised(kind, np.array(rows, np.int32), np.array(counts), example_W, choice_W, gold_E, bytes_EC)


def measure(found: Tokenised, folder: Path, name: str = "mine") -> Measure:
    folder.mkdir(exist_ok=True)
    found.save(folder / f"{found.sha}.npz")
    return Measure(name, found.kind, found.sha, found.sha, found.counts_WL.size)


def bits(model: Decoder, found: Tokenised) -> dict[tuple[int, int], float]:
    tokens = torch.from_numpy(found.tokens_WL1.astype("int64"))
    nats_WL = model.nats(tokens[None].expand(model.members, -1, -1))[0].double().numpy()
    sums: dict[tuple[int, int], float] = {}
    for w, key in enumerate(zip(found.example_W.tolist(), found.choice_W.tolist(), strict=True)):
        sums[key] = sums.get(key, 0.0) + float(nats_WL[w][found.counts_WL[w]].sum()) / math.log(2)
    return sums


def test_continuations_are_bits_over_bytes(corpus: Corpus, tmp_path: Path) -> None:
    found, model = examples("continuation"), Decoder(SIZES["0.1M"], corpus.vocab_size, 2, seed=1, block=0)
    text = prompts(measure(found, tmp_path), tmp_path, "search", L)
    sums = bits(model, found)
    for reading in score(model, text):
        assert text.value(reading.raw) == pytest.approx(sum(sums.values()) / found.bytes_EC.sum(), rel=1e-5)
        assert reading.sums == pytest.approx([sums[e, 0] for e in range(5)], rel=1e-5)
        assert sum(reading.sums) / sum(reading.sizes) == pytest.approx(reading.raw)


def test_choices_are_the_right_one_less_the_mean_of_the_others(corpus: Corpus, tmp_path: Path) -> None:
    found, model = examples("choice"), Decoder(SIZES["0.1M"], corpus.vocab_size, 1, seed=2, block=0)
    sums = bits(model, found)
    margins = []
    for e, gold in enumerate(found.gold_E.tolist()):
        rates = {c: sums[e, c] / found.bytes_EC[e, c] for c in range(4) if (e, c) in sums}
        others = [r for c, r in rates.items() if c != gold]
        margins.append(rates[gold] - sum(others) / len(others))
    (reading,) = score(model, prompts(measure(found, tmp_path), tmp_path, "search", L))
    assert reading.raw == pytest.approx(float(np.mean(margins)), rel=1e-5)
    assert reading.sums == pytest.approx(margins, rel=1e-4)


@pytest.mark.slow
def test_a_run_scores_measures_beside_domains(corpus: Corpus, tmp_path: Path) -> None:
    search, verify = examples("continuation", 1), examples("continuation", 2)
    both = replace(measure(search, tmp_path), verify=measure(verify, tmp_path).verify)
    base = plan(0.5, 0.3, 0.2)
    asked = replace(base, measures=(both,))
    (bare,), (scored,) = train([base], corpus), train([asked], corpus, inputs=tmp_path)
    assert [c.target for c in scored.curves] == ["a", "c", "mine"]
    assert scored.curves[:2] == bare.curves, "scoring more changes no training"
    assert scored.id != bare.id
    curve = scored.curves[2]
    assert len(curve.bits_per_byte) == 2
    assert curve.bits_per_byte[-1] < curve.bits_per_byte[0] * 1.5
    (checked,) = train([replace(asked, split="verify")], corpus, inputs=tmp_path)
    assert checked.loss("mine") != scored.loss("mine"), "the other half"
    for curve in checked.curves:
        assert sum(curve.sample_sums) / sum(curve.sample_sizes) == pytest.approx(curve.bits_per_byte[-1])
    assert all(not c.sample_sums for c in scored.curves), "the search keeps no parts"


@pytest.mark.slow
def test_parts_survive_a_kill_after_the_last_evaluation(corpus: Corpus, tmp_path: Path) -> None:
    asked = replace(plan(0.5, 0.3, 0.2), split="verify")
    (whole,) = train([asked], corpus)
    path = tmp_path / "run.pt"

    def stop(step: int, steps: int) -> None:
        if step == steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([asked], corpus, checkpoint=path, checkpoint_seconds=0, on_step=stop)
    (resumed,) = train([asked], corpus, checkpoint=path)
    assert resumed.curves == whole.curves


def test_examples_of_other_windows_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    found = examples("text")
    with pytest.raises(DataError, match="windows of 16"):
        prompts(measure(found, tmp_path), tmp_path, "search", 32)
    other = examples("text", 9)
    other.save(tmp_path / f"{found.sha}.npz")
    with pytest.raises(DataError, match="those of the target 'mine'"):
        prompts(measure(found, tmp_path / "x"), tmp_path, "search", L)
    with pytest.raises(DataError, match="holds no examples"):
        prompts(Measure("mine", "text", "00", "00"), tmp_path, "search", L)
