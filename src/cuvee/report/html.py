"""The building blocks of a page: escaping, tables, figures, the frame. Every text is escaped.

The content security policy forbids every request, so a page opens offline and nobody learns that it was opened.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cuvee.report.charts import Chart
from cuvee.report.data import Fact
from cuvee.report.style import CSS, SCRIPT

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
STRONG = ' class="strong"'


@dataclass(frozen=True)
class Markup:
    """HTML that is safe as it is; plain strings are escaped."""

    html: str


Cell = str | Markup


def page(title: str, body: str, foot: str, plotly_js: str = "", css: str = CSS) -> str:
    """A whole page of our style that makes no requests; without `plotly_js` one without charts."""
    script = f"<script>{_script_safe(plotly_js)}</script>\n<script>{SCRIPT}</script>" if plotly_js else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{css}</style>
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


def two_lines(value: str) -> Cell:
    """`mean (low to high)` with the interval beneath, for tables of many."""
    mean, space, rest = value.partition(" ")
    return Markup(f"{escape(mean)}<br><small>{escape(rest)}</small>") if space else value


def basis_html(lines: Iterable[str]) -> str:
    """What a figure rests on, a line each, small beneath it."""
    return "".join(f'<p class="basis">{escape(line)}</p>' for line in lines)


def figure(chart: Chart | None, basis: Iterable[str] = ()) -> str:
    """A chart with its caption, what it rests on, and its data; nothing for None."""
    if chart is None:
        return ""
    value = json.dumps(_plain({"data": chart.data, "layout": chart.layout}), ensure_ascii=True, allow_nan=False)
    # `<` as an escape, so that no name can end the element
    value = value.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    height = chart.layout["height"]
    return (
        f'<figure><div class="chart" id="{chart.id}" style="height:{height}px" role="img" '
        f'aria-label="{escape(chart.caption)}"></div><figcaption>{escape(chart.caption)}{basis_html(basis)}</figcaption>'
        f'<script type="application/json" id="{chart.id}-data">{value}</script></figure>'
    )


def _plain(value: Any) -> Any:
    """JSON has no infinity: an interval without end is drawn without an arm, and the table says it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table_of(
    heads: Sequence[str], rows: Iterable[Sequence[Cell]], *, strong: int = 0, basis: Iterable[str] = ()
) -> str:
    """A table whose first column names the row; a `#` before a head makes its column numeric. Empty columns are left out."""
    rows = [list(row) for row in rows]
    kept = [i for i in range(len(heads)) if i == 0 or any(row[i] for row in rows)]
    heads, rows = [heads[i] for i in kept], [[row[i] for i in kept] for row in rows]
    kinds = ["n" if h.startswith("#") else "name" if i == 0 else "wide" for i, h in enumerate(heads)]

    def line(tag: str, cells: Sequence[Cell]) -> str:
        return "".join(f'<{tag} class="{k}">{escape(c)}</{tag}>' for k, c in zip(kinds, cells, strict=True))

    body = "".join(f"<tr{STRONG if i < strong else ''}>{line('td', row)}</tr>" for i, row in enumerate(rows))
    head = line("th", [h.removeprefix("#") for h in heads])
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{basis_html(basis)}'


def facts_html(facts: Iterable[Fact]) -> str:
    """Facts as a list of terms."""
    items = "".join(f"<dt>{escape(f.label)}</dt><dd>{escape(f.value)}</dd>" for f in facts)
    return f'<dl class="facts">{items}</dl>'


def paragraphs(sentences: Iterable[str]) -> str:
    """A paragraph a sentence."""
    return "".join(f"<p>{escape(s)}</p>" for s in sentences)
