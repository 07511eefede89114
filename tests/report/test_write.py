"""The file, made from a study on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuvee.base.errors import DataError
from cuvee.methods.baselines import Uniform
from cuvee.plan.problem import Problem
from cuvee.report.write import report_data, write_report
from cuvee.study.study import Study
from cuvee.testing.corpora import synthetic


@pytest.fixture
def study(tmp_path: Path) -> Study:
    corpus = synthetic(tmp_path / "corpus")
    problem = Problem.from_corpus(corpus, target_tokens=20_000, targets={"a": 1}, small_pools="cap")
    return Study.open(tmp_path / "study", problem, corpus, Uniform())


def test_writes_one_file_that_holds_plotly(study: Study, tmp_path: Path) -> None:
    path = write_report(study, str(tmp_path / "deep" / "report.html"))
    assert path == tmp_path / "deep" / "report.html"
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    source = path.read_text(encoding="utf-8")
    assert "There is no recommendation yet" in source
    study.choose()
    write_report(study, path)
    source = path.read_text(encoding="utf-8")
    assert "The mixture of uniform, of which nothing is known yet." in source
    assert "Plotly.newPlot" in source
    assert len(source) > 1_000_000
    assert source.lower().count("<script") == source.lower().count("</script") == 3


def test_data_of_a_study_loaded_without_its_corpus(study: Study, tmp_path: Path) -> None:
    study.choose()
    (tmp_path / "corpus").rename(tmp_path / "elsewhere")
    data = report_data(Study.load(tmp_path / "study"))
    assert data.study == "study"
    assert [r.domain for r in data.weights] == ["a", "b", "c"]
    assert {f.label: f.value for f in data.provenance}["Corpus fingerprint"] == study.config.corpus.fingerprint


def test_a_place_that_cannot_be_written(study: Study, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write"):
        write_report(study, tmp_path / "file" / "report.html")
    with pytest.raises(DataError, match="cannot write"):
        write_report(study, tmp_path / "corpus")
