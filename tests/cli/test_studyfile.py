"""Keys of the study file: linear rows and rows that no mixture meets; the exchange of a Ray runner."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cuvee.base.errors import InfeasibleError, UsageError
from cuvee.cli.machines import machines
from cuvee.cli.studyfile import load
from cuvee.mixture.rows import Row
from cuvee.study.runners.ray import Ray
from cuvee.testing.corpora import synthetic

STUDY = """\
corpus: corpus
study: study
target_tokens: 60_000
targets: {a: 1}
small_pools: cap
proxy: {size: 0.1M, tokens: 8192, seq_len: 32, batch: 8, eval_points: 1}
rows:
  a per b: {coefficients: {a: 1, b: -2}, high: 0}
"""


def test_rows_are_read_and_clashes_named(tmp_path: Path) -> None:
    synthetic(tmp_path / "corpus", documents=200)
    path = tmp_path / "study.yaml"
    path.write_text(STUDY, encoding="utf-8")
    problem = load(path).problem
    assert problem.rows == (Row("a per b", (("a", 1.0), ("b", -2.0)), high=0.0),)
    clashing = STUDY + "limits:\n  a: {min_share: 0.5}\n  b: {max_share: 0.1}\n"
    path.write_text(clashing, encoding="utf-8")
    with pytest.raises(InfeasibleError, match=r"row 'a per b': a - 2 b <= 0 \(by 0.3\)"):
        load(path)


def test_an_exchange_is_an_address_that_reading_the_file_leaves_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    synthetic(tmp_path / "corpus", documents=200)
    path = tmp_path / "study.yaml"
    path.write_text(STUDY + "runner: ray\nray: {exchange: s3://nowhere/cuvee, restarts: 9}\n", encoding="utf-8")
    assert machines(load(path), 2, None, None, None).runner == Ray(exchange="s3://nowhere/cuvee", restarts=9)
    path.write_text(STUDY + "runner: ray\nray: {exchange: nowhere/cuvee}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"study.yaml:10: ray: exchange: 'nowhere/cuvee'"):
        load(path)
