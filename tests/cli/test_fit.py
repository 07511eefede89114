"""`cuvee fit` as a user types it: what goes where, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cuvee.cli.app import main
from cuvee.interop.mixturefile import read_mixture
from tests.tables.made import runs, to_csv

pytestmark = pytest.mark.slow

QUICK = ("--predictor", "log-linear", "--target", "math")


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    capsys.readouterr()
    code = 0
    try:
        main([*map(str, words)])
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    mixtures, metrics = runs(12, domains=("web", "code", "math"))
    return to_csv(tmp_path / "mixtures.csv", mixtures), to_csv(tmp_path / "metrics.csv", metrics)


def test_json_on_stdout_and_what_was_assumed_on_stderr(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--target", "loss_code=2", "--holdout", *tables, "--out", tmp_path / "out.json", "--json")
    code, out, err = call(capsys, "fit", *tables, *QUICK, *more)
    assert code == 0
    value: dict[str, Any] = json.loads(out)
    assert value["ok"] is True
    assert value["objective"] == {"code": pytest.approx(2 / 3), "math": pytest.approx(1 / 3)}
    assert set(value["mixture"]) == {"web", "code", "math"}
    assert value["holdout"]["spearman_mean"] > 0.9
    assert "--natural" in err
    assert all(warning in err for warning in value["warnings"])
    shares = {d: row["share"] for d, row in value["mixture"].items()}
    assert read_mixture(tmp_path / "out.json").phases[0].mixture.as_dict() == shares


def test_text_has_the_table_and_the_reasons(tables: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    bounds = ("--caps", "math=30%", "--guard", "web=0.5", "--tokens", "web=3M,code=1M,math=1M", "--target-tokens", "2M")
    code, out, _ = call(capsys, "fit", *tables, *QUICK, *bounds, "--max-epochs", "2", "--holdout", *tables)
    assert code == 0
    assert "30.0%" in out
    assert "epochs" in out
    assert "At their caps: math" in out
    assert "without bounds and guards the gain would be" in out
    assert "12 held-out runs" in out
    assert "Predicted by log-linear from 12 runs" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--target", "maths"), 2, "did you mean 'math'"),
        (("--target", "code=0"), 2, "weight 0"),
        (("--id", "nowhere"), 2, "--id nowhere"),
        (("--max-epochs", "4"), 2, "without tokens"),
        (("--target-tokens", "many"), 2, "--target-tokens got 'many'"),
        (("--predictor", "magic"), 2, "no predictor 'magic'"),
        (("--caps", "web=.1,code=.1,math=.1"), 4, "caps sum to 0.3"),
        (("--floors", "web=.9,code=.9"), 4, "floors sum to 1.8"),
        (("--holdout", "a.csv", "b.csv"), 3, "no such file"),
    ],
)
def test_what_is_wrong_has_a_code(
    tables: tuple[Path, Path], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, said: str
) -> None:
    got, out, err = call(capsys, "fit", *tables, *QUICK, *words, "--json")
    assert got == code
    assert said in err
    assert json.loads(out)["ok"] is False


def test_broken_tables_are_code_3(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tables[0].read_text(encoding="utf-8")
    first = text.splitlines()[1].split(",")
    broken = tmp_path / "broken.csv"
    for new, said in (("-0.5", "negative"), ("much", "is 'much'"), ("7", "do not sum to 1")):
        broken.write_text(text.replace(",".join(first), ",".join([first[0], new, *first[2:]])), encoding="utf-8")
        code, _, err = call(capsys, "fit", broken, tables[1], *QUICK)
        assert code == 3
        assert said in err
        assert "r00" in err or "line 2" in err


def test_runs_from_before_an_edit_of_the_domains(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edits = tmp_path / "edits.yaml"
    edits.write_text("- {rename: web, to: pages}\n", encoding="utf-8")
    code, out, _ = call(capsys, "fit", *tables, *QUICK, "--edits", edits, "--json")
    assert code == 0
    assert set(json.loads(out)["mixture"]) == {"pages", "code", "math"}
    mixtures, metrics = runs(8, seed=4, domains=("pages", "code", "math"))
    today = to_csv(tmp_path / "today.csv", mixtures), to_csv(tmp_path / "today_metrics.csv", metrics)
    code, out, _ = call(capsys, "fit", *today, *QUICK, "--past", *tables, "--edits", edits, "--json")
    assert code == 0
    assert json.loads(out)["runs"] == 20
    code, _, err = call(capsys, "fit", *today, *QUICK, "--past", *tables)
    assert code == 2
    assert "{remove: web}; - {add: pages}" in err
    code, _, err = call(capsys, "fit", *tables, *QUICK, "--edits", tmp_path / "none.yaml")
    assert code == 2
    assert "a list of edits" in err
