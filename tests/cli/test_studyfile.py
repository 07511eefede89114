"""Linear rows in the study file: what they become, and what is said of rows that no mixture meets."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuvee.base.errors import InfeasibleError
from cuvee.cli.studyfile import load
from cuvee.mixture.rows import Row
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
