"""Plain-text tables for the terminal."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cuvee.base.codec import to_json
from cuvee.cli.studyfile import Question
from cuvee.corpus.report import PrepareReport
from cuvee.interop.registry import EXPORTERS, exporter
from cuvee.methods.registry import METHODS, citation
from cuvee.methods.registry import load as load_method
from cuvee.plan.problem import TRANSFER_FLOOR
from cuvee.shards.corpus import Corpus
from cuvee.shards.feed import Sources


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal keys as aligned columns; numbers to the right."""
    if not rows:
        return "(nothing)"
    keys = list(rows[0])
    cells = [keys, *([_cell(row[key]) for key in keys] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(keys))]
    right = [all(isinstance(row[key], int | float) for row in rows) for key in keys]
    lines = [
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def corpus_text(corpus: Corpus, out: Path) -> str:
    """The inventory as a table."""
    rows = [
        {
            "domain": d.name,
            "documents": d.train.documents + d.search.documents + d.verify.documents,
            "train tokens": d.train.tokens,
            "search": d.search.tokens,
            "verify": d.verify.tokens,
            "bytes/token": d.train.bytes / max(d.train.tokens, 1),
            "overlap search": f"{d.overlap_search:.1%}",
            "overlap verify": f"{d.overlap_verify:.1%}",
        }
        for d in corpus.inventory.domains
    ]
    notes = [f"{key}: {value}" for key, value in corpus.inventory.notes.items()]
    return "\n".join([table(rows), "", *notes, f"corpus: {out} ({corpus.fingerprint})"])


def corpus_value(corpus: Corpus, out: Path) -> dict[str, Any]:
    """What `prepare --json` says."""
    report = PrepareReport.load(out)
    return {
        "corpus": str(out),
        "fingerprint": corpus.fingerprint,
        "inventory": to_json(corpus.inventory),
        "decontamination": to_json(report.decontamination),
    }


def sources_value(sources: Sources) -> dict[str, Any]:
    """What `sources --json` says."""
    rows = [
        {
            "domain": name,
            "format": sources.facts[name].format,
            "dtype": str(source.dtype),
            "shards": len(source.shards),
            "tokens": source.tokens,
            "largest id seen": sources.samples[name].most,
            "documents end with": sources.samples[name].ending,
            "read as": sources.facts[name].evidence,
        }
        for name, source in sources.items()
    ]
    return {
        "fingerprint": sources.fingerprint,
        "vocab_size": sources.vocab_size,
        "eos": sources.eos,
        "tokens": sum(sources.train_tokens.values()),
        "domains": rows,
    }


def sources_text(value: Mapping[str, Any]) -> str:
    """The same as a table."""
    known = f"vocabulary: {_cell(value['vocab_size'])}, end of text: {_cell(value['eos'])}"
    return "\n".join(
        [table(value["domains"]), "", f"{value['tokens']:,} tokens; {known}", f"fingerprint: {value['fingerprint']}"]
    )


def problem_text(question: Question) -> str:
    """The question and its bounds as a table."""
    problem = question.problem
    feasible, natural = problem.feasible(), problem.natural
    rows = [
        {
            "domain": d,
            "train tokens": n,
            "natural": f"{natural.share(d):.2%}",
            "least": f"{low:.2%}",
            "most": f"{high:.2%}",
            "epochs at most": high * problem.target_tokens / n,
            "pool (sequences)": pool // problem.proxy.seq_len,
        }
        for d, n, low, high, pool in zip(
            problem.domains, problem.tokens, feasible.low, feasible.high, problem.pools, strict=True
        )
    ]
    objective = ", ".join(f"{t.name} x {t.weight:g}" for t in problem.objective)
    proxy = problem.proxy
    lines = [
        table(rows),
        "",
        f"objective: {objective}",
        f"target run: {problem.target_tokens:,} tokens",
        f"proxies: {proxy.size}, {proxy.tokens:,} tokens (r/R = {proxy.tokens / problem.target_tokens:.4f})",
        f"learning rate {proxy.peak_learning_rate:.2e}, {proxy.steps} steps of {proxy.sequences_per_step} x {proxy.seq_len} tokens",
        f"method: {question.method}",
        *(f"evidence from before: {past.story()}" for past in problem.past),
    ]
    if proxy.tokens < TRANSFER_FLOOR * problem.target_tokens:
        lines.append("r/R is below 1/16: that the choice transfers to the target run is unproven")
    return "\n".join(lines)


def method_cards(name: str) -> tuple[str, dict[str, Any]]:
    """The list of methods, or the card of one."""
    if not name:
        rows = [{"method": n, "what": (inspect.getdoc(load_method(n)) or "").splitlines()[0]} for n in METHODS]
        return table(rows), {"methods": rows}
    cls = load_method(name)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    options = {f.name: None if f.default is dataclasses.MISSING else repr(f.default) for f in fields}
    card = inspect.getdoc(cls) or ""
    cite = citation(name)
    parts = [card, "", "options:", *(f"  {key}: {value}" for key, value in options.items())]
    text = "\n".join([*parts, *(["", "to cite:", *(f"  {line}" for line in cite)] if cite else [])])
    return text, {"method": name, "card": card, "options": options, "citation": list(cite)}


def exporters_text() -> tuple[str, dict[str, Any]]:
    """The exporters, a line each."""
    rows = [
        {
            "name": e.name,
            "trainer": e.title,
            "weights count": e.unit,
            "phases": e.phases,
            "caps": e.caps,
            "tested against": e.tested_against,
        }
        for e in map(exporter, EXPORTERS)
    ]
    return table(rows), {"exporters": rows}
