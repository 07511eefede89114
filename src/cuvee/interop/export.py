"""A choice in a trainer's own format: a folder with its configuration, a launch note and `mixture.json`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cuvee.base.codec import nearest, to_json
from cuvee.base.errors import UsageError
from cuvee.base.files import FORMAT, dump_json, replace
from cuvee.interop import megatron
from cuvee.mixture.schedule import Schedule
from cuvee.plan.choice import Choice
from cuvee.shards.corpus import Corpus

EXPORTERS: dict[str, Callable[[Schedule, Corpus, Path], tuple[Path, ...]]] = {"megatron": megatron.write}


def export(choice: Choice | Schedule, to: str, corpus: Corpus, *, out: str | Path) -> tuple[Path, ...]:
    """Write the schedule of `choice` for the trainer `to` into the folder `out`; returns the files written.

    Beside the trainer's files, `mixture.json` holds the phases with token shares and integer units, the corpus
    fingerprint and, for a choice, the method.

    Raises:
        UsageError: an unknown trainer, or a schedule over other domains than the corpus has.
        DataError: something that the trainer's format cannot say (see the trainer's page).
    """
    if to not in EXPORTERS:
        raise UsageError(f"no exporter {to!r}", wanted=f"one of {', '.join(EXPORTERS)}", fix=nearest(to, EXPORTERS))
    schedule = choice.schedule if isinstance(choice, Choice) else choice
    if schedule.domains != corpus.domains:
        raise UsageError(
            f"the schedule mixes {', '.join(schedule.domains)}; the corpus holds {', '.join(corpus.domains)}",
            wanted="the corpus that the choice was made for",
            fix="open that corpus, or run the study on this one",
        )
    folder = Path(out)
    written = EXPORTERS[to](schedule, corpus, folder)
    provenance = folder / "mixture.json"
    phases = [
        {
            "start": p.start,
            "shares": p.mixture.as_dict(),
            "units": dict(zip(p.mixture.domains, p.mixture.units, strict=True)),
        }
        for p in schedule.phases
    ]
    value = {
        "format": FORMAT,
        "unit": "tokens",
        "phases": phases,
        "corpus": corpus.fingerprint,
        "method": choice.method if isinstance(choice, Choice) else None,
        "predicted": to_json(choice.predicted) if isinstance(choice, Choice) else [],
    }
    replace(provenance, dump_json(value))
    return (*written, provenance)
