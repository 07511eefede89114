"""The report's charts, as plain plotly figures (data, layout) with the words that describe them.

Built as values: the page carries plotly.js, so the Python half of the library has nothing to do. Plotly reads a subset
of HTML in texts, so every name goes through `words`.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cuvee.plan.choice import Estimate
from cuvee.report.data import ReportData, RunRow, ScaleRows, WeightRow
from cuvee.report.text import interval, percent, signed

WINE, NATURAL, INK, RULE, OTHER, ALARM = "#8b1e3f", "#7b838f", "#23262b", "#e3e5e9", "#b9a3ab", "#c2570c"
FAINT = "rgba(139, 30, 63, 0.20)"
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif'

OBJECTIVE = "Objective (weighted mean)"

Trace = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A figure: an id for the page, what it shows in a sentence (for screen readers too), traces and layout."""

    id: str
    caption: str
    data: tuple[Trace, ...]
    layout: dict[str, Any]


def charts(data: ReportData) -> dict[str, Chart]:
    """Every chart for which there are numbers, by id."""
    made = (_weights(data), _gains(data), *map(_arms, data.verifications), _runs(data), _curves(data))
    return {c.id: c for c in made if c is not None}


def words(name: str, limit: int = 30) -> str:
    """A name as plotly shows it literally, shortened to fit an axis."""
    return html.escape(name if len(name) <= limit else name[: limit - 1] + "…")


def chart_layout(height: int, *, x: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
    """The layout that all charts share."""
    axis = {"gridcolor": RULE, "linecolor": RULE, "zeroline": False, "automargin": True, "ticks": ""}
    return {
        "height": height,
        "margin": {"l": 70, "r": 24, "t": 36, "b": 54},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 13, "color": INK},
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "xanchor": "left"},
        "hoverlabel": {
            "bgcolor": "#ffffff",
            "bordercolor": RULE,
            "font": {"family": FONT, "color": INK},
            "align": "left",
        },
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#c9cdd3", "activecolor": WINE},
        "xaxis": axis | x,
        "yaxis": axis | y,
    }


def row_axis(names: Sequence[str], *, bold: int = 0) -> dict[str, Any]:
    """A vertical axis with a row per name, the first on top. Rows are numbers, so that equal short names stay apart."""
    shown = [f"<b>{words(n)}</b>" if i < bold else words(n) for i, n in enumerate(names)]
    axis = {"tickvals": list(range(len(names))), "ticktext": shown, "range": [len(names) - 0.4, -0.6]}
    return axis | {"showgrid": False, "fixedrange": True}


def axis_title(text: str) -> dict[str, Any]:
    """An axis's title."""
    return {"title": {"text": text, "font": {"size": 12, "color": NATURAL}}}


def _weights(data: ReportData) -> Chart | None:
    rows = data.weights
    if not rows:
        return None
    place = list(range(len(rows)))
    ends = [(r.share, r.natural, r.high or 0.0) for r in rows]
    right = 1.12 * max(max(e) for e in ends)
    traces: list[Trace] = []
    ranged = [(i, r) for i, r in enumerate(rows) if r.low is not None and r.high is not None]
    if ranged:
        traces.append(_segments([(r.low or 0, r.high or 0, i) for i, r in ranged], FAINT, 11, "near-optimal range"))
    traces.append(_segments([(r.natural, r.share, i) for i, r in enumerate(rows)], "#c9cdd3", 1.5, None))
    caps = [(i, r) for i, r in enumerate(rows) if r.cap < 1 and r.cap <= right]
    if caps:
        bar = {"symbol": "line-ns-open", "size": 15, "color": INK, "line": {"width": 1.6}}
        traces.append(points([r.cap for _, r in caps], [i for i, _ in caps], bar, "cap", [_cap(r) for _, r in caps]))
    grey = {"size": 10, "color": NATURAL, "symbol": "diamond"}
    traces.append(points([r.natural for r in rows], place, grey, "natural", [_hover(r) for r in rows]))
    chosen = points([r.share for r in rows], place, {"size": 12, "color": WINE}, "choice", [_hover(r) for r in rows])
    traces.append(chosen)
    x = axis_title("share of tokens") | {"tickformat": ".0%", "range": [-0.012 * right, right]}
    layout = chart_layout(110 + (30 if len(rows) <= 15 else 22) * len(rows), x=x, y=row_axis([r.domain for r in rows]))
    caption = "Shares of tokens: the choice beside the corpus's natural shares, with caps and near-optimal ranges."
    return Chart("weights", caption, tuple(traces), layout)


def _hover(row: WeightRow) -> str:
    lines = [f"<b>{words(row.domain, 60)}</b>", f"choice {percent(row.share)}, natural {percent(row.natural)}"]
    if row.low is not None and row.high is not None:
        lines.append(f"near-optimal {percent(row.low)} to {percent(row.high)}")
    return "<br>".join([*lines, f"{row.epochs:.2g} epochs of {row.tokens:,} tokens"])


def _cap(row: WeightRow) -> str:
    return f"cap of {words(row.domain, 60)}: {percent(row.cap)}, {row.cap_epochs:.3g} epochs"


def points(x: Sequence[float], y: Sequence[float], marker: dict[str, Any], name: str, hover: Sequence[str]) -> Trace:
    """Markers with texts to hover over."""
    place = {"x": list(x), "y": list(y), "text": list(hover), "hovertemplate": "%{text}<extra></extra>"}
    return {"type": "scatter", "mode": "markers", "name": name, "marker": marker, **place}


def _segments(pieces: Sequence[tuple[float, float, float]], colour: str, width: float, name: str | None) -> Trace:
    """Horizontal lines (from, to, row) as one trace."""
    x = [v for a, b, _ in pieces for v in (a, b, None)]
    y = [v for _, _, row in pieces for v in (row, row, None)]
    shown = {"name": name or "", "showlegend": name is not None, "hoverinfo": "skip"}
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "line": {"color": colour, "width": width}, **shown}


def _estimates(pairs: Sequence[tuple[float, Estimate, str]], name: str, marker: dict[str, Any]) -> Trace:
    """Points with intervals: (row, estimate, name for the hover)."""
    error = {
        "type": "data",
        "symmetric": False,
        "array": [e.high - e.mean for _, e, _ in pairs],
        "arrayminus": [e.mean - e.low for _, e, _ in pairs],
        "thickness": 1.8,
        "width": 0,
        "color": marker["line"]["color"],
    }
    hover = [f"<b>{words(label, 60)}</b><br>{name} {interval(e)}" for _, e, label in pairs]
    return points([e.mean for _, e, _ in pairs], [r for r, _, _ in pairs], marker, name, hover) | {"error_x": error}


def _zero(rows: int) -> dict[str, Any]:
    """A line at natural."""
    line = {"color": NATURAL, "width": 1.4}
    return {"type": "line", "x0": 0, "x1": 0, "y0": -0.6, "y1": rows - 0.4, "layer": "below", "line": line}


_DIFFERENCE = "bits/byte against natural (left of 0 is better), 90 % intervals"


def _gains(data: ReportData) -> Chart | None:
    rows = data.gains
    if not rows:
        return None
    names = [OBJECTIVE, *(r.name for r in rows[1:])]
    hollow = {"size": 9, "color": "#ffffff", "line": {"width": 1.8, "color": OTHER}}
    solid = {"size": 9, "color": WINE, "line": {"width": 0, "color": WINE}}
    dark = {"size": 9, "color": INK, "symbol": "square", "line": {"width": 0, "color": INK}}
    predicted = [(i - 0.22, r.predicted, names[i]) for i, r in enumerate(rows) if r.predicted]
    verified = [(float(i), r.verified, names[i]) for i, r in enumerate(rows) if r.verified]
    larger = [(i + 0.22, r.larger, names[i]) for i, r in enumerate(rows) if r.larger]
    sources = (
        ("predicted", predicted, hollow),
        ("verified on fresh runs", verified, solid),
        ("verified on larger fresh runs", larger, dark),
    )
    traces = [_estimates(pairs, name, marker) for name, pairs, marker in sources if pairs]
    bold = sum(r.weight > 0 for r in rows)
    layout = chart_layout(
        110 + (34 if len(rows) <= 15 else 26) * len(rows), x=axis_title(_DIFFERENCE), y=row_axis(names, bold=bold)
    )
    layout["shapes"] = [_zero(len(rows))]
    caption = (
        "Difference to natural of the objective and of every domain's held-out text; the objective's targets in bold."
    )
    return Chart("gains", caption, tuple(traces), layout)


def _arms(found: ScaleRows) -> Chart | None:
    rows = [a for a in found.arms if a.name != "natural"]
    if not rows:
        return None
    traces: list[Trace] = []
    pairs = [(i + 0.22, d, b) for i, a in enumerate(rows) for b, d in zip(a.blocks, a.differences, strict=True)]
    single = {"size": 6, "color": "#c9cdd3"}
    hover = [f"block {b}: {signed(d)}" for _, d, b in pairs]
    traces.append(points([d for _, d, _ in pairs], [y for y, _, _ in pairs], single, "single blocks", hover))
    for name, colour in (("choice", WINE), ("", NATURAL)):
        chosen = [(i, a.estimate, a.label) for i, a in enumerate(rows) if (a.name == "choice") == (name == "choice")]
        marker = {"size": 11, "color": colour, "line": {"width": 0, "color": colour}}
        if chosen:
            traces.append(_estimates(chosen, "choice" if name else "other mixtures", marker))
    layout = chart_layout(120 + 40 * len(rows), x=axis_title(_DIFFERENCE), y=row_axis([a.label for a in rows]))
    layout["shapes"] = [_zero(len(rows))]
    caption = f"{found.title}. Difference to natural of each mixture over fresh blocks, on text the search never saw."
    return Chart(f"arms-{found.scale}", caption, tuple(traces), layout)


def _runs(data: ReportData) -> Chart | None:
    if not data.runs:
        return None
    blocks = sorted({r.block for r in data.runs})
    place = _spread(data.runs, blocks)
    losses = [r.loss for r in data.runs if r.loss is not None]
    top = max(losses, default=1.0) + 0.08 * ((max(losses) - min(losses)) if len(losses) > 1 else 1.0)
    look = (
        ("natural", {"size": 11, "color": NATURAL, "symbol": "diamond"}),
        ("proposed", {"size": 8, "color": "rgba(139, 30, 63, 0.55)"}),
    )
    traces = []
    for role, marker in look:
        rows = [r for r in data.runs if r.role == role and r.loss is not None]
        if rows:
            hover = [f"trial {r.id[:8]}, block {r.block}<br>{r.loss:.4f} bits/byte" for r in rows]
            traces.append(points([place[r.id] for r in rows], [r.loss or 0 for r in rows], marker, role, hover))
    lost = [r for r in data.runs if r.loss is None]
    if lost:
        hover = [f"trial {r.id[:8]}: {r.status}<br>{words(r.message, 90)}" for r in lost]
        cross = {"size": 10, "color": ALARM, "symbol": "x"}
        traces.append(points([place[r.id] for r in lost], [top] * len(lost), cross, "failed or diverged", hover))
    axis = {"tickvals": list(range(len(blocks))), "ticktext": [f"block {b}" for b in blocks], "showgrid": False}
    layout = chart_layout(
        380, x=axis | {"range": [-0.6, len(blocks) - 0.4]}, y=axis_title("objective, bits/byte (lower is better)")
    )
    return Chart("runs", "The objective at the end of every proxy run, by block.", tuple(traces), layout)


def _spread(runs: Sequence[RunRow], blocks: Sequence[int]) -> dict[str, float]:
    """Abscissae: the runs of a block side by side."""
    place = {}
    for i, block in enumerate(blocks):
        inside = [r.id for r in runs if r.block == block]
        for j, name in enumerate(inside):
            place[name] = i + (0.6 * (j / (len(inside) - 1) - 0.5) if len(inside) > 1 else 0.0)
    return place


def _curves(data: ReportData) -> Chart | None:
    if not any(len(c.tokens) > 1 for c in data.curves):
        return None
    traces: list[Trace] = []
    for role, colour, width in (("proposed", "rgba(139, 30, 63, 0.28)", 1.2), ("natural", NATURAL, 2.2)):
        for n, curve in enumerate(c for c in data.curves if c.role == role):
            line = {"color": colour, "width": width}
            shown = {"name": role, "legendgroup": role, "showlegend": n == 0}
            hover = f"trial {curve.id[:8]}<br>%{{y:.4f}} bits/byte after %{{x}} tokens<extra></extra>"
            trace = {"type": "scatter", "mode": "lines", "x": list(curve.tokens), "y": list(curve.loss), "line": line}
            traces.append(trace | shown | {"hovertemplate": hover})
    layout = chart_layout(360, x=axis_title("tokens seen"), y=axis_title("objective, bits/byte"))
    return Chart("curves", "The objective over training, every proxy run.", tuple(traces), layout)
