"""Charts of one figure against another: predicted and measured, small and larger runs."""

from __future__ import annotations

import math

from cuvee.report.charts import NATURAL, Chart, Trace, axis_title, chart_layout, points
from cuvee.report.data import ReportData
from cuvee.report.text import signed

POINT = {"size": 9, "color": "rgba(139, 30, 63, 0.65)", "line": {"width": 1, "color": "#ffffff"}}


def scatters(data: ReportData) -> dict[str, Chart]:
    """Those for which there are numbers, by id."""
    return {c.id: c for c in (_checks(data), _transfer(data)) if c is not None}


def _checks(data: ReportData) -> Chart | None:
    checks = [c for c in data.checks if math.isfinite(c.predicted + c.measured)]
    if not checks:
        return None
    x, y = [c.predicted for c in checks], [c.measured for c in checks]
    low, high = min(*x, *y, 0.0), max(*x, *y, 0.0)
    pad = 0.06 * (high - low or 1)
    ends = [low - pad, high + pad]
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


def zero_lines() -> list[Trace]:
    """Lines at natural, across both axes."""
    line = {"type": "line", "line": {"color": NATURAL, "width": 1.2}, "layer": "below"}
    return [
        line | {"x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1},
        line | {"y0": 0, "y1": 0, "xref": "paper", "x0": 0, "x1": 1},
    ]
