from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from cuvee.base.errors import DataError
from cuvee.interop.metrics import MetricsWarning, Point, read_metrics

REAL = Path(__file__).parent / "fixtures" / "results_lm_eval_0.4.13.json"  # the harness's own, without its settings


def write(path: Path, results: dict[str, Any], **more: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"results": results, "versions": {}, **more}), encoding="utf-8")
    return path


def test_a_file_of_the_harness() -> None:
    (run,) = read_metrics(REAL)
    assert run.run == "", "a file is one run"
    found = {m.name: m for m in run.metrics}
    assert set(found) == {
        "toy/acc",
        "toy_choice/acc",
        "toy_choice/acc_norm",
        "toy_generate/exact_match/flexible-extract",
        "toy_generate/exact_match/strict-match",
        "toy_text/bits_per_byte",
        "toy_text/byte_perplexity",
        "toy_text/word_perplexity",
    }, "filters in the name but for none, groups with a mean of their own, no sample counts"
    acc = found["toy_choice/acc"]
    assert acc.points == (Point(0.6666666666666666, 0.33333333333333337),)
    assert (acc.higher_is_better, acc.unit) == (True, "accuracy")
    bits = found["toy_text/bits_per_byte"]
    assert (bits.points[0].error, bits.higher_is_better, bits.unit) == (None, False, "bits/byte")
    assert found["toy_generate/exact_match/strict-match"].higher_is_better is True


def test_a_folder_is_one_run_a_model(tmp_path: Path) -> None:
    write(tmp_path / "m1" / "results_1.json", {"a": {"acc,none": 0.1}}, model_name="ckpt/1")
    write(tmp_path / "m1" / "results_2.json", {"b": {"acc,none": 0.2}}, model_name="ckpt/1")
    write(tmp_path / "m2" / "results_1.json", {"a": {"acc,none": 0.3}})
    found = {r.run: [m.name for m in r.metrics] for r in read_metrics(tmp_path)}
    assert found == {"ckpt/1": ["a/acc", "b/acc"], "m2/results_1": ["a/acc"]}
    write(tmp_path / "m1" / "results_3.json", {"b": {"acc,none": 0.5}}, model_name="ckpt/1")
    with pytest.raises(DataError, match=r"b/acc of run ckpt/1 .* two values at the end"):
        read_metrics(tmp_path)


def test_the_files_direction_comes_before_the_names(tmp_path: Path) -> None:
    scores = {"acc,none": 0.1, "mine,none": 0.2, "f1,none": 0.3, "theirs,none": 1}
    told = {"t": {"acc": False, "mine": True, "f1": None}}
    (run,) = read_metrics(write(tmp_path / "r.json", {"t": scores}, higher_is_better=told))
    assert {m.name: m.higher_is_better for m in run.metrics} == {
        "t/acc": False,
        "t/mine": True,
        "t/f1": None,
        "t/theirs": None,
    }


def test_the_keys_before_0_4(tmp_path: Path) -> None:
    (run,) = read_metrics(write(tmp_path / "r.json", {"t": {"acc": 0.25, "acc_stderr": 0.01}}))
    assert [(m.name, m.points) for m in run.metrics] == [("t/acc", (Point(0.25, 0.01),))]


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", {"t": {"acc,none": math.nan, "x,none": "N/A", "y,none": [1, 2]}})
    with pytest.warns(MetricsWarning, match=r"t/x \('N/A'\), t/y \(\[1, 2\]\)"):
        (run,) = read_metrics(path)
    assert math.isnan(run.metrics[0].points[0].value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[1]", "holds list, not an object"),
        ('{"loss": 1}', "JSON of another kind: it has loss"),
        ('{"results": [], "versions": {}}', "JSON of another kind"),
        ('{"results": {"a": 1}, "versions": {}}', "JSON of another kind"),
        ('{"results": {}, "versions": {}}', "holds no measurement"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_other_json(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_metrics(tmp_path / "r.json")


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(b'{"results": "\xff"}')
    with pytest.raises(DataError, match="not UTF-8: byte 0xff at 13"):
        read_metrics(tmp_path / "r.json")
