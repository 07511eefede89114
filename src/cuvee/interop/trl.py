"""TRL: `datasets` with a `fraction` each in the YAML of `trl sft`, from the version that has it (ca8cabd0, 2026-07-07).

A fraction is a share of the mixture's rows; TRL never repeats a row, so it shrinks the whole to the source that is the
tightest, and keeps the first rows of a file rather than a sample: shuffle the files before. It cannot upsample, so a domain
that would be repeated is refused. Read in TRL f2cd5771 (1.10.0.dev0).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from cuvee.base.errors import DataError, InfeasibleError
from cuvee.interop.huggingface import rows_of
from cuvee.interop.record import Blend, Exporter, Handover, Stage, weights
from cuvee.interop.texts import collected, dump_yaml, inside, number, phase_files, yaml_mapping


def _render(handed: Handover) -> Mapping[str, str]:
    _check_repeats(handed)
    names = phase_files(len(handed.stages), "sft", "yaml")
    files = {}
    for name, stage in zip(names, handed.stages, strict=True):
        found = weights(handed, stage, "documents")
        rows = [{"path": "json", "data_files": p, "fraction": float(f"{w:.10g}")} for p, w in found.items()]
        files[name] = dump_yaml({"datasets": rows, "seed": stage.seed, "max_length": handed.seq_len})
    return files


def _check_repeats(handed: Handover) -> None:
    over = {d: e for d, e in handed.epochs().items() if e > 1 + 1e-9}
    if over:
        raise InfeasibleError(
            f"TRL repeats no row: {', '.join(f'{d} {e:.2f} epochs' for d, e in over.items())}",
            wanted="at most one epoch of every domain",
            fix="a shorter run (--tokens), or cuvee materialise --as jsonl and one file for TRL",
        )


def _parse(files: Mapping[str, str]) -> tuple[Blend, ...]:
    start = None if len(files) > 1 else 0
    return tuple(
        Blend(collected(_pairs(inside(yaml_mapping(n, files[n], "datasets"), "datasets", n), n), n), start)
        for n in files
    )


def _pairs(rows: Any, name: str) -> Iterator[tuple[str, float]]:
    for row in rows if isinstance(rows, list) else []:
        given = row.get("data_files")
        if isinstance(given, list) and len(given) != 1:
            raise DataError(f"{name}: the dataset {row!r} has {len(given)} files", wanted="one file a dataset")
        path = row.get("path") if given is None else given[0] if isinstance(given, list) else given
        if not path or "fraction" not in row:
            raise DataError(
                f"{name}: the dataset {row!r} lacks its path or fraction", wanted="both for every dataset: all or none"
            )
        yield str(path), number(row["fraction"], str(path))


def _rounded(blend: Blend, handed: Handover, stage: Stage) -> Mapping[str, float]:
    """Rows kept: N is the most for which no source is short, and each keeps the rounded fraction of it."""
    available = {
        path: source.documents * tokens / source.tokens for source in handed.sources for path, tokens in source.paths
    }
    total = math.fsum(blend.weights.values())
    shares = {path: weight / total for path, weight in blend.weights.items() if weight > 0}
    most = min(available.get(path, math.inf) / share for path, share in shares.items())
    return {path: round(share * most) for path, share in shares.items()}


def _launch(handed: Handover) -> str:
    rows = [f"{sum(rows_of(handed, stage).values()):,.0f}" for stage in handed.stages]
    return (
        "```\ntrl sft --config sft-00.yaml --model_name_or_path MODEL\n```\n\n"
        f"TRL keeps as many rows as the tightest source allows; the phases are {', '.join(rows)} rows long at these tokens: stop "
        "them by\n`max_steps`. Shuffle the files first: the first rows of each are kept, by a further phase the same again."
    )


TRL = Exporter(
    name="trl",
    title="TRL",
    unit="documents",
    tested_against="TRL 1.16.0, the mixture built by it and its rows counted",
    data="data/{slug}.jsonl",
    cuts=True,
    reads="JSONL files, one a domain, shuffled",
    exhausted="TRL never repeats: it shrinks the whole mixture to the source that is the tightest.",
    render=_render,
    parse=_parse,
    recognises=lambda name, text: name.endswith((".yaml", ".yml")) and "fraction:" in text,
    launch=_launch,
    rounded=_rounded,
)
