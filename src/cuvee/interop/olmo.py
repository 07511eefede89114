"""OLMo-core: the YAML of `SourceMixtureList`, one a phase.

Ratios count tokens and are not normalised: they must sum to 1, so they have 12 digits and the largest takes what the
rounding leaves. Read in OLMo-core fa6c5014 and run in 3.0.0: a source without `max_repetition_ratio` is read at most
once, and a ratio that needs more is an error before training; `max_source_fraction` holds back a part of a source.
Tokens are allotted to files in whole sequences, by largest remainder; the run is rounded up to whole batches, and many
sequences left over are dealt out evenly to all files. Data files are raw token arrays without a header, whatever they
are called: their count is their size over the size of a token. `*` in a path is a pattern.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from cuvee.base.errors import DataError, InfeasibleError
from cuvee.interop.record import Blend, Exporter, Handover, Source, Stage, largest_last, weights
from cuvee.interop.texts import dump_yaml, inside, must_sum_to_one, number, phase_files, yaml_mapping

WANTED = "an OLMo-core source mixture: sources with source_name, target_ratio and paths"
DIGITS = 12


def _render(handed: Handover) -> Mapping[str, str]:
    files = phase_files(len(handed.stages), "source_mixture", "yaml")
    return {
        file: dump_yaml({"sources": _sources(handed, stage)}) for file, stage in zip(files, handed.stages, strict=True)
    }


def _sources(handed: Handover, stage: Stage) -> list[dict[str, object]]:
    paths = set(weights(handed, stage, "tokens"))
    ratios = largest_last({d: s / math.fsum(stage.shares.values()) for d, s in stage.shares.items()}, DIGITS)
    rows: list[dict[str, object]] = []
    for source in (s for s in handed.sources if s.domain in ratios):
        if not ratios[source.domain] > 0:
            raise DataError(
                f"the share of {source.domain!r} is {stage.shares[source.domain]:g}",
                wanted=f"at least 1e-{DIGITS}",
                fix="leave the domain out",
            )
        passes = _passes(handed, stage, source)
        row: dict[str, object] = {"source_name": source.domain, "target_ratio": ratios[source.domain]}
        if passes > 1:
            row["max_repetition_ratio"] = passes
        elif passes < 1:
            row["max_source_fraction"] = passes
        rows.append({**row, "paths": [path for path, _ in source.paths if path in paths]})
    return rows


def _passes(handed: Handover, stage: Stage, source: Source) -> float:
    """Most passes to allow in this phase: what the cap leaves after the other phases, else what the phase needs."""
    needed = stage.shares[source.domain] * stage.tokens / source.tokens
    if source.cap is None:
        return max(1.0, _up(needed))
    others = handed.epochs()[source.domain] - needed
    left = source.cap - others
    if needed > left * (1 + 1e-6):
        raise InfeasibleError(
            f"{source.domain!r} is read {needed + others:.3f} times, its cap is {source.cap:g}",
            wanted="at most its cap",
            fix="a shorter run (--tokens)",
        )
    return max(_up(needed), float(f"{left:.9g}"))


def _up(passes: float) -> float:
    """Rounded up, as a limit just below what is needed stops the run before it begins."""
    return math.ceil(passes * 1e6) / 1e6


def _parse(files: Mapping[str, str]) -> tuple[Blend, ...]:
    return tuple(_file(name, files[name], None if n else 0) for n, name in enumerate(files))


def _file(name: str, text: str, start: int | None) -> Blend:
    sources = inside(yaml_mapping(name, text, WANTED), "sources", name)
    if not isinstance(sources, list) or not sources:
        raise DataError(f"{name}: sources is {sources!r}", wanted=WANTED)
    ratios: dict[str, float] = {}
    found: dict[str, float] = {}
    caps: dict[str, float] = {}
    for row in sources:
        label, paths, ratio, passes = _row(name, row)
        if label in ratios:
            raise DataError(f"{name}: the source {label!r} is there twice", wanted="a name for each source")
        ratios[label] = ratio
        for path in paths if ratio > 0 else ():
            if path in found:
                raise DataError(f"{name}: the path {path!r} is in two sources", wanted="each path once")
            # The file does not say how many tokens a path holds; the sum over the paths of a source is what counts.
            found[path], caps[path] = ratio / len(paths), passes
    must_sum_to_one(ratios, "OLMo-core")
    return Blend(found, start, caps)


def _row(name: str, row: object) -> tuple[str, list[str], float, float]:
    if not isinstance(row, dict):
        raise DataError(f"{name}: a source is {row!r}", wanted=WANTED)
    missing = [key for key in ("source_name", "target_ratio", "paths") if key not in row]
    if missing:
        raise DataError(f"{name}: the source {row.get('source_name', '?')!r} has no {missing[0]}", wanted=WANTED)
    label, paths = str(row["source_name"]), row["paths"]
    if not isinstance(paths, list) or not paths:
        raise DataError(f"{name}: the paths of {label!r} are {paths!r}", wanted="a list of at least one path")
    repetition = number(row.get("max_repetition_ratio", 1.0), f"max_repetition_ratio of {label}")
    fraction = number(row.get("max_source_fraction", 1.0), f"max_source_fraction of {label}")
    if repetition < 1 or not 0 < fraction <= 1:
        raise DataError(
            f"{name}: {label!r} has max_repetition_ratio {repetition:g} and max_source_fraction {fraction:g}",
            wanted="a repetition of at least 1, a fraction above 0 and at most 1",
        )
    return label, [str(path) for path in paths], number(row["target_ratio"], label), repetition * fraction


def _allotted(blend: Blend, handed: Handover, stage: Stage) -> Mapping[str, float]:
    """Sequences per path, as OLMo-core allots them.

    A file is listed once for each started pass, and takes at most its whole sequences in each.
    """
    slots = _slots(blend, handed, stage)
    steps = math.ceil(stage.tokens / (handed.batch * handed.seq_len))
    wanted, rooms = steps * handed.batch, [most // handed.seq_len for _, _, most in slots]
    given = [min(tokens // handed.seq_len, room) for (_, tokens, _), room in zip(slots, rooms, strict=True)]
    open_slots = [i for i, room in enumerate(rooms) if given[i] < room]
    rests = {i: slots[i][1] % handed.seq_len for i in open_slots}
    if open_slots and wanted > sum(given):
        each = (wanted - sum(given)) // len(open_slots)
        for i in open_slots:
            given[i] += min(each, rooms[i] - given[i])
        able = sorted((i for i in open_slots if given[i] < rooms[i]), key=lambda i: (rests[i], i), reverse=True)
        for i in able[: max(0, wanted - sum(given))]:
            given[i] += 1
    counts: dict[str, float] = {}
    for (path, _, _), sequences in zip(slots, given, strict=True):
        counts[path] = counts.get(path, 0.0) + sequences
    return counts


def _slots(blend: Blend, handed: Handover, stage: Stage) -> list[tuple[str, int, int]]:
    """Path, tokens wanted and tokens there, for each file and started pass."""
    slots = []
    for source in handed.sources:
        sizes = [(path, tokens) for path, tokens in source.paths if path in blend.weights]
        ratio = round(math.fsum(blend.weights[path] for path, _ in sizes), DIGITS)
        passes = int(stage.tokens * ratio) / max(1, sum(tokens for _, tokens in sizes))
        while passes > 0:
            part = min(1.0, passes)
            slots += [(path, math.ceil(tokens * part), tokens) for path, tokens in sizes]
            passes -= part
    return slots


def _launch(handed: Handover) -> str:
    files = phase_files(len(handed.stages), "source_mixture", "yaml")
    lines = ["```python"]
    for file, stage in zip(files, handed.stages, strict=True):
        lines += [
            f"sources = SourceMixtureList.from_yaml({file!r})",
            "sources.validate()",
            "mixture = SourceMixtureDatasetConfig(",
            f"    source_list=sources, requested_tokens={stage.tokens}, global_batch_size={handed.batch * handed.seq_len}",
            ")",
        ]
    lines += [
        "```",
        "",
        f"Hand `mixture` to `NumpyFSLDatasetConfig.from_src_mix(mixture, ..., sequence_length={handed.seq_len})`.",
        "OLMo-core keeps the caps: a source that would be read more often than its max_repetition_ratio is an error.",
    ]
    if len(files) > 1:
        lines.append(
            "Each phase is a run of its own, that starts from the last checkpoint (`load_path`) with its own data."
        )
    return "\n".join(lines)


OLMO = Exporter(
    name="olmo-core",
    title="OLMo-core",
    unit="tokens",
    tested_against="OLMo-core 3.0.0, its mixture built and counted",
    data="data/{slug}/*.npy",
    reads="raw token arrays without a header (*.npy), of the tokenizer's integer type",
    exhausted="An error before training, unless max_repetition_ratio allows another pass.",
    caps=True,
    render=_render,
    parse=_parse,
    recognises=lambda name, text: name.endswith((".yaml", ".yml")) and "target_ratio" in text,
    launch=_launch,
    rounded=_allotted,
)
