"""A choice in a trainer's own format: a folder with its configuration, a launch note and `mixture.json`.

What was rendered is parsed again before anything is written, put through the trainer's rounding and compared with what was
asked for, so that a folder that exists says what it should.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cuvee.base.errors import DataError, InfeasibleError, UsageError
from cuvee.base.files import replace
from cuvee.interop.handover import hand_over
from cuvee.interop.mixturefile import write_mixture
from cuvee.interop.record import Blend, Exporter, Handover, token_shares
from cuvee.interop.registry import exporter
from cuvee.mixture.schedule import Schedule
from cuvee.plan.choice import Choice
from cuvee.shards.corpus import Corpus

TOLERANCE = 0.001
"""Largest difference between the share of tokens asked for and the one that the trainer will deliver."""


@dataclass(frozen=True)
class Delivered:
    """A domain in a phase: share of tokens asked for and delivered, and passes over it in the whole run."""

    phase: int
    domain: str
    requested: float
    achieved: float
    epochs: float
    cap: float | None


@dataclass(frozen=True)
class Exported:
    """What was written, and what the trainer will make of it."""

    to: str
    unit: str
    tokens: int
    files: tuple[str, ...]
    rows: tuple[Delivered, ...]

    def __str__(self) -> str:
        lines = [
            f"{self.to}: weights count {self.unit}; a run of {self.tokens:,} tokens",
            f"  {'phase':>5} {'domain':<20} {'requested':>10} {'achieved':>10} {'epochs':>8} {'cap':>6}",
        ]
        for r in self.rows:
            cap = "-" if r.cap is None else f"{r.cap:g}"
            lines.append(
                f"  {r.phase:>5} {r.domain:<20.20} {r.requested:>10.3%} {r.achieved:>10.3%} {r.epochs:>8.2f} {cap:>6}"
            )
        return "\n".join([*lines, *self.files])


def export(
    choice: Choice | Schedule,
    to: str,
    corpus: Corpus,
    *,
    out: str | Path,
    tokens: int | None = None,
    data: str | None = None,
    caps: Mapping[str, float] | None = None,
    seq_len: int = 2048,
    batch: int = 512,
    seed: int = 0,
    row_limit: int | None = None,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Write the schedule of `choice` for the trainer `to` into the folder `out`.

    Beside the trainer's files there are a launch note, `README.md`, and `mixture.json` with the phases as shares of tokens
    and integer units, the corpus fingerprint and where the mixture is from.

    Args:
        choice: What to train on.
        to: A name of `cuvee.interop.registry.EXPORTERS`.
        corpus: The corpus that the choice is about.
        out: The folder.
        tokens: Of the run; as many as the corpus has for training when left out.
        data: Where the trainer finds a domain, a pattern with {slug} or {domain}; the exporter's own when left out.
        caps: Domain -> most passes over it in the run.
        seq_len, batch: Tokens of a sequence, sequences of a step, for formats that count them.
        seed: For the trainer's own shuffling.
        row_limit: Tokens at which the trainer cuts documents; only for formats whose weights count documents.
        tolerance: Largest difference of a share of tokens from what was asked for.

    Raises:
        UsageError: an unknown trainer, or a schedule over other domains than the corpus has.
        DataError: a name or path that the format cannot hold.
        InfeasibleError: a broken cap, or a share that the format cannot deliver within the tolerance.
    """
    record = exporter(to)
    schedule = choice.schedule if isinstance(choice, Choice) else choice
    handed = hand_over(
        schedule, corpus, record, tokens=tokens, data=data, caps=caps or {}, seq_len=seq_len, batch=batch, seed=seed,
        row_limit=row_limit,
    )  # fmt: skip
    files = dict(record.render(handed))
    rows = deliver(record, handed, files, tolerance)
    return _write(Path(out), record, handed, files, rows, choice, corpus)


def deliver(record: Exporter, handed: Handover, files: Mapping[str, str], tolerance: float) -> tuple[Delivered, ...]:
    """What the trainer will deliver of `files`, by parsing them and simulating its rounding.

    Trainers count whole sequences, so in a phase of fewer than 1 / `tolerance` of them the bound is one sequence.

    Raises:
        InfeasibleError: a share off by more than `tolerance`, or one that is rounded away.
    """
    blends = record.parse(files)
    if len(blends) != len(handed.stages):
        raise DataError(f"the files for {record.name} hold {len(blends)} phases", wanted=f"{len(handed.stages)}")
    epochs, rows, off = handed.epochs(), [], []
    for number, (blend, stage) in enumerate(zip(blends, handed.stages, strict=True)):
        _check_start(blend, stage.start, handed, record)
        achieved = token_shares(record.rounded(blend, handed, stage), handed, record.unit)
        bound = max(tolerance, handed.seq_len / stage.tokens)
        for source in handed.sources:
            asked, got = stage.shares.get(source.domain, 0.0), achieved[source.domain]
            rows.append(Delivered(number, source.domain, asked, got, epochs[source.domain], source.cap))
            if abs(got - asked) > bound or (got == 0) != (asked == 0):
                off.append(rows[-1])
    if off:
        worst = max(off, key=lambda r: abs(r.achieved - r.requested))
        raise InfeasibleError(
            f"{record.title} would train on {worst.achieved:.4%} of {worst.domain} in phase {worst.phase} where "
            f"{worst.requested:.4%} was asked for ({len(off)} shares are off by more than {tolerance:.2%} or vanish)",
            wanted=f"every share within {tolerance:.2%} (or one sequence) of its value, none rounded to zero",
            fix="a longer run, a mixture without tiny shares, a larger --tolerance, or cuvee materialise",
        )
    return tuple(rows)


def _check_start(blend: Blend, start: int, handed: Handover, record: Exporter) -> None:
    step = handed.seq_len * handed.batch
    if blend.start is not None and abs(blend.start - start) > step:
        raise DataError(f"{record.name} starts a phase at {blend.start:,} tokens", wanted=f"{start:,}, within one step")


def _write(
    folder: Path,
    record: Exporter,
    handed: Handover,
    files: Mapping[str, str],
    rows: tuple[Delivered, ...],
    choice: Choice | Schedule,
    corpus: Corpus,
) -> Exported:
    _refuse_others(folder, set(files))
    written = []
    for name, text in {**files, "README.md": _note(record, handed, rows)}.items():
        replace(folder / name, text.encode("utf-8"))
        written.append(folder / name)
    schedule = choice.schedule if isinstance(choice, Choice) else choice
    origin = choice.method if isinstance(choice, Choice) else ""
    predicted, unit = (choice.predicted, choice.unit) if isinstance(choice, Choice) else ((), "")
    written.append(folder / "mixture.json")
    write_mixture(
        written[-1],
        schedule,
        corpus=corpus.fingerprint,
        origin=origin,
        predicted=predicted,
        unit=unit,
        tokens=handed.tokens,
    )
    return Exported(record.name, record.unit, handed.tokens, tuple(map(str, written)), rows)


def _refuse_others(folder: Path, names: set[str]) -> None:
    """Refuse to write beside files of further phases, which would be taken for this mixture's.

    Raises:
        UsageError: there are some.
    """
    stems = {(re.sub(r"\d+$", "", Path(n).stem), Path(n).suffix) for n in names if re.search(r"\d$", Path(n).stem)}
    present = folder.iterdir() if folder.is_dir() else iter(())
    others = [p.name for p in present if (re.sub(r"\d+$", "", p.stem), p.suffix) in stems and p.name not in names]
    if others:
        raise UsageError(
            f"{folder} holds {', '.join(sorted(others))} of an earlier export",
            wanted="a folder without files of other phases",
            fix="another --out, or remove them",
        )


def _note(record: Exporter, handed: Handover, rows: tuple[Delivered, ...]) -> str:
    lines = [
        f"# {record.title}",
        "",
        f"Weights count {record.unit}. Format: {record.tested_against}.",
        f"The trainer reads {record.reads}.",
        "",
        record.launch(handed).strip(),
        "",
        f"## What a run of {handed.tokens:,} tokens trains on",
        "",
        "| phase | from tokens | domain | share asked for | share delivered | epochs in the run | cap |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        cap = "-" if r.cap is None else f"{r.cap:g}"
        lines.append(
            f"| {r.phase} | {handed.stages[r.phase].start:,} | {r.domain.replace('|', chr(92) + '|')} | {r.requested:.4%} | "
            f"{r.achieved:.4%} | {r.epochs:.2f} | {cap} |"
        )
    lines += ["", f"When a source runs out: {record.exhausted}"]
    if not record.caps:
        lines += [
            "",
            f"The format has no caps: the epochs above hold for {handed.tokens:,} tokens; a longer run breaks them.",
        ]
    if len(handed.stages) > 1 and record.phases == "relaunch":
        lines += [
            "",
            "A phase is a file of its own: train to the start of the next one, then launch again with its file.",
        ]
    return "\n".join(lines) + "\n"
