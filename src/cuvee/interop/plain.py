"""Plain JSON and CSV, for trainers of one's own: path, share of tokens and epochs of every phase."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cuvee.base.errors import DataError
from cuvee.interop.record import Blend, Exporter, Handover, weights
from cuvee.interop.texts import must_sum_to_one, number

COLUMNS = ("phase", "start", "domain", "path", "share", "tokens", "epochs")


def rows(handed: Handover) -> list[dict[str, Any]]:
    """A row a phase and path: share of the phase's tokens, tokens to train on in the phase, passes over the path."""
    found: list[dict[str, Any]] = []
    for n, stage in enumerate(handed.stages):
        for path, share in weights(handed, stage, "tokens").items():
            source = handed.owner(path)
            assert source is not None
            held = dict(source.paths)[path]
            row = {"phase": n, "start": stage.start, "domain": source.domain, "path": path, "share": share}
            found.append({**row, "tokens": share * stage.tokens, "epochs": share * stage.tokens / held})
    return found


def _render_json(handed: Handover) -> Mapping[str, str]:
    value = {"unit": "tokens", "tokens": handed.tokens, "seed": handed.seed, "rows": rows(handed)}
    return {"blend.json": json.dumps(value, indent=1, ensure_ascii=False) + "\n"}


def _render_csv(handed: Handover) -> Mapping[str, str]:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(handed))
    return {"blend.csv": out.getvalue()}


def _parse_json(files: Mapping[str, str]) -> tuple[Blend, ...]:
    (text,) = files.values()
    try:
        data = json.loads(text)
    except ValueError as error:
        raise DataError(f"not JSON: {error}", wanted="the file that `--to json` writes") from error
    if isinstance(data, dict) and "rows" in data:
        return _blends(data["rows"])
    if isinstance(data, dict) and data and all(isinstance(v, int | float) for v in data.values()):
        return (Blend({str(k): number(v, str(k)) for k, v in data.items()}),)
    raise DataError("the JSON has no rows", wanted="{rows: [...]} or {path: share}")


def _parse_csv(files: Mapping[str, str]) -> tuple[Blend, ...]:
    (text,) = files.values()
    return _blends(list(csv.DictReader(io.StringIO(text))))


def _blends(found: Any) -> tuple[Blend, ...]:
    phases: dict[int, tuple[int, dict[str, float]]] = {}
    for row in found if isinstance(found, list) else []:
        name = row.get("path") or row.get("domain") if isinstance(row, dict) else None
        if not name or row.get("share") in (None, ""):
            raise DataError(f"the row {row!r} lacks a path or a share", wanted=f"the columns {', '.join(COLUMNS)}")
        _, shares = phases.setdefault(int(row.get("phase") or 0), (int(row.get("start") or 0), {}))
        shares[name] = shares.get(name, 0.0) + number(row["share"], name)
    if not phases:
        raise DataError("there are no rows", wanted=f"rows with the columns {', '.join(COLUMNS)}")
    if all(row.get("tokens") for row in found):  # ours, whose shares sum to one unless the file is cut
        for _, shares in phases.values():
            must_sum_to_one(shares, "a file of ours")
    return tuple(Blend(phases[n][1], phases[n][0]) for n in sorted(phases))


def _launch(handed: Handover) -> str:
    return (
        "One row a phase and path: `share` of the phase's tokens, `tokens` to train on in the phase, `epochs` of the path.\n"
        "Draw sequences of a fixed length; a weight is a share of tokens, not of documents."
    )


def _is_json(name: str, text: str) -> bool:
    return name.endswith(".json") and '"rows"' in text and '"share"' in text


def _is_csv(name: str, text: str) -> bool:
    return name.endswith(".csv") and "share" in text.split("\n", 1)[0]


JSON = Exporter(
    name="json",
    title="Plain JSON",
    unit="tokens",
    tested_against="Cuvée's own reader",
    data="{slug}",
    reads="whatever lies at the paths",
    exhausted="that is your trainer's to decide; the epochs say how often it must repeat.",
    phases="native",
    render=_render_json,
    parse=_parse_json,
    recognises=_is_json,
    launch=_launch,
)
CSV = replace(JSON, name="csv", title="Plain CSV", render=_render_csv, parse=_parse_csv, recognises=_is_csv)
