"""From what a report says to one HTML page. Pure: the same data give the same bytes; every text is escaped.

The page's content security policy forbids every request, so it opens offline and nobody learns that it was opened.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cuvee.report import text
from cuvee.report.charts import OBJECTIVE, Chart, charts
from cuvee.report.data import Fact, GuardRow, ReportData, Verdict, WeightRow
from cuvee.report.style import CSS, SCRIPT

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
STRONG = ' class="strong"'


@dataclass(frozen=True)
class Markup:
    """HTML that is safe as it is; plain strings are escaped."""

    html: str


Cell = str | Markup


def render(data: ReportData, plotly_js: str) -> str:
    """The page. `plotly_js` is the source of plotly.js; empty leaves the charts out and keeps their tables."""
    drawn = charts(data) if plotly_js else {}
    sections = (_weights, _evidence, _gains, _prediction, _runs, _cost, _usage, _provenance)
    body = "\n".join([_header(data), *(part for s in sections if (part := s(data, drawn)))])
    return page(f"{data.study}: {data.title}", body, FOOT, plotly_js if drawn else "")


FOOT = """Bits/byte is a model's loss per byte of held-out text: lower is better, and it does not depend on
the tokenizer. Shares are shares of tokens. Intervals are 90 %."""


def page(title: str, body: str, foot: str, plotly_js: str) -> str:
    """A whole page of our style that makes no requests; without `plotly_js` one without charts."""
    script = f"<script>{_script_safe(plotly_js)}</script>\n<script>{SCRIPT}</script>" if plotly_js else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{CSS}</style>
</head>
<body>
{body}
<footer>Written by Cuvée. {foot}</footer>
{script}
</body>
</html>
"""


def escape(value: Cell) -> str:
    """HTML of a cell."""
    return value.html if isinstance(value, Markup) else html.escape(value)


def _script_safe(source: str) -> str:
    """A script that cannot end its own element; in JavaScript strings and patterns `<\\/` is `</`."""
    return source.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def figure(chart: Chart | None) -> str:
    """A chart with its caption and data; nothing for None."""
    if chart is None:
        return ""
    value = json.dumps(_plain({"data": chart.data, "layout": chart.layout}), ensure_ascii=True, allow_nan=False)
    # `<` as an escape, so that no name can end the element
    value = value.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    height = chart.layout["height"]
    return (
        f'<figure><div class="chart" id="{chart.id}" style="height:{height}px" role="img" '
        f'aria-label="{escape(chart.caption)}"></div><figcaption>{escape(chart.caption)}</figcaption>'
        f'<script type="application/json" id="{chart.id}-data">{value}</script></figure>'
    )


def _plain(value: Any) -> Any:
    """JSON has no infinity: an interval without end is drawn without an arm, and the table says it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table_of(heads: Sequence[str], rows: Iterable[Sequence[Cell]], *, strong: int = 0) -> str:
    """A table whose first column names the row; a `#` before a head makes its column numeric. Empty columns are left out."""
    rows = [list(row) for row in rows]
    kept = [i for i in range(len(heads)) if i == 0 or any(row[i] for row in rows)]
    heads, rows = [heads[i] for i in kept], [[row[i] for i in kept] for row in rows]
    kinds = ["n" if h.startswith("#") else "name" if i == 0 else "wide" for i, h in enumerate(heads)]

    def line(tag: str, cells: Sequence[Cell]) -> str:
        return "".join(f'<{tag} class="{k}">{escape(c)}</{tag}>' for k, c in zip(kinds, cells, strict=True))

    body = "".join(f"<tr{STRONG if i < strong else ''}>{line('td', row)}</tr>" for i, row in enumerate(rows))
    head = line("th", [h.removeprefix("#") for h in heads])
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def facts_html(facts: Iterable[Fact]) -> str:
    """Facts as a list of terms."""
    items = "".join(f"<dt>{escape(f.label)}</dt><dd>{escape(f.value)}</dd>" for f in facts)
    return f'<dl class="facts">{items}</dl>'


def _paragraphs(sentences: Iterable[str]) -> str:
    return "".join(f"<p>{escape(s)}</p>" for s in sentences)


def _header(data: ReportData) -> str:
    warnings = "".join(f"<li>{escape(w)}</li>" for w in data.warnings)
    return (
        f'<header><div class="eyebrow">Cuvée report: {escape(data.study)}</div><h1>{escape(data.title)}</h1>{facts_html(data.question)}'
        f"</header>{_verdict(data.verdict)}{_tiles(data)}"
        + (f'<ul class="warnings" aria-label="What weakens the evidence">{warnings}</ul>' if warnings else "")
    )


def _verdict(verdict: Verdict) -> str:
    return (
        f'<section class="verdict {verdict.level}"><span class="badge">{escape(verdict.badge)}</span>'
        f'<p class="headline">{escape(verdict.headline)}</p>{_paragraphs(verdict.sentences)}</section>'
    )


def _tiles(data: ReportData) -> str:
    tiles: list[tuple[str, str, str]] = []
    gain = data.gains[0] if data.gains else None
    for name, estimate in (("Verified", gain.verified), ("Predicted", gain.predicted)) if gain else ():
        if estimate is not None:
            more = f"bits/byte, {text.signed(estimate.low)} to {text.signed(estimate.high)}"
            tiles.append((f"{name}, against natural", text.signed(estimate.mean), more))
    best = (gain.verified or gain.predicted) if gain else None
    if best is not None:
        source = "from fresh runs" if gain and gain.verified else "from the search"
        tiles.append(("Probability of being better", text.probability(best.p_better), source))
    if data.costs:
        whole = data.costs[-1]
        tiles.append(("Proxy runs", f"{whole.runs:,}", f"{text.seconds(whole.cpu_seconds)} of CPU time"))
    inner = "".join(
        f'<div class="tile"><div class="name">{escape(n)}</div><div class="value">{escape(v)}</div>'
        f'<div class="more">{escape(m)}</div></div>'
        for n, v, m in tiles
    )
    return f'<div class="tiles">{inner}</div>' if inner else ""


def _weights(data: ReportData, drawn: dict[str, Chart]) -> str:
    if not data.weights:
        return ""
    with_range = any(r.low is not None for r in data.weights)
    heads = ["Domain", "#Natural", "#Choice", *(["#Near-optimal"] if with_range else [])]
    heads += ["#Tokens available", "#Epochs at target", "#Most epochs"]
    rows = [_weight_cells(r, with_range) for r in data.weights]
    note = ""
    if with_range and data.tolerance is not None:
        note = (
            f"<p>Anywhere within a near-optimal range, the others adapting, costs less than {data.tolerance:.4f} "
            "bits/byte: wide ranges are freedom, not doubt.</p>"
        )
    epochs = "<p>An epoch is one pass over all that there is of a domain; at the target run, not at the proxies.</p>"
    return f"<h2>The mixture</h2>{_paragraphs(data.why)}{figure(drawn.get('weights'))}{note}{table_of(heads, rows)}{epochs}{_phases(data)}"


def _weight_cells(row: WeightRow, with_range: bool) -> list[Cell]:
    tag = f'<span class="tag">at its {row.bound}</span>' if row.bound else ""
    near = (
        f"{text.percent(row.low)} to {text.percent(row.high)}" if row.low is not None and row.high is not None else ""
    )
    return [
        Markup(escape(row.domain) + tag),
        text.percent(row.natural),
        Markup(f"<b>{escape(text.percent(row.share))}</b>"),
        *([near] if with_range else []),
        f"{row.tokens:,}",
        f"{row.epochs:.2f}",
        f"{row.cap_epochs:.2f}" if row.cap < 1 else "no cap",
    ]


def _phases(data: ReportData) -> str:
    if len(data.phases) < 2:
        return ""
    heads = ["Domain", *(f"#from {text.count(p.start)} tokens" for p in data.phases)]
    rows = [[r.domain, *(text.percent(p.shares[r.domain]) for p in data.phases)] for r in data.weights]
    return f"<h3>Phases</h3><p>The shares above are the mean over the run.</p>{table_of(heads, rows)}"


def _evidence(data: ReportData, drawn: dict[str, Chart]) -> str:
    if not data.arms:
        return ""
    heads = ["Mixture", "#Difference to natural", "#90 % interval", "#P(better)", "#Blocks"]
    rows = [
        [
            a.label,
            text.signed(a.estimate.mean),
            f"{text.signed(a.estimate.low)} to {text.signed(a.estimate.high)}",
            text.probability(a.estimate.p_better),
            str(len(a.blocks)),
        ]
        for a in sorted(data.arms, key=lambda a: a.estimate.mean)
        if a.name != "natural"
    ]
    detectable = (
        ""
        if data.detectable is None
        else f" So many blocks detect a gain of {data.detectable:.4f} bits/byte (power 80 %)."
    )
    lost = f"<p>Missing runs: {escape(', '.join(data.missing))}.</p>" if data.missing else ""
    return (
        "<h2>Verification</h2><p>New runs with fresh initial weights, data order and pools, the same tokens in every "
        f"mixture, scored on the verify split that the search never read.{detectable}</p>"
        f"{figure(drawn.get('arms'))}{table_of(heads, rows)}{lost}"
    )


def _gains(data: ReportData, drawn: dict[str, Chart]) -> str:
    if not data.gains:
        return ""
    heads = ["Held-out text", "#Weight", "#Predicted", "#Verified", "#P(better)"]
    rows = []
    for i, row in enumerate(data.gains):
        best = row.verified or row.predicted
        rows.append(
            [
                row.name if i else OBJECTIVE,
                text.percent(row.weight) if i and row.weight else "",
                text.interval(row.predicted) if row.predicted else "",
                text.interval(row.verified) if row.verified else "",
                text.probability(best.p_better) if best else "",
            ]
        )
    table = table_of(heads, rows, strong=1)
    return f"<h2>Gain per target</h2>{figure(drawn.get('gains'))}{table}{_guards(data)}{_aggregations(data)}"


def _guards(data: ReportData) -> str:
    if not data.guards:
        return ""
    heads = ["Guard", "Mean loss of", "#May rise by", "#Predicted, %", "#Verified, %", "#P(holds), asked for"]
    rows = [_guard_cells(g) for g in data.guards]
    return f"<h3>Guards</h3>{table_of(heads, rows)}"


def _guard_cells(guard: GuardRow) -> list[Cell]:
    best = guard.verified or guard.predicted
    tone = {"holds": "good", "not confirmed": "", "does not hold": "bad", "unknown": ""}[guard.state]
    return [
        Markup(f'{escape(guard.name)}<span class="tag {tone}">{guard.state}</span>'),
        text.listed(guard.targets),
        text.percent(guard.tolerance),
        text.relative_interval(guard.predicted) if guard.predicted else "",
        text.relative_interval(guard.verified) if guard.verified else "",
        f"{text.probability(best.p_better)}, {guard.probability:.2f}" if best else "",
    ]


def _aggregations(data: ReportData) -> str:
    if not data.aggregations:
        return ""
    rows = [
        [a.name, *(text.signed(v) if v is not None else "" for v in (a.predicted, a.verified))]
        for a in data.aggregations
    ]
    return (
        "<h3>The same choice, counted otherwise</h3><p>What this mixture does to other averages than the declared one, "
        f"in bits/byte against natural.</p>{table_of(['Average', '#Predicted', '#Verified'], rows)}"
    )


def _prediction(data: ReportData, drawn: dict[str, Chart]) -> str:
    if not data.checks and not data.diagnostics:
        return ""
    rank = data.rank_correlation
    known = "" if rank is None else f" Rank correlation {rank:.2f} over {text.plural(len(data.checks), 'trial')}."
    said = f"<p>Each trial was predicted from the other blocks only.{known}</p>" if data.checks else ""
    facts = [Fact(k.replace("_", " "), f"{v:.4g}") for k, v in data.diagnostics.items()]
    more = f"<details><summary>Diagnostics</summary>{facts_html(facts)}</details>" if facts else ""
    return f"<h2>Predicted against measured</h2>{said}{figure(drawn.get('checks'))}{more}"


def _runs(data: ReportData, drawn: dict[str, Chart]) -> str:
    if not data.runs:
        return "<h2>The runs</h2><p>No proxy run has ended yet.</p>"
    tally = ", ".join(f"{sum(r.status == s for r in data.runs)} {s}" for s in ("done", "diverged", "failed"))
    heads = ["Trial", "#Block", "Mixture", "Ended", "#Objective", "#Against natural", "#Seconds"]
    rows = [
        [
            r.id[:8],
            str(r.block),
            r.role,
            r.status if not r.message else f"{r.status}: {r.message}",
            "" if r.loss is None else f"{r.loss:.4f}",
            "" if r.difference is None else text.signed(r.difference),
            f"{r.seconds:.1f}",
        ]
        for r in data.runs
    ]
    lost = [row for row, r in zip(rows, data.runs, strict=True) if r.status != "done"]
    shown = f"<h3>Runs without a result</h3>{table_of(heads, lost)}" if lost else ""
    curves = f"<h3>Over training</h3>{figure(drawn['curves'])}" if "curves" in drawn else ""
    return (
        f"<h2>The runs</h2><p>{escape(tally)}. Runs of one block share initial weights, data order and pools, so that "
        f"within a block only the mixture differs.</p>{figure(drawn.get('runs'))}{shown}{curves}"
        f"<details><summary>All {text.plural(len(rows), 'run')}</summary>{table_of(heads, rows)}</details>"
    )


def _cost(data: ReportData, drawn: dict[str, Chart]) -> str:
    if not data.costs:
        return ""
    heads = ["", "#Runs", "#Tokens", "#CPU time", "#FLOPs"]
    rows = [
        [c.stage, f"{c.runs:,}", text.count(c.tokens), text.seconds(c.cpu_seconds), _power(c.flops)] for c in data.costs
    ]
    return f"<h2>Cost</h2>{table_of(heads, rows)}"


def _power(value: float) -> Cell:
    base, mark, power = text.flops(value).partition("^")
    return Markup(f"{escape(base)}<sup>{escape(power)}</sup>") if mark else base


def _usage(data: ReportData, drawn: dict[str, Chart]) -> str:
    usage = data.usage
    if usage is None:
        return ""
    first = "" if len(data.phases) == 1 else " of the first phase"
    return (
        "<h2>How to use it</h2><p>In a trainer's own format, with the exact integer weights:</p>"
        f"<pre>{escape(usage.shell)}</pre><p>In Python:</p><pre>{escape(usage.python)}</pre>"
        f"<p>The shares of tokens{first}, as YAML:</p><pre>{escape(usage.yaml)}</pre>"
        f"<details><summary>As JSON</summary><pre>{escape(usage.json)}</pre></details>"
    )


def _provenance(data: ReportData, drawn: dict[str, Chart]) -> str:
    return f"<h2>Provenance</h2>{facts_html(data.provenance)}"
