"""The report's sections of results: gains and trade-off per target, verifications, transfer, the predictor. Pure."""

from __future__ import annotations

import math

from cuvee.plan.choice import Estimate
from cuvee.report import text
from cuvee.report.charts import OBJECTIVE, Chart
from cuvee.report.data import Fact, GainRow, GuardRow, ReportData, ScaleRows
from cuvee.report.html import Cell, Markup, basis_html, escape, facts_html, figure, table_of, two_lines

Drawn = dict[str, Chart]


def basis_of(data: ReportData, *scales: ScaleRows) -> list[str]:
    """What figures of the search, and of verifications if given, rest on: a line each."""
    return [f"Search: {data.basis}", *(f"{s.title.partition(':')[0]}: {s.basis}" for s in scales)]


def gains(data: ReportData, drawn: Drawn) -> str:
    """Differences to natural per target, what they mean as a trade, guards, other averages."""
    if not data.gains:
        return ""
    heads = ["Held-out text", "#Weight", "#Predicted", "#Verified", "#Verified larger", "#P(better)"]
    rows = []
    for i, row in enumerate(data.gains):
        rows.append(
            [
                _name(row, i),
                text.percent(row.weight) if i and row.weight else "",
                *(two_lines(text.interval(e)) if e else "" for e in (row.predicted, row.verified, row.larger)),
                text.probability(row.best.p_better) if row.best else "",
            ]
        )
    basis = basis_of(data, *data.verifications)
    table = table_of(heads, rows, strong=1, basis=basis)
    chart = figure(drawn.get("gains"), basis)
    return f"<h2>Gain per target</h2>{chart}{table}{_tradeoff(data)}{_guards(data)}{_aggregations(data)}"


def _name(row: GainRow, place: int) -> str:
    name = row.name if place else OBJECTIVE
    return name if row.unit == "bits/byte" else f"{name}, {row.unit}"


def _tradeoff(data: ReportData) -> str:
    """Relative to natural's own loss, and against the present blend."""
    heads = ["Held-out text", "#Natural's loss", "#Predicted, %", "#Verified, %", "#Larger, %", "Against natural"]
    heads += ["#Against the present blend", "#The same, larger", "Against the present blend"]
    rows = [
        [
            _name(row, i),
            "" if row.level is None else f"{row.level:.4f}",
            *(
                two_lines(_relative(e, own))
                for e, own in zip((row.predicted, row.verified, row.larger), row.levels, strict=True)
            ),
            _word(row.best),
            *(two_lines(text.interval(e)) if e else "" for e in (row.present, row.present_larger)),
            _word(row.present_larger or row.present),
        ]
        for i, row in enumerate(data.gains)
    ]
    said = "In percent of natural's loss on the same text and in runs of the same size"
    said += ", and in bits/byte against the present blend, block by block" if any(r.present for r in data.gains) else ""
    table = table_of(heads, rows, strong=1, basis=basis_of(data, *data.verifications))
    return f"<h3>The trade</h3><p>{said}; negative is better.</p>{table}"


def _relative(estimate: Estimate | None, level: float | None) -> str:
    if estimate is None or not level:
        return ""
    return text.relative_interval(
        Estimate(estimate.name, estimate.mean / level, estimate.low / level, estimate.high / level, estimate.p_better)
    )


def _word(estimate: Estimate | None) -> str:
    """What the interval says."""
    if estimate is None:
        return ""
    if not math.isfinite(estimate.high - estimate.low):
        return "not known"
    return "better" if estimate.high < 0 else "worse" if estimate.low > 0 else "cannot be told"


def _guards(data: ReportData) -> str:
    if not data.guards:
        return ""
    heads = ["Guard", "Mean loss of", "#May rise by", "#Predicted, %", "#Verified, %", "#Larger, %"]
    heads += ["#P(holds), asked for"]
    table = table_of(heads, [_guard_cells(g) for g in data.guards], basis=basis_of(data, *data.verifications))
    return f"<h3>Guards</h3>{table}"


def _guard_cells(guard: GuardRow) -> list[Cell]:
    weakest = guard.weakest
    tone = {"holds": "good", "not confirmed": "", "does not hold": "bad", "unknown": ""}[guard.state]
    return [
        Markup(f'{escape(guard.name)}<span class="tag {tone}">{guard.state}</span>'),
        text.listed(guard.targets),
        text.percent(guard.tolerance),
        *(two_lines(text.relative_interval(e)) if e else "" for e in (guard.predicted, guard.verified, guard.larger)),
        f"{text.probability(weakest.p_better)}, {guard.probability:.2f}" if weakest else "",
    ]


def _aggregations(data: ReportData) -> str:
    if not data.aggregations:
        return ""
    rows = [
        [a.name, *(text.signed(v) if v is not None else "" for v in (a.predicted, a.verified, a.larger))]
        for a in data.aggregations
    ]
    heads = ["Average", "#Predicted", "#Verified", "#Verified larger"]
    return (
        "<h3>The same choice, counted otherwise</h3><p>What this mixture does to other averages than the declared one, "
        f"in bits/byte against natural.</p>{table_of(heads, rows, basis=basis_of(data, *data.verifications))}"
    )


def otherwise(data: ReportData, drawn: Drawn) -> str:
    """What the choice would be under other objectives, and the front of two of them."""
    parts = (_alternatives(data), _front(data, drawn))
    return f"<h2>Asked otherwise</h2>{''.join(parts)}" if any(parts) else ""


def _alternatives(data: ReportData) -> str:
    rows = data.alternatives
    if len({a.mixture for a in rows}) < 2:
        return ""
    heads = ["Domain", *(f"#{a.name}" for a in rows)]
    by_share = sorted(rows[0].mixture.domains, key=lambda d: -rows[0].mixture.share(d))
    shares: list[list[Cell]] = [[d, *(text.percent(a.mixture.share(d)) for a in rows)] for d in by_share]
    values = [("Predicted, declared objective", [a.declared for a in rows]), ("Predicted, own", [a.own for a in rows])]
    shares += [[n, *(two_lines(text.interval(e)) if e else "" for e in found)] for n, found in values if any(found)]
    return (
        "<h3>Other objectives</h3><p>What the same method would choose from the same runs for other averages, and what that "
        "is worth under the declared objective, in bits/byte against natural. Nothing of it is verified.</p>"
        f"{table_of(heads, shares, basis=basis_of(data))}"
    )


def _front(data: ReportData, drawn: Drawn) -> str:
    front = data.front
    if front is None:
        return ""
    heads = ["Mixture", f"#{front.a}", f"#{front.b}", "Largest shares"]
    named = [(f"{1 - p.weight:.0%} {front.a}, {p.weight:.0%} {front.b}", p) for p in front.points]
    rows: list[list[Cell]] = []
    for name, p in (*named, *front.marks.items()):
        largest = sorted(p.mixture.as_dict().items(), key=lambda item: -item[1])[:4]
        shares = ", ".join(f"{d} {text.percent(s)}" for d, s in largest)
        rows.append([name, two_lines(text.interval(p.a)), two_lines(text.interval(p.b)), shares])
    left_out = f"Left out: {text.plural(front.duplicates, 'point')} with a mixture that is there already, "
    left_out += f"{front.dominated} that another point beats in both."
    basis = basis_of(data)
    return (
        f"<h3>{escape(front.a)} against {escape(front.b)}</h3><p>Predicted from the search, in bits/byte against natural; "
        f"nothing of it is verified. Where an interval is wide, the fit is not sure. {left_out}</p>"
        f"{figure(drawn.get('front'), basis)}{table_of(heads, rows, basis=basis)}"
    )


def verifications(data: ReportData, drawn: Drawn) -> str:
    """Fresh runs of every mixture, at both scales."""
    if not data.verifications:
        return ""
    parts = "".join(_verification(v, drawn) for v in data.verifications)
    return (
        "<h2>Verification</h2><p>New runs with fresh initial weights, data order and pools, the same tokens in every "
        f"mixture, scored on the verify split that the search never read.</p>{parts}"
    )


def _verification(found: ScaleRows, drawn: Drawn) -> str:
    heads = ["Mixture", "#Difference to natural", "#90 % interval", "#P(better)", "#Blocks"]
    rows = [
        [
            a.label,
            text.signed(a.estimate.mean),
            f"{text.signed(a.estimate.low)} to {text.signed(a.estimate.high)}",
            text.probability(a.estimate.p_better),
            str(len(a.blocks)),
        ]
        for a in sorted(found.arms, key=lambda a: a.estimate.mean)
        if a.name != "natural"
    ]
    known = (
        ""
        if found.detectable is None
        else f"<p>So many blocks detect a gain of {found.detectable:.4f} bits/byte (power 80 %), by the search's noise.</p>"
    )
    lost = f"<p>Missing runs: {escape(', '.join(found.missing))}.</p>" if found.missing else ""
    chart = figure(drawn.get(f"arms-{found.scale}"), [found.basis])
    return f"<h3>{escape(found.title)}</h3>{known}{chart}{table_of(heads, rows, basis=[found.basis])}{lost}"


def transfer(data: ReportData, drawn: Drawn) -> str:
    """The same mixtures at two sizes."""
    found = data.transfer
    if found is None:
        return ""
    if found.spearman is None or found.low is None or found.high is None:
        said = "Too few mixtures ran at both sizes to compare their order."
    else:
        said = (
            f"{text.plural(len(found.pairs), 'mixture')} of the search ran again at the larger scale, in the same blocks. "
            f"Rank correlation {found.spearman:.2f}, 90 % interval {found.low:.2f} to {found.high:.2f}"
        )
        said += "" if found.sign is None else f"; {found.sign:.0%} are on the same side of natural"
        said += "." if found.low > 0 else ". The interval includes 0: that the order transfers is not shown."
    lost = f"<p>{text.plural(found.missing, 'run')} missing.</p>" if found.missing else ""
    rows = [
        [p.small[:8], p.large[:8], str(p.block), text.signed(p.small_difference), text.signed(p.large_difference)]
        for p in sorted(found.pairs, key=lambda p: p.small_difference)
    ]
    heads = ["Small trial", "Larger trial", "#Block", "#Small, against natural", "#Larger, against natural"]
    basis = [*basis_of(data), f"Larger: {found.basis}"]
    return (
        f"<h2>Transfer</h2><h3>{escape(found.title)}</h3><p>{escape(said)}</p>{lost}{figure(drawn.get('transfer'), basis)}"
        f"<details><summary>All {text.plural(len(rows), 'mixture')}</summary>{table_of(heads, rows, basis=basis)}</details>"
    )


def prediction(data: ReportData, drawn: Drawn) -> str:
    """How well the predictor foretells runs it did not see."""
    if not data.checks and not data.diagnostics:
        return ""
    rank = data.rank_correlation
    known = "" if rank is None else f" Rank correlation {rank:.2f}."
    said = f"<p>Each trial was predicted from the other blocks only.{known}</p>" if data.checks else ""
    facts = [Fact(k.replace("_", " "), f"{v:.4g}") for k, v in data.diagnostics.items()]
    shown = f"{facts_html(facts)}{basis_html(basis_of(data))}"
    more = f"<details><summary>Diagnostics</summary>{shown}</details>" if facts else ""
    return f"<h2>Predicted against measured</h2>{said}{figure(drawn.get('checks'), basis_of(data))}{more}"
