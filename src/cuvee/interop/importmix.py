"""A team's present blend, read from its trainer's files into shares of tokens: a baseline and prior for a study."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from cuvee.base.codec import nearest
from cuvee.base.errors import CuveeError, DataError, UsageError
from cuvee.interop.record import Blend, Exporter
from cuvee.interop.registry import EXPORTERS, exporter
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.corpus import Corpus


@dataclass(frozen=True)
class Imported:
    """What was read: the format, what its weights count, the schedule in shares of tokens, and how paths became domains."""

    exporter: str
    unit: str
    schedule: Schedule
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.exporter}: weights count {self.unit}; as shares of tokens:"]
        for phase in self.schedule.phases:
            lines.append(f"  from {phase.start:,} tokens")
            lines += [f"    {d:<20} {s:.4%}" for d, s in phase.mixture.as_dict().items()]
        return "\n".join([*lines, *self.notes])


def import_mix(
    files: Sequence[Path | str],
    corpus: Corpus | None = None,
    *,
    source: str | None = None,
    names: Mapping[str, str] | None = None,
    starts: Sequence[int] = (),
    row_limit: int | None = None,
) -> Imported:
    """The blend in a trainer's files as a schedule over the corpus's domains; without a corpus, over the paths' names.

    Args:
        files: One file a phase, or all files of one configuration.
        corpus: Whose domains the paths are; needed where weights count documents.
        source: The format, a name of `cuvee exporters`; recognised when left out.
        names: Path in the file -> domain, where the path does not say it.
        starts: Tokens at which the phases begin, where the format does not say it.
        row_limit: Tokens at which the trainer cuts documents, for weights that count documents.

    Raises:
        UsageError: an unknown format, a format of document weights without a corpus, phases without starts.
        DataError: a file that is not in that format, or paths that are no domain's.
    """
    texts = {Path(f).name: _read(Path(f)) for f in files}
    if len(texts) < len(files):
        raise UsageError(
            f"two files of one name among {', '.join(map(str, files))}",
            wanted="a name of its own for every file",
            fix="rename them, in the order of the phases",
        )
    record = exporter(source) if source else _recognised(texts)
    blends = record.parse(texts)
    if record.unit == "documents" and corpus is None:
        raise UsageError(
            f"the weights of {record.title} count documents, which only a corpus can turn into tokens",
            fix="--corpus DIR, the corpus that it mixes",
        )
    begins = _starts(blends, starts)
    owners = {p: _owner(p, corpus, names or {}) for blend in blends for p in blend.weights}
    _check_matched(owners, corpus)
    if corpus is None and len(set(owners.values())) < len(owners):
        raise UsageError(
            f"several paths have one name: {', '.join(owners)}",
            wanted="a name for each",
            fix="--map PATH=DOMAIN, or --corpus DIR",
        )
    phases = [
        Phase(b, _mixture(blend, owners, corpus, record, row_limit)) for b, blend in zip(begins, blends, strict=True)
    ]
    matched = tuple(f"{path} is {domain}" for path, domain in owners.items())
    return Imported(record.name, record.unit, Schedule(tuple(phases)), matched)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}", wanted="a trainer's text file") from error


def _recognised(texts: Mapping[str, str]) -> Exporter:
    """The one format that recognises every file and can parse them."""
    found: list[Exporter] = []
    for name in EXPORTERS:
        record = exporter(name)
        if any(record.recognises(n, t) for n, t in texts.items()):
            try:
                record.parse(texts)
            except (CuveeError, ValueError):
                if len(texts) == 1 and not found:
                    found.append(record)  # the only candidate says better than we what is wrong with it
                continue
            return record
    if found:
        return found[0]
    raise UsageError(
        f"the format of {', '.join(texts)} is not recognised",
        wanted=f"one of {', '.join(EXPORTERS)}",
        fix="--from NAME",
    )


def _starts(blends: Sequence[Blend], given: Sequence[int]) -> list[int]:
    if given and len(given) != len(blends):
        raise UsageError(f"got {len(given)} starts for {len(blends)} phases", wanted="one a phase, the first 0")
    if given:
        return list(given)
    found = [blend.start for blend in blends]
    if len(blends) == 1:
        return [0]
    if any(start is None for start in found):
        raise UsageError(
            f"the files hold {len(blends)} phases and do not say when they start",
            wanted="tokens of training at which each begins",
            fix="--starts 0 --starts 20M, one a file, in their order",
        )
    return [int(start or 0) for start in found]


def _owner(path: str, corpus: Corpus | None, names: Mapping[str, str]) -> str | None:
    """The domain of a path: as told, one of the corpus's shards, or named in its parts, the last first.

    A name as it is written comes before one in other capitals, and that counts only where one domain is meant.
    """
    if path in names:
        return names[path]
    parts = [part for part in reversed(PurePosixPath(path).parts) if part not in ("/", "train")]
    if corpus is None:
        return next((bare for part in parts if (bare := _bares(part)[-1])), path)
    for info in corpus.inventory.domains:
        if any(Path(path) == (corpus.path / shard.path).resolve() for shard in info.train.shards):
            return info.name
    exact = {key: d.name for d in corpus.inventory.domains for key in (d.slug, d.name)}
    folded: dict[str, set[str]] = {}
    for key, domain in exact.items():
        folded.setdefault(key.casefold(), set()).add(domain)
    for part in parts:
        for candidate in _bares(part):
            found = {exact[candidate]} if candidate in exact else folded.get(candidate.casefold(), set())
            if len(found) == 1:
                return next(iter(found))
    return None


_ENDINGS = re.compile(r"(_text_document|_text_sentence|\.[A-Za-z_]{2,14})$")


def _bares(part: str) -> list[str]:
    """A part of a path without its glob, and then without one known ending after the other."""
    found = [part.split("*", 1)[0].rstrip("-_.")]
    while (shorter := _ENDINGS.sub("", found[-1])) != found[-1]:
        found.append(shorter.rstrip("-_."))
    return found


def _check_matched(owners: Mapping[str, str | None], corpus: Corpus | None) -> None:
    domains = corpus.domains if corpus else ()
    lost = [path for path, domain in owners.items() if domain is None or (domains and domain not in domains)]
    if lost:
        hint = nearest(str(owners[lost[0]] or _bares(PurePosixPath(lost[0]).name)[-1]), domains)
        raise DataError(
            f"no domain of the corpus is meant by {', '.join(lost)}",
            wanted=f"paths that name one of {', '.join(domains)}",
            fix=f"--map '{lost[0]}=DOMAIN'" + (f"; {hint}" if hint else ""),
        )


def _mixture(
    blend: Blend, owners: Mapping[str, str | None], corpus: Corpus | None, record: Exporter, row_limit: int | None
) -> Mixture:
    domains: Iterable[str] = corpus.domains if corpus else dict.fromkeys(map(str, owners.values()))
    shares = dict.fromkeys(domains, 0.0)
    for path, weight in blend.weights.items():
        domain = str(owners[path])
        shares[domain] += weight * (
            _row_tokens(corpus, domain, row_limit) if record.unit == "documents" and corpus else 1.0
        )
    if not math.fsum(shares.values()) > 0:
        raise DataError("all weights are zero", wanted="at least one source with a weight")
    return Mixture.from_shares(shares)


def _row_tokens(corpus: Corpus, domain: str, row_limit: int | None) -> float:
    lengths = np.asarray(corpus.source(domain, "train").lengths, np.float64)
    return float((np.minimum(lengths, row_limit) if row_limit else lengths).mean())
