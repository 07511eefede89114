"""A trainer of one's own, as a user types it: `cuvee suggest`, the trainer, `cuvee tell`, to a verified choice."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

import cuvee
from cuvee.base.codec import from_json
from cuvee.cli.outside import MetricEntry, ResultsFile, RunEntry
from cuvee.corpus.prepare import prepare
from cuvee.interop.outside import PhaseEntry, PlanFile, PoolEntry, TargetEntry, TokenizerEntry
from cuvee.plan.trial import Plan
from cuvee.shards.corpus import Corpus
from cuvee.testing.corpora import synthetic
from tests.cli.test_cli import call
from tests.study.fakes import Grid
from tests.study.fakes import problem as small

pytestmark = pytest.mark.slow

TRAINER = Path(__file__).parents[2] / "examples" / "outside_trainer.py"
STUDY = """\
corpus: ../corpus
study: study
target_tokens: 60_000
targets: {a: 1, c: 1}
trainer: outside
max_epochs: 4
small_pools: cap
proxy: {size: 0.1M, tokens: 6_000, seq_len: 32, batch: 8, eval_points: 1}
method: {name: auto, runs: 12, blocks: 2}
verify: {seeds: 2}
"""
QUIZ = STUDY.replace("{a: 1, c: 1}", "{quiz: 1}\nmeasures: {quiz: {unit: accuracy, direction: maximise}}")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outside")
    synthetic(root / "corpus", documents=200)
    return root


@pytest.fixture
def study(root: Path, request: pytest.FixtureRequest) -> Path:
    """The study file, in a folder of its own beside the corpus."""
    path: Path = root / request.node.name.replace("[", "-").strip("]")[:60] / "study.yaml"
    path.parent.mkdir()
    path.write_text(STUDY, encoding="utf-8")
    return path


def train(plans: list[str]) -> str:
    """What the example prints, run apart: it sees the plans and what they name, and nothing of Cuvée."""
    command = [sys.executable, "-I", str(TRAINER), *plans]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_study_with_the_example_trainer(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, results, stages = study.parent / "out", study.parent / "results.json", []
    code, value, _ = call(capsys, "suggest", study, "--out", out)
    while value["stage"] != "done":
        assert code == 0
        assert (out / "next.txt").read_text(encoding="utf-8").split() == [
            f"plans/{Path(p).name}" for p in value["plans"]
        ]
        stages.append((value["stage"], value["left"]))
        assert call(capsys, "suggest", study, "--out", out)[1] == value, "again is the same"
        results.write_text(train(value["plans"]), encoding="utf-8")
        code, told, _ = call(capsys, "tell", study, "--from", results)
        assert code == 0
        assert told["stages"] == [{"stage": value["stage"], "left": 0, "finished": value["left"]}]
        code, value, _ = call(capsys, "suggest", study, "--out", out)
    assert (stages[0][0], stages[-1][0]) == ("round 0", "verify")
    assert sum(n for name, n in stages if name.startswith("round")) >= 12
    arms = {arm["name"]: arm for arm in value["verification"]["arms"]}
    assert len(arms["choice"]["blocks"]) == 2
    assert max(arms["choice"]["differences"]) < 0, "a bigram model gains from more of its targets' domains"
    assert Path(value["report"]).stat().st_size > 100_000
    assert (out / "next.txt").read_bytes() == b""
    code, _, err = call(capsys, "run", study)
    assert code == 2
    assert "cuvee suggest" in err
    code, _, err = call(capsys, "verify", study, "--seeds", "5")
    assert code == 2
    assert "wait for an outside trainer" in err


@pytest.fixture
def quiz(study: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, list[str]]:
    """A study about an accuracy, and the runs of its first round."""
    study.write_text(QUIZ, encoding="utf-8")
    code, value, _ = call(capsys, "suggest", study, "--out", study.parent / "out", "--pools", "none")
    assert code == 0
    plan = json.loads(Path(value["plans"][0]).read_text(encoding="utf-8"))
    assert plan["targets"] == {
        "quiz": {"kind": "outside", "unit": "accuracy", "direction": "maximise"}
        | dict.fromkeys(("file", "shard", "documents", "tokens", "bytes"))
    }
    return study, [Path(p).stem for p in value["plans"]]


def curves(study: Path, run: str) -> Any:
    path = study.parent / "study" / "trials" / run[:2] / f"{run}.json"
    return json.loads(path.read_text(encoding="utf-8"))["curves"]


def test_metrics_by_hand(quiz: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    study, runs = quiz
    assert call(capsys, "tell", study, runs[0], "--metric", "quiz=0.41±0.02", "--unit", "accuracy")[0] == 0
    assert call(capsys, "tell", study, runs[1], "--metric", "quiz=0.4,0.03", "--unit", "quiz=acc")[0] == 0
    assert call(capsys, "tell", study, runs[2], "--failed", "out of memory")[0] == 0
    assert call(capsys, "tell", study, runs[3], "--metric", "quiz=nan", "--diverged")[0] == 0
    realised = [word for n, d in enumerate("abc", 1) for word in ("--realised", f"{d}={n}000")]
    _, value, _ = call(capsys, "tell", study, runs[4], "--metric", "quiz=0.5", *realised)
    assert value["stages"] == [{"stage": "round 0", "left": len(runs) - 5, "finished": 5}]
    assert [(c["bits_per_byte"], c["errors"]) for r in runs[:2] for c in curves(study, r)] == [
        ([-0.41], [0.02]),
        ([-0.4], [0.03]),
    ]
    assert curves(study, runs[4])[0]["tokens"] == [6000]
    _, value, _ = call(capsys, "status", study.parent / "study")
    assert [value["status"]["stages"][0][k] for k in ("done", "diverged", "failed")] == [3, 1, 1]


def test_results_of_our_own_format(quiz: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    study, runs = quiz
    plan = json.loads((study.parent / "out" / "plans" / f"{runs[0]}.json").read_text(encoding="utf-8"))
    tokens = [plan["tokens"] // 2, plan["tokens"]]
    entries = [
        {"run": runs[0], "metrics": {"quiz": {"tokens": tokens, "values": [0.2, 0.4], "errors": [0.1, 0.05]}}},
        {"run": runs[1], "metrics": {"quiz": {"value": 0.3, "error": 0.01, "unit": "accuracy"}}},
        {"run": runs[2], "metrics": {}, "status": "failed", "message": "a node died"},
    ]
    path = study.parent / "results.json"
    path.write_text(json.dumps({"format": 1, "runs": entries}), encoding="utf-8")
    code, value, _ = call(capsys, "tell", study, runs[1], "--from", path)
    assert value["told"] == [runs[1]]
    code, value, _ = call(capsys, "tell", study, "--from", path)
    assert (code, value["told"]) == (0, runs[:3])
    assert curves(study, runs[0])[0]["bits_per_byte"] == [-0.2, -0.4]
    assert curves(study, runs[0])[0]["tokens"] == tokens
    path.write_text(json.dumps({"format": 1, "runs": [{"run": runs[3], "metric": {"quiz": 1}}]}), encoding="utf-8")
    code, _, err = call(capsys, "tell", study, "--from", path)
    assert code == 3
    assert "did you mean 'metrics'?" in err


def test_a_table_of_runs_and_a_file_of_a_harness(
    quiz: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    study, runs = quiz
    table = study.parent / "table.csv"
    table.write_text(f"run,quiz,seconds\n{runs[0]},0.5,12\n{runs[1]},0.25,13\n", encoding="utf-8")
    code, value, _ = call(capsys, "tell", study, "--from", table)
    assert (code, sorted(value["told"])) == (0, sorted(runs[:2]))
    assert [curves(study, r)[0]["bits_per_byte"] for r in runs[:2]] == [[-0.5], [-0.25]]
    table.write_text("step,tokens,val/acc\n1,3000,0.2\n2,6144,0.4\n", encoding="utf-8")
    code, _, err = call(capsys, "tell", study, runs[2], "--from", table)
    assert code == 2
    assert "--map METRIC=quiz" in err
    code, _, err = call(capsys, "tell", study, "--from", table, "--map", "val/acc=quiz")
    assert code == 2
    assert "does not say which run" in err
    code, _, err = call(capsys, "tell", study, runs[2], "--from", table, "--map", "val/acc=quiz")
    assert code == 0, err
    assert curves(study, runs[2])[0]["tokens"] == [3000, 6144]
    assert curves(study, runs[2])[0]["bits_per_byte"] == [-0.2, -0.4]
    table.write_text("step,val/loss\n1,0.2\n2,0.4\n", encoding="utf-8")
    code, _, err = call(capsys, "tell", study, runs[3], "--from", table, "--map", "val/loss=quiz")
    assert code == 2
    assert "to minimise by its source" in err


def test_a_loss_of_another_name_must_say_its_unit(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, value, _ = call(capsys, "suggest", study, "--out", study.parent / "out", "--pools", "none")
    run, table = Path(value["plans"][0]).stem, study.parent / "log.csv"
    table.write_text("step,eval_a/loss,c\n1,2.5,2.5\n2,2.0,2.1\n", encoding="utf-8")
    words = ("tell", study, run, "--from", table, "--map", "eval_a/loss=a")
    code, _, err = call(capsys, *words)
    assert code == 2
    assert "not nats/token" in err
    code, _, err = call(capsys, *words, "--unit", "a=nats/token")
    assert code == 2
    assert "1 nat/token is 1.44" in err
    assert call(capsys, *words, "--unit", "a=bits/byte")[0] == 0


def test_a_file_of_examples_for_another_trainer(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for d in "ac":
        rows = [
            json.dumps({"text": f"{d} tells story {i} {' '.join(str(i * j % 97) for j in range(90))}"})
            for i in range(90)
        ]
        (tmp_path / f"{d}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    prepare(
        [tmp_path / "a.jsonl", tmp_path / "c.jsonl"], out=tmp_path / "corpus", tokenizer="bytes", min_held_out_bytes=100
    )
    rows = [json.dumps({"prompt": f"{i} + {i} =", "choices": [str(2 * i), "no"], "answer": 0}) for i in range(60)]
    (study.parent / "sums.jsonl").write_text("\n".join(rows), encoding="utf-8")
    text = STUDY.replace("{a: 1, c: 1}", "{sums: 1}\nmeasures: {sums: {file: sums.jsonl}}")
    text = text.replace("../corpus", str(tmp_path / "corpus")).replace("60_000", "30_000")
    study.write_text(text, encoding="utf-8")
    out = study.parent / "out"
    code, value, err = call(capsys, "suggest", study, "--out", out, "--pools", "jsonl")
    assert code == 0, err
    plan = json.loads(Path(value["plans"][0]).read_text(encoding="utf-8"))
    target = plan["targets"]["sums"]
    assert (target["kind"], target["unit"], target["documents"]) == ("choice", "bits/byte margin", 30)
    given = (out / "plans" / target["file"]).read_text(encoding="utf-8").splitlines()
    assert {json.loads(row)["prompt"] for row in given} <= {json.loads(row)["prompt"] for row in rows}
    assert not (out / "held-out" / "verify").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing", "--metric", "quiz=1"], "no run 'nothing'"),
        (["RUN", "--metric", "quizz=1"], "did you mean 'quiz'?"),
        (["RUN", "--metric", "quiz"], "wanted: --metric NAME=VALUE"),
        (["RUN", "--metric", "quiz=many"], "quiz is 'many'"),
        (["RUN", "--metric", "quiz=1", "--metric", "quiz=2"], "given twice"),
        (["RUN", "--metric", "quiz=inf"], "--diverged"),
        (["RUN", "--metric", "quiz=1", "--unit", "f1"], "wanted: accuracy"),
        (["RUN", "--metric", "quiz=1", "--realised", "a=1.5"], "whole number"),
        (["RUN", "--metric", "quiz=1", "--map", "x=y"], "about a file"),
        (["RUN", "--metric", "quiz=1", "--from", "x.json"], "one of them"),
        (["--metric", "quiz=1"], "no run is named"),
        (["RUN", "--from", "missing.json"], "no such file"),
    ],
)
def test_what_tell_refuses(
    quiz: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    study, runs = quiz
    code, value, err = call(capsys, "tell", study, *(runs[0] if w == "RUN" else w for w in words))
    assert code in (2, 3)
    assert not value["ok"]
    assert said in err, err


def test_before_the_first_suggestion_and_for_proxies(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "tell", study, "00", "--metric", "a=1")
    assert code == 2
    assert "cuvee suggest" in err
    study.write_text(STUDY.replace("trainer: outside\n", ""), encoding="utf-8")
    code, _, err = call(capsys, "suggest", study, "--out", study.parent / "out")
    assert code == 2
    assert "trainer: outside" in err
    code, _, err = call(capsys, "suggest", study, "--out", study.parent / "out", "--pools", "parquet")
    assert code == 2
    assert "megatron, jsonl, none" in err


PAGE = Path(__file__).parents[2] / "docs" / "outside-trainers.md"


def block(language: str, holds: str) -> str:
    """The block of the page that holds those words."""
    found = [b for b in PAGE.read_text(encoding="utf-8").split("```") if b.startswith(language) and holds in b]
    return found[0].removeprefix(language)


def test_the_page_names_every_key() -> None:
    text = PAGE.read_text(encoding="utf-8")
    entries = (PlanFile, PoolEntry, TargetEntry, PhaseEntry, TokenizerEntry, RunEntry, MetricEntry)
    assert not [f"{cls.__name__}.{f.name}" for cls in entries for f in fields(cls) if f"`{f.name}`" not in text]
    results = json.loads(block("json", "runs"))
    assert from_json(ResultsFile, results).runs[2].status == "failed"


def test_the_loop_of_the_page_in_a_shell(study: Path) -> None:
    here = study.parent
    (here / "outside_trainer.py").write_bytes(TRAINER.read_bytes())
    package = Path(cuvee.__file__).parents[1]
    cuvee_is = (
        f"cuvee() {{ PYTHONPATH='{package}' '{sys.executable}' -c 'from cuvee.cli.app import main; main()' \"$@\"; }}"
    )
    script = f"{cuvee_is}\npython() {{ '{sys.executable}' \"$@\"; }}\n"
    loop = block("bash", "xargs").replace("xargs python", f"xargs '{sys.executable}'")
    subprocess.run(["bash", "-c", script + loop], check=True, cwd=here, capture_output=True)
    assert (here / "study" / "report.html").stat().st_size > 100_000


def test_the_loop_of_the_page_in_python(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = Corpus.open(root / "corpus")
    problem = replace(small(corpus), trainer="outside")

    def train(plan: Plan) -> dict[str, float]:
        shares = plan.schedule.phases[0].mixture.as_dict()
        return {t: 2 - shares[t] + 0.01 * plan.block % 0.05 for t in plan.targets}

    exec(
        block("python", "suggest"),
        {"cuvee": cuvee, "problem": problem, "corpus": corpus, "method": Grid(), "train": train},
    )
    assert cuvee.Study.load("study").verification() is not None
