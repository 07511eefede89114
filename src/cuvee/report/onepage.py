"""One printed page (A4) to hand to a colleague: the question, the answer, how sure, what is not known, how to use it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cuvee.plan.choice import Estimate
from cuvee.report import text
from cuvee.report.data import ReportData, ScaleRows, WeightRow
from cuvee.report.html import Cell, Markup, escape, facts_html, page, table_of
from cuvee.report.tables import basis_of

SHOWN, WARNED = 12, 5
"""Domains and caveats that have room; the others are counted."""

CSS = """
@page { size: A4; margin: 10mm 12mm; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 20px 26px; max-width: 794px; color: #23262b; background: #fff; font: 12px/1.4 system-ui, -apple-system,
  "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif; overflow-wrap: anywhere; }
@media print { body { padding: 0; max-width: none; zoom: .86; } }
.eyebrow { color: #8b1e3f; font-weight: 600; font-size: 11px; }
h1 { font-size: 20px; line-height: 1.2; margin: 2px 0 6px; }
h2 { font-size: 12.5px; margin: 11px 0 3px; border-bottom: 1px solid #c9cdd3; padding-bottom: 2px; }
p { margin: 3px 0; }
ul { margin: 3px 0; padding-left: 16px; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: 0 12px; margin: 0; }
dl.facts dt { color: #626974; } dl.facts dd { margin: 0; }
.verdict { margin: 8px 0 0; padding: 7px 12px; background: #f7f7f8; border-left: 4px solid var(--tone); }
.gain { --tone: #1b7353; } .guard, .scale, .none, .unverified { --tone: #a8620a; } .worse { --tone: #b3261e; } .missing { --tone: #626974; }
.badge { background: var(--tone); color: #fff; font-size: 10px; font-weight: 650; padding: 1px 8px; border-radius: 20px; }
.headline { font-size: 14.5px; font-weight: 600; margin: 4px 0 0; }
.badge, .verdict, .bar { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 11px; }
th { text-align: left; color: #626974; font-weight: 600; font-size: 10px; border-bottom: 1px solid #c9cdd3; padding: 1px 6px; }
td { padding: 1px 6px; border-bottom: 1px solid #eceef0; }
th.n, td.n { text-align: right; white-space: nowrap; }
td:first-child, th:first-child { padding-left: 0; }
.bar { display: inline-block; height: 7px; background: #8b1e3f; margin-left: 6px; vertical-align: 0; }
.track { display: inline-block; width: 84px; text-align: left; }
.basis { color: #626974; font-size: 10px; margin: 1px 0; }
pre { background: #f7f7f8; padding: 3px 8px; margin: 3px 0; font: 10.5px/1.4 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  white-space: pre-wrap; }
footer { margin-top: 8px; color: #626974; font-size: 10px; }
"""


def render_page(data: ReportData) -> str:
    """The page, without scripts or charts."""
    verdict = data.verdict
    body = [
        f'<div class="eyebrow">Cuvée: {escape(data.study)}</div><h1>{escape(data.title)}</h1>{facts_html(data.question)}',
        f'<div class="verdict {verdict.level}"><span class="badge">{escape(verdict.badge)}</span>'
        f'<p class="headline">{escape(verdict.headline)}</p></div>',
        _shares(data),
        _evidence(data),
        _rests_on(data),
        _unknown(data),
        _use(data),
        _cite(data),
    ]
    return page(f"{data.study}: {data.title}", "\n".join(body), FOOT, css=CSS)


FOOT = """Bits/byte is a model's loss per byte of held-out text; differences are to the corpus's natural shares,
negative is better. Intervals are 90 %. Shares are shares of tokens."""


def _shares(data: ReportData) -> str:
    rows = data.weights
    if not rows:
        return ""
    shown, rest = rows[:SHOWN], rows[SHOWN:]
    largest = max(r.share for r in rows)
    cells = [_share(r, largest) for r in shown]
    if rest:
        total, natural = sum(r.share for r in rest), sum(r.natural for r in rest)
        track = Markup(f'{text.percent(total)}<span class="track"></span>')
        cells.append([f"{len(rest)} more", text.percent(natural), track, "", ""])
    heads = ["Domain", "#Natural", "#Use", "#Near-optimal range", "#Epochs (at most)"]
    note = ""
    if data.tolerance is not None:
        note = f"<p>Within a near-optimal range, the others adapting, the objective costs less than {data.tolerance:g} bits/byte.</p>"
    return f"<h2>Train on these shares of tokens</h2>{table_of(heads, cells)}{note}"


def _share(row: WeightRow, largest: float) -> list[Cell]:
    width = round(78 * row.share / largest) if largest else 0
    near = (
        f"{text.percent(row.low)} to {text.percent(row.high)}" if row.low is not None and row.high is not None else ""
    )
    most = f" ({row.cap_epochs:.3g})" if row.cap < 1 else ""
    bar = (
        f'<b>{text.percent(row.share)}</b><span class="track"><span class="bar" style="width:{width}px"></span></span>'
    )
    return [row.domain, text.percent(row.natural), Markup(bar), near, f"{row.epochs:.2f}{most}"]


def _evidence(data: ReportData) -> str:
    heads = ["Objective against natural", *(f"#{v.title}" for v in data.verifications)]
    names = dict.fromkeys(a.name for v in data.verifications for a in v.arms if a.name != "natural")
    rows: list[list[Cell]] = [[_label(data, name), *(_arm(v, name) for v in data.verifications)] for name in names]
    gain = data.gains[0] if data.gains else None
    predicted = f"<p>Predicted by the search: {escape(_said(gain.predicted))}.</p>" if gain and gain.predicted else ""
    present = (gain.present_larger or gain.present) if gain else None
    against = f"<p>Against the present blend, block by block: {escape(_said(present))}.</p>" if present else ""
    guards = [
        f"<p>Guard {escape(g.name)}, at most {text.percent(g.tolerance)} worse: {g.state}.</p>" for g in data.guards
    ]
    table = table_of(heads, rows) if rows else "<p>No fresh runs have tested it.</p>"
    return f"<h2>How sure</h2>{table}{predicted}{against}{''.join(guards)}" if gain or rows else ""


def _label(data: ReportData, name: str) -> str:
    found = next(a.label for v in data.verifications for a in v.arms if a.name == name)
    return "This mixture" if name == "choice" else found


def _arm(scale: ScaleRows, name: str) -> str:
    found = next((a for a in scale.arms if a.name == name), None)
    return text.interval(found.estimate) if found else "not run"


def _said(estimate: Estimate) -> str:
    return f"{text.interval(estimate)} bits/byte, probability of being better {text.probability(estimate.p_better)}"


def _rests_on(data: ReportData) -> str:
    lines = basis_of(data, *data.verifications)
    found = data.transfer
    if found is not None and found.spearman is not None and found.low is not None and found.high is not None:
        lines.append(
            f"Transfer check: {text.plural(len(found.pairs), 'mixture')}, {found.title[0].lower()}{found.title[1:]}; rank "
            f"correlation {found.spearman:.2f} ({found.low:.2f} to {found.high:.2f})."
        )
    return f"<h2>What it rests on</h2>{_items(lines)}"


def _unknown(data: ReportData) -> str:
    lines = list(data.warnings[:WARNED])
    if len(data.warnings) > WARNED:
        lines.append(f"{len(data.warnings) - WARNED} more caveats stand in the report.")
    if not any(v.scale == "large" for v in data.verifications):
        lines.append("Whether the gain holds in larger runs: none were made to verify it.")
    return f"<h2>What is not known</h2>{_items([*lines, 'The target run itself: it was not made with this mixture.'])}"


def _use(data: ReportData) -> str:
    if data.usage is None:
        return ""
    said = "In a trainer's own format (<code>cuvee exporters</code> lists them):"
    return f"<h2>How to use it</h2><p>{said}</p><pre>{escape(data.usage.shell)}</pre>"


def _cite(data: ReportData) -> str:
    kept = ("Corpus fingerprint", "Tokenizer", "cuvee", "commit")
    codes = "; ".join(f"{f.label} {f.value}" for f in data.provenance if f.label in kept)
    return f"<h2>To cite</h2>{_items([*data.citation, f'Cuvée. {codes}'])}"


def _items(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"
