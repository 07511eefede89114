"""The page: whole, escaped, offline, and saying what the data say."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from cuvee.plan.choice import Estimate, Simplified
from cuvee.report.assemble import assemble
from cuvee.report.data import ReportData
from cuvee.report.html import POLICY
from cuvee.report.render import render
from cuvee.report.text import interval, percent, signed
from cuvee.study.alternatives import Alternative, Alternatives, Front, FrontPoint
from tests.report import fakes

VOID = {"meta", "br"}
PLOTLY = "window.Plotly = {newPlot() {}}; const tag = '</script><!--';"


class Page(HTMLParser):
    """Texts, scripts and attributes of a page; fails on elements that are not closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def page(data: ReportData, plotly: str = PLOTLY) -> Page:
    return Page(render(data, plotly))


@pytest.fixture(scope="module")
def data() -> ReportData:
    return assemble(fakes.study(10))


def test_says_the_figures(data: ReportData) -> None:
    text = page(data).text
    for row in data.weights:
        assert row.domain in text
        assert percent(row.share) in text
        assert f"{row.epochs:.2f}" in text
    for gain in data.gains:
        assert gain.predicted is not None
        assert interval(gain.predicted) in text
    for arm in data.verifications[0].arms:
        assert arm.name == "natural" or signed(arm.estimate.mean) in text
    for words in (data.verdict.headline, *data.warnings, *data.why, "Rank correlation", "diverged: loss is not finite"):
        assert words in text
    for fact in (*data.question, *data.provenance):
        assert fact.value in text


def test_names_are_escaped_everywhere(data: ReportData) -> None:
    source = render(data, PLOTLY)
    assert "<script>alert" not in source
    assert "<b>killed" not in source
    found = Page(source)
    assert "<script>alert(1)</script>" in found.text
    assert "failed: <b>killed</b> & gone" in found.text
    # the charts and their data, plotly, the drawing
    assert len(found.scripts) == 7 + 2
    ticks = json.loads(found.scripts[0][1])["layout"]["yaxis"]["ticktext"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in ticks


def test_charts_carry_the_figures(data: ReportData) -> None:
    figures = {a["id"]: json.loads(s) for a, s in page(data).scripts if a.get("type") == "application/json"}
    assert set(figures) == {
        f"{name}-data" for name in ("weights", "arms-proxy", "gains", "checks", "transfer", "runs", "curves")
    }
    traces = {t["name"]: t for t in figures["weights-data"]["data"]}
    assert traces["choice"]["x"] == [r.share for r in data.weights]
    assert traces["natural"]["x"] == [r.natural for r in data.weights]
    runs = {t["name"]: len(t["x"]) for t in figures["runs-data"]["data"]}
    assert runs == {"natural": 4, "proposed": 42, "failed or diverged": 2}


def test_opens_offline(data: ReportData) -> None:
    found = page(data)
    assert ("meta", "content", POLICY) in found.attributes
    assert not [a for a in found.attributes if a[1] in ("src", "href", "srcset", "action", "poster")]
    assert not [a for a in found.attributes if a[0] in ("link", "img", "iframe", "base", "object", "embed")]
    assert not re.search(r"url\(|@import|https?:", render(data, ""))


@pytest.mark.slow
@pytest.mark.parametrize("domains", [2, 6, 40])
@pytest.mark.parametrize("stage", ["empty", "search", "chosen", "verified", "larger"])
def test_every_stage(domains: int, stage: str) -> None:
    text = page(assemble(fakes.study(domains, stage=stage))).text
    assert ("There is no recommendation yet" in text) == (stage in ("empty", "search"))
    assert ("Not yet verified" in text) == (stage == "chosen")
    assert ("No proxy run has ended yet" in text) == (stage == "empty")


def test_one_domain(data: ReportData) -> None:
    one = replace(data, weights=data.weights[:1], gains=data.gains[:1])
    assert percent(one.weights[0].share) in page(one).text


def test_infinite_and_missing_figures(data: ReportData) -> None:
    endless = Estimate("objective", -0.01, -math.inf, math.inf, 0.5)
    unknown = Estimate("objective", math.nan, math.nan, math.nan, math.nan)
    odd = replace(
        data,
        gains=(replace(data.gains[0], predicted=unknown, verified=endless),),
        verifications=(
            replace(
                data.verifications[0],
                arms=(replace(data.verifications[0].arms[0], estimate=endless),),
                detectable=None,
            ),
        ),
    )
    assert "−∞ to +∞" in page(odd).text


def test_without_charts_the_tables_stay(data: ReportData) -> None:
    found = page(data, "")
    assert not found.scripts
    assert percent(data.weights[0].share) in found.text


def test_is_a_function_of_its_data(data: ReportData) -> None:
    assert render(data, PLOTLY) == render(assemble(fakes.study(10)), PLOTLY)


def test_what_other_objectives_would_choose_and_the_front() -> None:
    evidence = fakes.study(6)
    assert evidence.choice is not None
    declared, own = evidence.choice.schedule.at(0), Estimate("objective", -0.0321, -0.05, -0.01, 0.98)
    rows = (
        Alternative("The declared objective", declared, own, own),
        Alternative("Mean over <all> domains", evidence.problem.natural, None, own),
    )
    points = tuple(FrontPoint(w, declared, replace(own, mean=-0.04 * w), own) for w in (0.0, 1.0))
    front = Front("", "math", "<b>rest", points, 2, 1, {"choice": points[0]})
    found = replace(evidence, alternatives=Alternatives("", rows), front=front, citation=("Someone <2024>",))
    shown = page(assemble(found))
    for words in ("Asked otherwise", "Mean over <all> domains", "−0.0321 (", "math against <b>rest", "Someone <2024>"):
        assert words in shown.text
    assert "2 points with a mixture that is there already, 1 that another point beats" in shown.text
    drawn = next(json.loads(s) for a, s in shown.scripts if a.get("id") == "front-data")
    assert [t["name"] for t in drawn["data"]] == ["front", "choice", "natural"]
    assert "<b>rest" not in drawn["layout"]["yaxis"]["title"]["text"]


def test_tiny_weights_that_were_dropped_are_figures() -> None:
    evidence = fakes.study(6, stage="chosen")
    assert evidence.choice is not None
    simple = replace(evidence.choice, simplified=Simplified({"law & order": 0.0012}, 0.001, 0.00004))
    text = page(assemble(replace(evidence, choice=simple))).text
    assert "Left out for their tiny shares: law & order (0.12 %)" in text
    assert "Predicted cost of both: 0.00004 bits/byte" in text


@pytest.mark.parametrize("stage", ["chosen", "verified", "larger"])
def test_every_figure_says_what_it_rests_on(stage: str) -> None:
    """After every chart and every table of results stands a line with scale, pool, noise, blocks and seed."""
    source = render(assemble(fakes.study(6, stage=stage)), PLOTLY)
    figures = re.findall(r"<figcaption>.*?</figcaption>", source, re.S)
    tables = re.findall(r"</table></div>(.{0,400})", source, re.S)
    assert figures
    for found in (*figures, *tables[:-1]):  # the last is the table of costs
        for words in ("r/R 1/", "smallest pool", "paired noise", "blocks ", "seed 0"):
            assert words in found
