from __future__ import annotations

import pytest

from cuvee.base.progress import Bar


def test_without_a_terminal_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("work", 4, every=0) as bar:
        bar.advance(1, "first")
        bar.advance(3)
        bar.say("hello")
    out, err = capsys.readouterr()
    assert out == ""
    assert "work: 1/4" in err
    assert "left first" in err
    assert "hello" in err


def test_what_is_foreseen_takes_the_place_of_its_own_reckoning(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("work", 4, every=0) as bar:
        bar.foresee("3 s to 5 s left")
        bar.advance(1, "first")
    assert "work: 1/4 after 0 s, 3 s to 5 s left first" in capsys.readouterr().err


def test_on_a_terminal_the_bar_shows_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    with Bar("work", 4) as bar:
        bar.foresee("3 s to 5 s left")
        bar.advance(1, "first")
    err = capsys.readouterr().err
    assert "work first" in err
    assert "3 s to 5 s left" in err
