"""Mixture files: `mixture.json` of exports and imports, and plain tables of shares written by people.

A mixture file of ours holds the phases with shares of tokens, the integer units that they are, and the tokens of a ramp where
there is one; that of a run's history also why each came, and what was served. People may write
`{domain: share}` as JSON or YAML, or a CSV with the columns domain and share; shares are of tokens, on any scale.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cuvee.base.codec import nearest, to_json
from cuvee.base.errors import CuveeError, DataError
from cuvee.base.files import FORMAT, dump_json, replace
from cuvee.interop.texts import json_mapping, number, yaml_mapping
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture
from cuvee.plan.choice import Estimate
from cuvee.stream.state import History

WANTED = "our mixture.json, {domain: share} as JSON or YAML, or a CSV with the columns domain and share"
KEYS = ("start", "shares", "units", "ramp")
"""Of a phase."""


def write_mixture(
    path: Path,
    schedule: Schedule,
    *,
    corpus: str,
    origin: str,
    predicted: Sequence[Estimate] = (),
    unit: str = "",
    tokens: int | None = None,
) -> None:
    """Write the schedule with where it is from.

    Args:
        corpus: The fingerprint of the corpus whose domains it mixes; empty when unknown.
        origin: The method that chose it, or `import:FORMAT`.
        predicted: What the method predicts of it.
        unit: Of the predicted objective.
        tokens: Of the run that it is for.
    """
    value = {
        "format": FORMAT,
        "unit": "tokens",
        "phases": [_phase(p) for p in schedule.phases],
        "corpus": corpus or None,
        "method": origin or None,
        "tokens": tokens,
        "predicted": to_json(tuple(predicted)),
        "predicted_unit": unit or None,
    }
    replace(path, dump_json(value))


def write_history(path: Path, history: History, *, corpus: str) -> None:
    """Write what a run has served as a mixture file: `read_mixture` gives the schedule that serves the same batches again.

    Args:
        corpus: The fingerprint of the corpus.
    """
    value = {
        "format": FORMAT,
        "unit": "tokens",
        "phases": [_phase(p) for p in history.schedule.phases],
        "corpus": corpus,
        "method": "history",
        "tokens": history.tokens,
        "log": [{"start": e.start, "cause": e.cause, "shares": e.mixture.as_dict()} for e in history.log],
        "served": {domain: to_json(served) for domain, served in history.domains.items()},
    }
    replace(path, dump_json(value))


def _phase(phase: Phase) -> dict[str, Any]:
    mixture, ramp = phase.mixture, {"ramp": phase.ramp} if phase.ramp else {}
    units = dict(zip(mixture.domains, mixture.units, strict=True))
    return {"start": phase.start, **ramp, "shares": mixture.as_dict(), "units": units}


def read_mixture(path: Path) -> Schedule:
    """The schedule in a mixture file.

    Raises:
        DataError: not a mixture file, written by a newer Cuvée, or shares that are no mixture.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}", wanted=WANTED) from error
    data = _table(text) if path.suffix.lower() == ".csv" else _mapping(path, text)
    try:
        if "phases" in data:
            return _ours(data)
        return Schedule.constant(Mixture.from_shares({str(k): number(v, str(k)) for k, v in data.items()}))
    except CuveeError as error:
        raise DataError(f"{path}: {error.what}", wanted=error.wanted or WANTED, fix=error.fix) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} holds no mixture: {type(error).__name__}: {error}", wanted=WANTED) from error


def ordered(schedule: Schedule, domains: Sequence[str]) -> Schedule:
    """The schedule over the corpus's domains in their order; domains that a file leaves out have no share.

    Raises:
        DataError: a domain that the corpus lacks.
    """
    unknown = [d for d in schedule.domains if d not in domains]
    if unknown:
        raise DataError(
            f"the mixture names {', '.join(unknown)}", wanted=f"domains of the corpus: {', '.join(domains)}"
        )
    phases = []
    for phase in schedule.phases:
        units = dict(zip(phase.mixture.domains, phase.mixture.units, strict=True))
        phases.append(Phase(phase.start, Mixture(tuple(domains), tuple(units.get(d, 0) for d in domains)), phase.ramp))
    return Schedule(tuple(phases))


def written_for(path: Path) -> tuple[str, int | None]:
    """The corpus fingerprint and the run's tokens that a mixture file of ours was written for; empty and None for others."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "", None
    known = data if isinstance(data, dict) and "phases" in data else {}
    tokens = known.get("tokens")
    return str(known.get("corpus") or ""), tokens if isinstance(tokens, int) else None


def _ours(data: Mapping[str, Any]) -> Schedule:
    if data.get("format") != FORMAT:
        raise DataError(
            f"it has the format {data.get('format')!r}",
            wanted=f"format {FORMAT}",
            fix="install the Cuvée that wrote it",
        )
    if data.get("unit", "tokens") != "tokens":
        raise DataError(f"its shares are of {data['unit']}", wanted="shares of tokens")
    phases = []
    for phase in data["phases"]:
        for key in phase.keys() - KEYS:
            raise DataError(f"a phase has {key!r}", wanted=f"of {', '.join(KEYS)}", fix=nearest(key, KEYS))
        if not {"start", "shares"} <= phase.keys():
            raise DataError(f"a phase has only {', '.join(phase)}", wanted="`start` and `shares`")
        units = phase.get("units")
        if units is not None:
            mixture = Mixture(tuple(units), tuple(int(u) for u in units.values()))
            if any(abs(float(phase["shares"].get(d, -1)) - s) > 1e-6 for d, s in mixture.as_dict().items()):
                raise DataError(
                    "its shares and its units disagree",
                    wanted="units that are the shares",
                    fix="remove `units` from the file to have them made from the shares",
                )
        else:
            mixture = Mixture.from_shares({str(k): number(v, str(k)) for k, v in phase["shares"].items()})
        start, ramp = phase["start"], phase.get("ramp", 0)
        if int(start) != start or int(ramp) != ramp:
            raise DataError(f"a phase starts at {start} with a ramp of {ramp}", wanted="whole tokens")
        phases.append(Phase(int(start), mixture, int(ramp)))
    return Schedule(tuple(phases))


def _mapping(path: Path, text: str) -> Mapping[str, Any]:
    read = json_mapping if path.suffix.lower() == ".json" else yaml_mapping
    return read(str(path), text, WANTED)


def _table(text: str) -> Mapping[str, Any]:
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows or not {"domain", "share"} <= set(rows[0]):
        raise DataError(f"the CSV has the columns {', '.join(rows[0]) if rows else '(none)'}", wanted=WANTED)
    found: dict[str, Any] = {}
    for row in rows:
        if None in row:
            raise DataError(
                f"the CSV row of {row['domain']!r} has more values than there are columns",
                wanted="a share with a decimal point, and quotes around a name with a comma",
            )
        if row["domain"] in found:
            raise DataError(f"the domain {row['domain']!r} is there twice", wanted="every domain once")
        found[row["domain"]] = row["share"]
    return found
