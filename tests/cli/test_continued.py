"""Continued pre-training from end to end: a model that the test trains itself, a replay floor, forgetting as a guard."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cuvee.corpus.prepare import prepare
from cuvee.shards.corpus import Corpus
from cuvee.study.study import Study
from tests.cli.test_cli import call
from tests.hf import transformers

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
STUDY = """\
corpus: corpus
study: study
target_tokens: 30_000
targets: {new: 1}
checkpoint: {path: base}
natural: {old: 0.9, new: 0.1}
groups:
  replay: {domains: [old], min_share: 0.25}
guards:
  keep: {targets: {old: 1}, tolerance: 0.05, probability: 0.6, against: checkpoint}
max_epochs: 8
small_pools: cap
proxy: {tokens: 6_000, seq_len: 32, batch: 8, eval_points: 1, learning_rate: 0.003}
method: {name: regression, runs: 16, blocks: 4, rounds: 1}
verify: {seeds: 2, large: {tokens: 9_000, seeds: 2, transfer: 0, batch: 8, learning_rate: 0.003}}
workers: 2
"""


def train(folder: Path, corpus: Corpus) -> Any:
    """A small Llama that has learned the domain `old`, with the corpus's tokenizer, saved as Hugging Face saves it."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers().LlamaConfig(vocab_size=corpus.vocab_size, max_position_embeddings=64, **shape)
    model = transformers().LlamaForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    source = corpus.source("old", "train")
    rng = np.random.default_rng(0)
    for _ in range(120):
        starts = rng.integers(0, source.tokens - 33, 16)
        batch = torch.from_numpy(np.stack([source.flat(s, s + 32) for s in starts]).astype("int64"))
        optimiser.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()
        optimiser.step()
    model.save_pretrained(folder)
    shutil.copy(corpus.path / "tokenizer.json", folder / "tokenizer.json")
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("continued")
    (root / "texts").mkdir()
    rng = np.random.default_rng(0)
    for name, count in (("old", 220), ("new", 120)):
        words = [f"{name}{i}" for i in range(40)]
        rows = [json.dumps({"text": " ".join(np.sort(rng.choice(words, 50)))}) for _ in range(count)]
        (root / "texts" / f"{name}.jsonl").write_text("\n".join(rows))
    corpus = prepare([root / "texts"], out=root / "corpus", vocab=300, min_held_out_bytes=2000)
    train(root / "base", corpus)
    (root / "study.yaml").write_text(STUDY, encoding="utf-8")
    return root


@pytest.mark.slow
def test_a_study_goes_on_from_a_checkpoint(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, value, err = call(capsys, "run", folder / "study.yaml")
    assert code == 0, err
    made = Study.load(folder / "study")
    assert made.problem.natural.share("old") == pytest.approx(0.9)
    (first,) = {t.start_loss("old") for t in made.trials()}  # one checkpoint, one loss before training
    assert first < next(iter(made.trials())).start_loss("new"), "it had learned the old domain"
    newest = max(made.trials(), key=lambda t: t.plan.schedule.at(0).share("new"))
    assert newest.loss("new") < newest.start_loss("new")
    for trial in made.trials():
        assert trial.plan.start is not None
        assert trial.plan.size == "checkpoint"
    choice = made.choice()
    assert choice is not None
    assert choice.schedule.at(0).share("old") >= 0.25 - 1e-6, "the replay floor"
    keep = choice.predicted[-1]
    assert keep.name == "guard:keep"
    # relative to the checkpoint: what natural's runs forgot plus the difference to natural
    natural = [t.loss("old") for t in made.trials() if t.plan.schedule.at(0) == made.problem.natural]
    difference = choice.estimate("old")
    assert difference is not None
    assert keep.mean == pytest.approx((np.mean(natural) + difference.mean - first) / first, abs=0.01)
    assert any("the checkpoint's loss" in line for line in choice.why)
    verified = value["verification"]["arms"][0]["estimates"][-1]
    trials = {t.id: t for t in made.verification_trials()}
    forgot = [
        t.loss("old") / t.start_loss("old") - 1
        for t in trials.values()
        if t.plan.schedule.at(0) == choice.schedule.at(0)
    ]
    assert verified["mean"] == pytest.approx(float(np.mean(forgot)))
    assert value["verification_large"]["proxy"]["tokens"] == 9_000
    shutil.move(folder / "base", folder / "moved")  # the study has the weights; the command reads the folder
    try:
        code, value, _ = call(capsys, "run", folder / "study.yaml")
        assert code == 3
        assert "base" in value["error"]["what"]
    finally:
        shutil.move(folder / "moved", folder / "base")


def test_a_checkpoint_with_another_tokenizer_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(folder / "base", folder / "other", dirs_exist_ok=True)
    tokenizer = json.loads((folder / "other" / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    a, b = list(vocab)[-2:]
    vocab[a], vocab[b] = vocab[b], vocab[a]
    (folder / "other" / "tokenizer.json").write_text(json.dumps(tokenizer))
    path = folder / "other.yaml"
    path.write_text(STUDY.replace("path: base", "path: other"))
    code, value, _ = call(capsys, "check", path)
    assert code == 3
    assert "--tokenizer" in value["error"]["fix"]


def test_a_guard_against_a_checkpoint_needs_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "none.yaml"
    path.write_text(STUDY.replace("checkpoint: {path: base}\n", ""))
    code, value, _ = call(capsys, "check", path)
    assert code == 2
    assert "checkpoint" in value["error"]["fix"]
