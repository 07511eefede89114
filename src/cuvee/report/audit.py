"""The page of a tokenizer's inferred mixture."""

from __future__ import annotations

from pathlib import Path

from cuvee.audit.infer import Inference
from cuvee.base.files import replace
from cuvee.report.charts import OTHER, WINE, Chart, axis_title, chart_layout, row_axis
from cuvee.report.data import Fact
from cuvee.report.html import escape, facts_html, figure, page, table_of
from cuvee.report.text import percent

FOOT = "Shares are shares of the bytes of text. Intervals are 90 %, from simulations."


def write_audit(found: Inference, tokenizer: str, path: Path) -> Path:
    """Write the page of what was inferred to the HTML file `path`, plotly.js included."""
    from plotly.offline import get_plotlyjs

    replace(path, render_audit(found, tokenizer, get_plotlyjs()).encode("utf-8"))
    return path


def render_audit(found: Inference, tokenizer: str, plotly_js: str) -> str:
    """The page; without `plotly_js` its tables alone."""
    warnings = "".join(f"<li>{escape(w)}</li>" for w in found.warnings)
    shown = sorted(found.proportions, key=lambda p: -p.share)
    shares = [[p.category, percent(p.share), f"{percent(p.low)} to {percent(p.high)}"] for p in shown]
    counts = list(found.by_merges)
    depends = [[p.category, *(percent(found.by_merges[c][p.category]) for c in counts)] for p in shown]
    disagree = [
        [
            "a pair, too frequent" if d.merge is None else f"merge {d.merge + 1}",
            repr(d.left),
            repr(d.right),
            f"{d.forgiven:,.0f}",
        ]
        for d in found.disagreements
    ]
    body = [
        f'<header><div class="eyebrow">Cuvée audit</div><h1>What {escape(tokenizer)} was trained on</h1>',
        facts_html(facts(found)) + "</header>",
        f'<ul class="warnings" aria-label="What weakens the evidence">{warnings}</ul>' if warnings else "",
        "<section><h2>Proportions</h2>",
        figure(_chart(found)) if plotly_js else "",
        table_of(["category", "#share of bytes", "#90 % interval"], shares) + "</section>",
        "<section><h2>Does the number of merges matter?</h2>",
        table_of(["category", *(f"#{c:,} merges" for c in counts)], depends) + "</section>",
        "<section><h2>What disagrees most</h2><p>What merges and pairs had to be forgiven, in millionths of all pairs.</p>",
        table_of(["what", "left", "right", "#forgiven"], disagree) + "</section>" if disagree else "</section>",
    ]
    return page(f"What {tokenizer} was trained on", "\n".join(body), FOOT, plotly_js)


def facts(found: Inference) -> tuple[Fact, ...]:
    """What a reader needs beside the shares."""
    residual, unknown = found.residual, found.unknown
    lines = [
        Fact("Merges used", f"{found.merges_used:,} of {found.merges_available:,}"),
        Fact("Samples", f"{sum(found.bytes.values()) / 1e6:,.1f} MB in {len(found.bytes)} categories"),
        Fact("Merges in no sample", f"{unknown.missing:,}"),
    ]
    if found.redundant or found.unreachable:
        lines.append(Fact("Left out of the list", f"{found.redundant:,} redundant, {found.unreachable:,} unreachable"))
    if residual.simulated:
        lines.append(Fact("Residual", f"{residual.ratio:.2f} times that of simulations (1 is what the samples allow)"))
        span = f"{percent(unknown.low)} to {percent(unknown.high)}"
        lines.append(
            Fact("Unlike the samples", f"about {percent(unknown.share)} ({span})" if unknown.share else "no sign of it")
        )
    if found.overlap:
        lines.append(
            Fact("First tokens", f"{found.overlap[0]:.0%} as simulated; simulations share {found.overlap[1]:.0%}")
        )
    return tuple(lines)


def _chart(found: Inference) -> Chart:
    rows = sorted(found.proportions, key=lambda p: -p.share)
    error = {
        "type": "data",
        "symmetric": False,
        "array": [100 * (p.high - p.share) for p in rows],
        "arrayminus": [100 * (p.share - p.low) for p in rows],
        "thickness": 1.6,
        "width": 4,
        "color": WINE,
    }
    hover = [f"{percent(p.share)} ({percent(p.low)} to {percent(p.high)})" for p in rows]
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": [100 * p.share for p in rows],
        "y": list(range(len(rows))),
        "marker": {"color": OTHER},
        "error_x": error,
        "text": hover,
        "textposition": "none",
        "hovertemplate": "%{text}<extra></extra>",
    }
    layout = chart_layout(
        90 + 30 * len(rows),
        x=axis_title("share of bytes, %, with 90 % intervals") | {"rangemode": "tozero"},
        y=row_axis([p.category for p in rows]),
    )
    return Chart(
        "proportions", "Inferred share of each category, with its interval.", (trace,), layout | {"showlegend": False}
    )
