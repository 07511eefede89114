"""Studies of every format there has been load for ever; newer ones are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cuvee.base.errors import DataError
from cuvee.plan.trial import RECIPE
from cuvee.study.store import Store
from cuvee.study.study import Study

FIXTURES = Path(__file__).parent / "fixtures"
TRIALS = ["2c636550", "8c984ec8", "ad3287ba", "b189cc3b", "e3e5bc75", "f18529c7"]
LOSS = 2.179779883728956
UNITS = (1639536354, 758016765, 1897414177)
GAIN = -0.03885386873211205


def test_a_study_of_format_1_loads() -> None:
    study = Study.load(FIXTURES / "format1")
    assert study.corpus is None
    assert study.problem.domains == ("C/C++", "c/c++", "日本語")
    assert study.config.method.name == "grid"
    assert [len(r) for r in study.rounds()] == [4, 2]
    trials = study.trials()
    assert [t.id[:8] for t in trials] == TRIALS
    assert trials[0].loss("日本語") == pytest.approx(LOSS)
    choice, verification = study.choice(), study.verification()
    assert choice is not None
    assert choice.schedule.phases[0].mixture.units == UNITS
    assert verification is not None
    assert [a.name for a in verification.arms] == ["choice", "natural", "uniform", "unimax", "best seen"]
    assert verification.arm("choice").estimates[0].mean == pytest.approx(GAIN)
    assert len(study.verification_trials()) == len(verification.trials) == 6
    assert [c.event for c in study.history()] == ["question"]
    assert study.status().stages[0].done == 4
    assert "grid" in str(study.status())


def test_ids_are_a_format() -> None:
    if RECIPE != 1:
        pytest.skip("the ids of the fixture are those of recipe 1")
    study = Study.load(FIXTURES / "format1")
    assert [t.plan.id(study.config.corpus.fingerprint) for t in study.trials()] == [t.id for t in study.trials()]


def test_reading_changes_nothing(tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(FIXTURES / "format1", copy)
    before = {p: p.stat().st_mtime_ns for p in copy.rglob("*")}
    study = Study.load(copy)
    study.status(), study.trials(), study.choice(), study.verification()
    assert {p: p.stat().st_mtime_ns for p in copy.rglob("*")} == before


def test_a_newer_study_is_refused() -> None:
    with pytest.raises(DataError, match=r"(?s)format 2.*upgrade cuvee"):
        Study.load(FIXTURES / "format2")


def test_a_newer_trial_is_refused() -> None:
    store = Store(FIXTURES / "format2")
    with pytest.raises(DataError, match="format 2"):
        store.trial("ab" + "0" * 30)
