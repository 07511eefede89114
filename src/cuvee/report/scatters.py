"""Charts of one figure against another: predicted and measured, small and larger runs, one objective and another."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cuvee.plan.choice import Estimate
from cuvee.report.charts import INK, NATURAL, WINE, Chart, Trace, axis_title, chart_layout, points, words
from cuvee.report.data import ReportData
from cuvee.report.text import interval, signed
from cuvee.study.alternatives import FrontPoint

POINT = {"size": 9, "color": "rgba(139, 30, 63, 0.65)", "line": {"width": 1, "color": "#ffffff"}}


def scatters(data: ReportData) -> dict[str, Chart]:
    """Those for which there are numbers, by id."""
    return {c.id: c for c in (_checks(data), _transfer(data), _front(data)) if c is not None}


def _checks(data: ReportData) -> Chart | None:
    checks = [c for c in data.checks if math.isfinite(c.predicted + c.measured)]
    if not checks:
        return None
    x, y = [c.predicted for c in checks], [c.measured for c in checks]
    ends = _span([*x, *y])
    hover = [f"trial {c.trial[:8]}<br>predicted {signed(c.predicted)}, measured {signed(c.measured)}" for c in checks]
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": ends,
        "y": ends,
        "line": {"color": NATURAL, "dash": "dot", "width": 1.4},
    }
    traces = (line | {"name": "prediction = measurement", "hoverinfo": "skip"}, points(x, y, POINT, "trials", hover))
    layout = chart_layout(
        520,
        x=axis_title("predicted from the other blocks, bits/byte against natural")
        | {"range": ends, "constrain": "domain"},
        y=axis_title("measured") | {"range": ends, "scaleanchor": "x", "constrain": "domain"},
    )
    return Chart(
        "checks", "Each trial's difference to natural: predicted without its own block, and measured.", traces, layout
    )


def _transfer(data: ReportData) -> Chart | None:
    """The scales differ in how far mixtures part, so the axes are free: the order is what is asked for."""
    found = data.transfer
    if found is None or not found.pairs:
        return None
    x, y = [p.small_difference for p in found.pairs], [p.large_difference for p in found.pairs]
    hover = [
        f"trials {p.small[:8]} and {p.large[:8]}, block {p.block}<br>small {signed(a)}, larger {signed(b)}"
        for p, a, b in zip(found.pairs, x, y, strict=True)
    ]
    known = found.spearman is not None and found.low is not None and found.high is not None
    agreement = f" Rank correlation {found.spearman:.2f} ({found.low:.2f} to {found.high:.2f})." if known else ""
    layout = chart_layout(
        460,
        x=axis_title("small runs: bits/byte against natural in the block"),
        y=axis_title("larger runs"),
    )
    layout["shapes"] = zero_lines()
    caption = f"The same mixtures at both sizes; left of and below the lines is better than natural.{agreement}"
    return Chart("transfer", caption, (points(x, y, POINT, "mixtures", hover),), layout)


def _front(data: ReportData) -> Chart | None:
    front = data.front
    if front is None:
        return None

    def error(e: Sequence[Estimate]) -> dict[str, object]:
        above, below = [x.high - x.mean for x in e], [x.mean - x.low for x in e]
        return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1, "width": 0}

    def trace(found: Sequence[FrontPoint], name: str, marker: Trace) -> Trace:
        hover = [
            f"{words(name)}<br>{words(front.a)} {interval(p.a)}<br>{words(front.b)} {interval(p.b)}" for p in found
        ]
        made = points([p.a.mean for p in found], [p.b.mean for p in found], marker, words(name), hover)
        bars = {"error_x": error([p.a for p in found]), "error_y": error([p.b for p in found])}
        return made | {key: bar | {"color": "rgba(139, 30, 63, 0.25)"} for key, bar in bars.items()}

    line = {"mode": "lines+markers", "line": {"color": WINE, "width": 1.4}}
    traces = [trace(front.points, "front", POINT) | line]
    looks = {"choice": {"size": 13, "color": WINE}, "present blend": {"size": 12, "color": INK, "symbol": "square"}}
    traces += [trace([p], name, looks.get(name, POINT)) for name, p in front.marks.items()]
    traces.append(points([0.0], [0.0], {"size": 12, "color": NATURAL, "symbol": "diamond"}, "natural", ["natural"]))
    every = (*front.points, *front.marks.values())
    ends = (_span([p.a.mean for p in every]), _span([p.b.mean for p in every]))
    # at the ends of a front the intervals may be far wider than the front: they run out of the picture
    x, y = (
        axis_title(f"{words(n)}: predicted, bits/byte against natural") | {"range": span}
        for n, span in zip((front.a, front.b), ends, strict=True)
    )
    layout = chart_layout(480, x=x, y=y)
    layout["shapes"] = zero_lines()
    caption = (
        f"What {front.a} costs in {front.b}: the best mixtures for weighted sums of both; left and down is better."
    )
    return Chart("front", caption, tuple(traces), layout)


def _span(values: Sequence[float]) -> list[float]:
    low, high = min(*values, 0.0), max(*values, 0.0)
    pad = 0.08 * (high - low or 1)
    return [low - pad, high + pad]


def zero_lines() -> list[Trace]:
    """Lines at natural, across both axes."""
    line = {"type": "line", "line": {"color": NATURAL, "width": 1.2}, "layer": "below"}
    return [
        line | {"x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1},
        line | {"y0": 0, "y1": 0, "xref": "paper", "x0": 0, "x1": 1},
    ]
