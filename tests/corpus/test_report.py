from __future__ import annotations

from pathlib import Path

import pytest

from cuvee.corpus.report import FILE, load_or_none


@pytest.mark.parametrize("text", [None, "{", '{"format": 9}', "[]", '{"options": "x", "unknown": 1}'])
def test_what_is_no_report_is_none(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / FILE).write_text(text, encoding="utf-8")
    assert load_or_none(tmp_path) is None
