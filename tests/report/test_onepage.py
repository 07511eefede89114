"""The page for a colleague: says the answer, escapes, keeps its length."""

from __future__ import annotations

import re

import pytest

from cuvee.report.assemble import assemble
from cuvee.report.onepage import SHOWN, WARNED, render_page
from cuvee.report.text import interval, percent
from tests.report import fakes
from tests.report.test_render import Page

pytestmark = pytest.mark.slow


def test_says_the_answer_and_how_sure() -> None:
    data = assemble(fakes.study(6, stage="larger"))
    text = Page(render_page(data)).text
    for row in data.weights:
        assert row.domain in text
        assert percent(row.share) in text
    for scale in data.verifications:
        assert scale.basis in text
        assert all(interval(a.estimate) in text for a in scale.arms if a.name != "natural")
    for words in (data.verdict.headline, data.verdict.badge, data.basis, "Transfer check: 42 mixtures", "cuvee export"):
        assert words in text
    assert "none were made to verify it" not in text


@pytest.mark.parametrize("stage", ["empty", "search", "chosen", "verified"])
def test_what_is_not_known_is_said(stage: str) -> None:
    text = Page(render_page(assemble(fakes.study(6, stage=stage)))).text
    assert "Whether the gain holds in larger runs: none were made to verify it." in text
    assert "The target run itself" in text


def test_many_domains_and_caveats_are_counted_not_listed() -> None:
    evidence = fakes.study(40, target=40_000_000)
    data = assemble(evidence)
    source = render_page(data)
    assert f"{40 - SHOWN} more" in Page(source).text
    assert source.count("<tr") == SHOWN + 1 + len(data.verifications[0].arms) - 1 + 2
    assert len(data.warnings) <= WARNED or "more caveats stand in the report" in source


def test_names_are_escaped_and_nothing_is_requested() -> None:
    source = render_page(assemble(fakes.study(10)))
    assert "<script" not in source
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in source
    assert not re.search(r"url\(|@import|https?:", source)
