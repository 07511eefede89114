"""Targets from files through the commands: checked, refused when they leak, scored in search and verification."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cuvee.corpus.prepare import prepare
from cuvee.study.study import Study
from tests.cli.test_cli import call

pytestmark = pytest.mark.slow

STUDY = """\
corpus: corpus
study: STUDY
target_tokens: 30_000
targets: {sums: 1, ants: 1}
measures: {sums: {file: FILE}}
max_epochs: 8
small_pools: cap
proxy: {size: 0.1M, tokens: 6_000, seq_len: 32, batch: 8, eval_points: 1}
method: {name: regression, runs: 16, blocks: 4, rounds: 1}
verify: {seeds: 2, large: {size: 0.3M, tokens: 8_000, seeds: 2, transfer: 4, batch: 8}}
workers: 2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("targets")
    rng = np.random.default_rng(0)
    for name in ("ants", "bees"):
        words = [f"{name[:2]}{i}" for i in range(80)]
        texts = [" ".join(rng.choice(words, 60)) for _ in range(150)]
        (root / "texts").mkdir(exist_ok=True)
        (root / "texts" / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in texts))
    prepare([root / "texts"], out=root / "corpus", vocab=300, min_held_out_bytes=100)
    fresh = [{"question": " ".join(rng.choice(words, 9)), "answer": f"ants {i}"} for i in range(60)]
    (root / "sums.jsonl").write_text("\n".join(map(json.dumps, fresh)))
    copied = [{"prompt": t[:120], "continuation": t[120:]} for t in texts[:60]]
    (root / "copied.jsonl").write_text("\n".join(map(json.dumps, copied)))
    return root


def study(folder: Path, file: str, name: str = "study") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(STUDY.replace("FILE", file).replace("STUDY", name), encoding="utf-8")
    return path


def test_check_shows_the_target_and_its_overlap(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, value, err = call(capsys, "check", study(folder, "sums.jsonl"))
    assert code == 0
    assert value["problem"]["measures"][0]["kind"] == "continuation"
    assert value["leaks"]["sums"]["shared"] == 0
    assert "60 examples of kind continuation" in err


def test_a_target_that_is_part_of_train_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = study(folder, "copied.jsonl", "leaky")
    suggest = ["suggest", path, "--out", folder / "plans"]
    for command in (["check", path], ["run", path], ["run", path, "--dry-run"], suggest):
        code, value, _ = call(capsys, *command)
        assert code == 3
        assert "bees" in value["error"]["what"], "the overlap is shown by domain"
        assert "--allow-leak" in value["error"]["fix"]
    assert not (folder / "leaky").exists(), "nothing was begun"
    code, value, _ = call(capsys, "check", path, "--allow-leak")
    assert code == 0
    assert value["leaks"]["sums"]["leaked"] > 10


@pytest.mark.parametrize(
    ("file", "message"),
    [("missing.jsonl", "no such target file"), ("study.yaml", "known fields|no text|mixes|examples")],
)
def test_bad_target_files(folder: Path, capsys: pytest.CaptureFixture[str], file: str, message: str) -> None:
    code, value, _ = call(capsys, "check", study(folder, file, "bad"))
    assert code == 3
    assert value["error"]["type"] == "DataError"


def test_a_metric_of_an_outside_trainer_needs_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = study(folder, "sums.jsonl", "metric")
    path.write_text(path.read_text().replace("{file: sums.jsonl}", "{unit: accuracy, direction: maximise}"))
    code, value, _ = call(capsys, "check", path)
    assert code == 2
    assert "trainer: outside" in value["error"]["fix"]


def test_from_file_to_both_verifications(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = study(folder, "sums.jsonl")
    code, value, err = call(capsys, "run", path)
    assert code == 0, err
    assert [e["name"] for e in value["choice"]["predicted"]] == ["objective", "ants", "bees", "sums"]
    assert value["verification_large"]["proxy"]["size"] == "0.3M"
    assert len(value["transfer"]["pairs"]) == 4
    made = Study.load(folder / "study")
    assert {t.plan.split for t in made.trials()} == {"search"}
    assert {t.plan.split for t in made.verification_trials("large")} == {"verify"}
    for trial in (*made.trials(), *made.verification_trials()):
        assert trial.curve("sums") is not None
    assert list((folder / "study" / "inputs").glob("*.npz"))
    before = {p: p.stat().st_mtime_ns for p in (folder / "study" / "trials").rglob("*.json")}
    code, again, _ = call(capsys, "run", path)
    assert code == 0
    assert again["verification_large"] == value["verification_large"]
    assert {p: p.stat().st_mtime_ns for p in (folder / "study" / "trials").rglob("*.json")} == before
    assert list((folder / "study" / "inputs").glob("*.leak.json"))
    code, value, _ = call(capsys, "verify", path, "--seeds", 3, "--large")
    assert code == 0
    assert len(value["verification_large"]["arms"][0]["blocks"]) == 3
