"""`cuvee infer`: the answer as a table and as JSON, the page, the prior."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cuvee.audit.infer import Inference, infer
from cuvee.base.codec import to_json
from cuvee.base.errors import DataError, UsageError
from cuvee.base.progress import Bar, Progress
from cuvee.cli.render import table
from cuvee.cli.tokens import token_count
from cuvee.interop.mixturefile import write_mixture
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.report.audit import facts, write_audit
from cuvee.shards.corpus import Corpus


def run_infer(
    tokenizer: Path,
    samples: Sequence[Path],
    merges: int,
    simulations: int,
    domains: str,
    text_field: str,
    most: str,
    cache: Path | None,
    report: Path | None,
    as_prior: Path | None,
    corpus: Path | None,
    seed: int,
    progress: Progress,
) -> tuple[str, dict[str, Any]]:
    """The text and the JSON value of the answer.

    Raises:
        UsageError: --as-prior without --corpus; as `infer`.
        DataError: categories that are no domains of the corpus; as `infer`.
    """
    if (as_prior is None) != (corpus is None):
        raise UsageError(
            "--as-prior and --corpus go together", wanted="a file to write, and the corpus it is a prior for"
        )
    opened = Corpus.open(corpus) if corpus is not None else None
    found = infer(
        tokenizer,
        samples,
        merges=merges,
        simulations=simulations,
        seed=seed,
        domains=domains,
        text_field=text_field,
        most_bytes=token_count(most) or 0,
        cache=cache,
        progress=progress,
    )
    lines = [_text(found)]
    if report is not None:
        lines.append(f"report: {write_audit(found, tokenizer.name, report)}")
    if as_prior is not None and opened is not None:
        write_prior(found, opened, as_prior)
        lines.append(f"prior: {as_prior}")
    return "\n".join(lines), value(found)


def _text(found: Inference) -> str:
    rows = [
        {"category": p.category, "share": f"{p.share:.2%}", "90 % interval": f"{p.low:.2%} to {p.high:.2%}"}
        for p in sorted(found.proportions, key=lambda p: -p.share)
    ]
    lines = [table(rows), *(f"{f.label}: {f.value}" for f in facts(found))]
    return "\n".join([*lines, *(f"warning: {w}" for w in found.warnings)])


def value(found: Inference) -> dict[str, Any]:
    """The JSON object; NaN, where something was not asked for, is "nan"."""
    shares = {p.category: {"share": p.share, "low": p.low, "high": p.high} for p in found.proportions}
    body: dict[str, Any] = to_json(found) | {"proportions": shares}
    return body


def write_prior(found: Inference, corpus: Corpus, path: Path) -> None:
    """The inferred mixture over the corpus's domains, in shares of its tokens, as a mixture file.

    Raises:
        DataError: a category that is no domain; domains without a category get nothing.
    """
    shares = {p.category: p.share for p in found.proportions}
    strange = [c for c in shares if c not in corpus.domains]
    if strange:
        raise DataError(
            f"categories that are no domains of the corpus: {', '.join(strange)}",
            wanted=f"some of {', '.join(corpus.domains)}",
            fix="name the samples as the corpus names its domains",
        )
    tokens = {d: shares.get(d, 0.0) / corpus.bytes_per_token(d, "train") for d in corpus.domains}
    schedule = Schedule.constant(Mixture.from_shares(tokens))
    write_mixture(path, schedule, corpus=corpus.fingerprint, origin="infer")


def bench_infer(samples: Path | None) -> dict[str, list[dict[str, Any]]]:
    """The tables of `cuvee bench infer`: on the categories of a folder, or on text found on this machine."""
    from cuvee.bench import infer as bench
    from cuvee.corpus.found import gather

    with tempfile.TemporaryDirectory() as place, Bar("bench infer", 0) as bar:
        if samples is None:
            folder = Path(place) / "found"
            gather(folder)
            samples = folder
        rows = bench.summary(bench.run([samples], progress=bar))
        shown = [{k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows]
        return {"rows": shown, "against_plain": bench.against_plain([samples]), "timing": bench.timing([samples])}
