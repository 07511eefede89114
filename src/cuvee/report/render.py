"""From what a report says to one HTML page. Pure: the same data give the same bytes; every text is escaped.

Sections of what was found stand in `tables`.
"""

from __future__ import annotations

from cuvee.report import tables, text
from cuvee.report.charts import Chart, charts
from cuvee.report.data import PhaseRow, ReportData, Verdict, WeightRow
from cuvee.report.html import Cell, Markup, escape, facts_html, figure, page, paragraphs, table_of
from cuvee.report.scatters import scatters


def render(data: ReportData, plotly_js: str) -> str:
    """The page. `plotly_js` is the source of plotly.js; empty leaves the charts out and keeps their tables."""
    drawn = charts(data) | scatters(data) if plotly_js else {}
    found = (tables.gains, tables.verifications, tables.transfer, tables.prediction, tables.otherwise)
    sections = (_weights, *found, _runs, _cost, _usage, _provenance)
    body = "\n".join([_header(data), *(part for s in sections if (part := s(data, drawn)))])
    return page(f"{data.study}: {data.title}", body, FOOT, plotly_js if drawn else "")


FOOT = """Bits/byte is a model's loss per byte of held-out text: lower is better, and it does not depend on
the tokenizer. Shares are shares of tokens. Intervals are 90 %."""


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
        f'<p class="headline">{escape(verdict.headline)}</p>{paragraphs(verdict.sentences)}</section>'
    )


def _tiles(data: ReportData) -> str:
    tiles: list[tuple[str, str, str]] = []
    gain = data.gains[0] if data.gains else None
    found = {"Verified larger": gain.larger, "Verified": gain.verified, "Predicted": gain.predicted} if gain else {}
    for name, estimate in found.items():
        if estimate is not None:
            more = f"bits/byte, {text.signed(estimate.low)} to {text.signed(estimate.high)}"
            tiles.append((f"{name}, against natural", text.signed(estimate.mean), more))
    if gain is not None and gain.best is not None:
        source = "from the search" if gain.best is gain.predicted else "from fresh runs"
        tiles.append(("Probability of being better", text.probability(gain.best.p_better), source))
    if data.costs:
        whole = data.costs[-1]
        tiles.append(("Runs", f"{whole.runs:,}", f"{text.seconds(whole.cpu_seconds)} of CPU time"))
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
    rows, basis = [_weight_cells(r, with_range) for r in data.weights], tables.basis_of(data)
    note = ""
    if with_range and data.tolerance is not None:
        note = (
            f"<p>Anywhere within a near-optimal range, the others adapting, costs less than {data.tolerance:.4f} "
            "bits/byte: wide ranges are freedom, not doubt.</p>"
        )
    epochs = "<p>An epoch is one pass over all that there is of a domain; at the target run, not at the proxies.</p>"
    note += _simplified(data)
    chart = figure(drawn.get("weights"), basis)
    table = table_of(heads, rows, basis=basis)
    return f"<h2>The mixture</h2>{paragraphs(data.why)}{chart}{note}{table}{epochs}{_phases(data)}"


def _simplified(data: ReportData) -> str:
    found = data.simplified
    if found is None:
        return ""
    dropped = ", ".join(f"{d} ({text.percent(s)})" for d, s in found.dropped.items()) or "none"
    return (
        f"<p>Left out for their tiny shares: {escape(dropped)}. The others are rounded to {text.percent(found.step)}. "
        f"Predicted cost of both: {found.cost:.5f} bits/byte.</p>"
    )


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
    heads = ["Domain", *(_from(p) for p in data.phases)]
    rows = [[r.domain, *(text.percent(p.shares[r.domain]) for p in data.phases)] for r in data.weights]
    return f"<h3>Phases</h3><p>The shares above are the mean over the run.</p>{table_of(heads, rows)}"


def _from(phase: PhaseRow) -> str:
    return f"#from {text.count(phase.start)} tokens" + (f" over {text.count(phase.ramp)}" if phase.ramp else "")


def _runs(data: ReportData, drawn: dict[str, Chart]) -> str:
    if not data.runs:
        return "<h2>The runs</h2><p>No proxy run has ended yet.</p>"
    basis = tables.basis_of(data)
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
    curves = f"<h3>Over training</h3>{figure(drawn['curves'], basis)}" if "curves" in drawn else ""
    return (
        f"<h2>The runs</h2><p>{escape(tally)}. Runs of one block share initial weights, data order and pools, so that "
        f"within a block only the mixture differs.</p>{figure(drawn.get('runs'), basis)}{shown}{curves}"
        f"<details><summary>All {text.plural(len(rows), 'run')}</summary>{table_of(heads, rows, basis=basis)}</details>"
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
    cite = "".join(f"<li>{escape(line)}</li>" for line in data.citation)
    cite = f"<h3>To cite</h3><ul>{cite}</ul>" if cite else ""
    return f"<h2>Provenance</h2>{facts_html(data.provenance)}{cite}"
