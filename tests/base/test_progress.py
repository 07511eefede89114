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
