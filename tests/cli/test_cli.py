"""The commands as a user types them: one real study end to end, and what bad input gets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cuvee.cli.app import main
from cuvee.testing.corpora import synthetic

pytestmark = pytest.mark.slow

STUDY = """\
corpus: corpus
study: study
target_tokens: 60_000
targets: {a: 1}
max_epochs: 4
small_pools: cap
proxy: {size: 0.1M, tokens: 6_000, seq_len: 32, batch: 8, eval_points: 1}
method: {name: auto, runs: 12, blocks: 2}
verify: {seeds: 2}
workers: 2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli")
    synthetic(root / "corpus", documents=200)
    (root / "study.yaml").write_text(STUDY, encoding="utf-8")
    return root


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, Any, str]:
    """Exit code, the JSON on stdout, and stderr."""
    capsys.readouterr()
    code = 0
    try:
        main([*map(str, words), "--json"])
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, json.loads(out) if out.strip() else None, err


def edited(folder: Path, old: str, new: str) -> Path:
    assert old in STUDY
    path = folder / "edited.yaml"
    path.write_text(STUDY.replace(old, new), encoding="utf-8")
    return path


def test_a_study_from_end_to_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, value, _ = call(capsys, "run", folder / "study.yaml", "--dry-run")
    assert code == 0
    assert value["cost"]["runs"] >= 12
    assert not list((folder / "study").glob("trials/*/*.json")), "a dry run trains nothing"

    code, first, _ = call(capsys, "run", folder / "study.yaml")
    assert code == 0
    trials = {p: p.stat().st_mtime_ns for p in (folder / "study" / "trials").rglob("*.json")}
    assert len(trials) >= 12
    predicted = first["choice"]["predicted"][0]
    assert predicted["low"] < predicted["mean"] < predicted["high"], "two blocks give an interval"
    uniform = next(a for a in first["verification"]["arms"] if a["name"] == "uniform")
    wide = uniform["estimates"][0]["high"] - uniform["estimates"][0]["low"]
    # Student's t with one degree of freedom: 6.31 standard errors to either side
    assert wide >= 6.31 * abs(uniform["differences"][0] - uniform["differences"][1])
    assert Path(first["report"]).stat().st_size > 100_000

    code, again, _ = call(capsys, "run", folder / "study.yaml")
    assert code == 0
    assert again["choice"] == first["choice"]
    assert {p: p.stat().st_mtime_ns for p in (folder / "study" / "trials").rglob("*.json")} == trials, (
        "resumed, not rerun"
    )

    code, more, _ = call(capsys, "verify", folder / "study.yaml", "--seeds", "3")
    assert len(more["verification"]["arms"][0]["blocks"]) == 3
    code, again, _ = call(capsys, "run", folder / "study.yaml")
    assert len(again["verification"]["arms"][0]["blocks"]) == 3, "running again keeps the better verification"

    assert call(capsys, "status", folder / "study")[0] == 0
    code, value, _ = call(capsys, "report", folder / "study")
    assert code == 0
    short = ("--seq-len", "16")
    code, value, _ = call(capsys, "export", folder / "study", "--to", "megatron", "--out", folder / "blend", *short)
    assert code == 0
    assert (folder / "blend" / "blend-00.txt").exists()
    shares = json.loads((folder / "blend" / "mixture.json").read_text(encoding="utf-8"))["phases"][0]["shares"]
    assert sum(shares.values()) == pytest.approx(1)
    code, value, _ = call(capsys, "export", folder / "study", "--to", "megatrn", "--out", folder / "blend")
    assert code == 2
    assert "megatron" in value["error"]["fix"]


def test_runs_are_made_elsewhere(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = edited(folder, "study: study", "study: elsewhere\nrunner: ray\nray: {num_gpus: 0.5}"), folder / "out"
    code, value, _ = call(capsys, "run", file, "--emit", "slurm", "--workers", "4", "--out", out)
    assert code == 5, "partly done: run it again"
    assert f"sbatch {out / 'slurm.sh'}" in value["error"]["fix"]
    assert " --array=0-3 " in (out / "slurm.sh").read_text(encoding="utf-8")
    assert call(capsys, "run", file, "--emit", "bash")[0] == 5
    assert (folder / "elsewhere" / "emitted" / "bash.sh").exists()
    assert call(capsys, "run", file, "--emit", "bash", "--runner", "local")[0] == 2
    assert call(capsys, "run", file, "--out", out)[0] == 2
    code, value, _ = call(capsys, "run", edited(folder, "workers: 2", "workers: 0"))
    assert (code, value["error"]["what"]) == (2, "workers: got 0")
    file = edited(folder, "study: study", "study: elsewhere\nrunner: ray\nray: {num_gpus: 0.5}")
    monkeypatch.setitem(sys.modules, "ray", None)
    code, value, _ = call(capsys, "run", file)
    assert code == 2
    assert "cuvee[ray]" in value["error"]["fix"], "the file's runner, unless the command says otherwise"


def test_check_spends_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, value, _ = call(capsys, "check", folder / "study.yaml")
    assert code == 0
    assert value["problem"]["target_tokens"] == 60_000
    code, value, _ = call(capsys, "check", edited(folder, "size: 0.1M", "size: 0.1M, together: auto"))
    assert (code, value["problem"]["proxy"]["together"]) == (0, "auto")


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("max_epochs: 4", "max_epoch: 4", 2, "edited.yaml:5: max_epoch: unknown key"),
        ("targets: {a: 1}", "targets: {aa: 1}", 2, "no domain or target 'aa'"),
        ("targets: {a: 1}", "", 2, "targets: missing"),
        ("max_epochs: 4", "max_epochs: 0.01", 4, "cap"),
        ("small_pools: cap", "small_pools: refuse", 4, "pools matched"),
        ("tokens: 6_000", "tokens: 6_000_000", 2, "stands for a larger run"),
        ("name: auto", "name: regresion", 2, "regression"),
        ("runs: 12", "run: 12", 2, "did you mean 'runs'?"),
        ("verify: {seeds: 2}", "verify: {seeds: 1}", 2, "at least 2"),
        ("corpus: corpus", "corpus: nowhere", 3, "inventory.json"),
        ("size: 0.1M", "size: 0.2M", 2, "no proxy size"),
        ("size: 0.1M", "together: all", 2, "one of auto or a whole number"),
        ("size: 0.1M", "together: 0", 2, "together >= 1 or auto"),
    ],
)
def test_bad_study_files(
    folder: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, code: int, said: str
) -> None:
    got, value, err = call(capsys, "check", edited(folder, old, new))
    assert (got, value["ok"]) == (code, False)
    assert said in err, err


def test_usage_errors_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "runn")[0] == 2
    assert call(capsys, "run", "nowhere.yaml")[0] == 2
    assert call(capsys, "methods", "nothing")[0] == 2


def test_methods_have_cards(capsys: pytest.CaptureFixture[str]) -> None:
    code, value, _ = call(capsys, "methods")
    assert code == 0
    assert {"natural", "uniform", "temperature", "unimax", "regression"} <= {row["method"] for row in value["methods"]}
    code, value, _ = call(capsys, "methods", "regression")
    assert "runs" in value["options"]


def test_an_empty_folder_and_a_missing_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for source in ("empty", "missing"):
        code, value, _ = call(capsys, "prepare", tmp_path / source, "--out", tmp_path / "out")
        assert code == 3, value
        assert not (tmp_path / "out" / "inventory.json").exists()


def test_a_blend_goes_out_and_comes_back(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus, table = folder / "corpus", tmp_path / "shares.yaml"
    table.write_text("a: 0.5\nb: 0.3\nc: 0.2\n", encoding="utf-8")
    run = ("--corpus", corpus, "--tokens", "1M", "--seq-len", "64", "--batch", "8")
    code, value, _ = call(capsys, "export", table, "--to", "nanotron", "--out", tmp_path / "out", *run)
    assert code == 0
    assert [row["requested"] for row in value["export"]["rows"]] == pytest.approx([0.5, 0.3, 0.2], abs=1e-6)
    written = tmp_path / "out" / "data_stages.yaml"
    code, value, _ = call(capsys, "import-mix", written, "--corpus", corpus, "--out", tmp_path / "back.json")
    assert code == 0
    assert value["import"]["exporter"] == "nanotron"
    code, value, _ = call(capsys, "export", tmp_path / "back.json", "--to", "csv", "--out", tmp_path / "again", *run)
    assert code == 0
    code, value, _ = call(
        capsys, "export", table, "--to", "csv", "--out", tmp_path / "x", "--corpus", corpus, "--tokens", "x"
    )
    assert code == 2
    code, value, _ = call(capsys, "export", table, "--to", "csv", "--out", tmp_path / "x")
    assert code == 2, "a mixture file names no corpus"
    code, value, _ = call(capsys, "card", table, "--corpus", corpus, "--tokens", "1M", "--out", tmp_path / "card.md")
    assert code == 0
    assert "not verified" in (tmp_path / "card.md").read_text(encoding="utf-8")
    code, value, _ = call(capsys, "exporters")
    assert len(value["exporters"]) >= 18


def test_the_present_blend_in_the_study_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "present.json").write_text('{"a": 1, "c": 3}', encoding="utf-8")
    path = edited(folder, "workers: 2", "workers: 2\npresent: present.json")
    code, value, _ = call(capsys, "check", path)
    assert code == 0
    units = value["problem"]["present"]["units"]
    assert [u / 2**32 for u in units] == [0.25, 0.0, 0.75], "a domain that is left out has no share"
    code, value, _ = call(capsys, "check", edited(folder, "workers: 2", "workers: 2\npresent: {x: 1}"))
    assert code == 3
    assert "the mixture names x" in value["error"]["what"]


def test_the_command_is_a_module_too() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "cuvee", "methods", "--json"], capture_output=True, check=True, text=True
    )
    assert json.loads(found.stdout)["ok"]
