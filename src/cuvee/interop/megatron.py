"""Megatron-LM: blend files for `--data-args-path`, and the same blend as JSON for `--per-split-data-args-path`.

A weight counts fixed-length sequences, hence tokens, so token shares go over as they are. A domain of several shards is
several prefixes that divide its share by their tokens. Read in megatron/training/arguments.py and
megatron/core/datasets/blended_dataset.py of Megatron-LM d98e8a64 (2026-08-22): a weight of zero fails an assertion, a
path with a space is taken for two, and a missing weight makes every weight a path; so none of these is written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from cuvee.base.errors import DataError
from cuvee.interop.record import Blend, Exporter, Handover, Stage, weights
from cuvee.interop.texts import phase_files

TESTED = (
    "Megatron-LM d98e8a64 (2026-08-22), its code read; its own parser and blending index run in megatron-core 0.16.1"
)
MOST = 32_767
"""Datasets that Megatron's index of a blend can number."""


def flat_list(handed: Handover, stage: Stage) -> list[str]:
    """Weight and prefix in turn, as strings.

    Raises:
        DataError: a path with white space, or more shards than Megatron can number.
    """
    found = weights(handed, stage, "tokens")
    for path in found:
        if len(path.split()) != 1:
            raise DataError(
                f"the shard path {path!r} contains white space, which Megatron's blend format splits",
                wanted="a path without white space",
                fix="move the corpus folder; its fingerprint stays the same",
            )
    if len(found) >= MOST:
        raise DataError(
            f"got {len(found):,} shards", wanted=f"fewer than {MOST:,}", fix="cuvee materialise --as megatron"
        )
    return [word for path, weight in found.items() for word in (f"{weight:.10g}", path)]


def blend_of(words: Sequence[str], start: int | None) -> Blend:
    """The blend of a flat list, as Megatron would have to read it.

    Raises:
        DataError: an odd number of words, or a word that should be a weight and is not: Megatron would take all of them
            for paths without a word.
    """
    if len(words) % 2 or not words:
        raise DataError(
            f"got {len(words)} words",
            wanted="weight and prefix in turn",
            fix="a weight is missing, or a path has a space: Megatron would read every weight as a path",
        )
    found: dict[str, float] = {}
    for word, path in zip(words[::2], words[1::2], strict=True):
        try:
            weight = float(word)
        except ValueError:
            weight = math.nan
        if not (math.isfinite(weight) and weight > 0):
            raise DataError(f"the weight of {path!r} is {word!r}", wanted="a number above 0, then its prefix")
        found[path] = found.get(path, 0.0) + weight
    return Blend(found, start)


def sequences(blend: Blend, handed: Handover, stage: Stage) -> Mapping[str, float]:
    """Sequences per prefix: Megatron fills slot after slot with the dataset that lags its weight most."""
    slots = max(1, stage.tokens // handed.seq_len)
    total = math.fsum(blend.weights.values())
    quota = {path: weight / total * slots for path, weight in blend.weights.items()}
    counts = {path: math.floor(q) for path, q in quota.items()}
    behind = sorted(quota, key=lambda path: counts[path] - quota[path])
    for path in behind[: slots - sum(counts.values())]:
        counts[path] += 1
    return counts


def steps(handed: Handover, tokens: int) -> int:
    """Optimiser steps of that many tokens."""
    return round(tokens / (handed.seq_len * handed.batch))


def step_starts(handed: Handover) -> list[int]:
    """The step at which each phase begins.

    Raises:
        DataError: a phase without a step of its own.
    """
    starts = [steps(handed, stage.start) for stage in handed.stages]
    ends = [*starts[1:], steps(handed, handed.tokens)]
    if len(starts) > 1 and any(end <= start for start, end in zip(starts, ends, strict=True)):
        raise DataError(
            f"in steps of {handed.batch * handed.seq_len:,} tokens the phases run over {[*starts, ends[-1]]}",
            wanted="a step of its own for every phase",
            fix="a smaller --batch or --seq-len, or longer phases",
        )
    return starts


def _render_blend(handed: Handover) -> Mapping[str, str]:
    step_starts(handed)
    files = {}
    for name, stage in zip(phase_files(len(handed.stages), "blend", "txt"), handed.stages, strict=True):
        words = flat_list(handed, stage)
        lines = [f"{weight} {path}" for weight, path in zip(words[::2], words[1::2], strict=True)]
        files[name] = "\n".join(lines) + "\n"
    return files


def _parse_blend(files: Mapping[str, str]) -> tuple[Blend, ...]:
    ordered = [files[name] for name in files]
    return tuple(blend_of(text.split(), None if len(ordered) > 1 else 0) for text in ordered)


def _render_split(handed: Handover) -> Mapping[str, str]:
    step_starts(handed)
    names = phase_files(len(handed.stages), "blend", "json")
    return {
        name: json.dumps({"train": flat_list(handed, s), "valid": None, "test": None}, indent=1) + "\n"
        for name, s in zip(names, handed.stages, strict=True)
    }


def _parse_split(files: Mapping[str, str]) -> tuple[Blend, ...]:
    return tuple(_split(name, files[name], None if len(files) > 1 else 0) for name in files)


def _split(name: str, text: str, start: int | None) -> Blend:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise DataError(f"{name} is no JSON: {error}", wanted="an object with train, valid and test") from error
    missing = [key for key in ("train", "valid", "test") if not isinstance(data, dict) or key not in data]
    if missing:
        raise DataError(
            f"{name} lacks {', '.join(missing)}", wanted="train, valid and test", fix="a split may be null, not absent"
        )
    train = data["train"]
    words = train.split() if isinstance(train, str) else train
    if not isinstance(words, list):
        raise DataError(f"{name}: train is {train!r}", wanted="a list or string of weight and prefix in turn")
    return blend_of([str(w) for w in words], start)


def launch(handed: Handover, option: str, suffix: str) -> str:
    """The launch lines, with the transitions between phases in steps."""
    tokenizer = handed.tokenizer or "YOUR_TOKENIZER.json"
    samples = handed.tokens // handed.seq_len
    lines = [
        "```",
        f"{option} blend-00.{suffix} --seq-length {handed.seq_len} --global-batch-size {handed.batch} \\",
        f"  --train-samples {samples} --seed {handed.seed} \\",
        f"  --tokenizer-type HuggingFaceTokenizer --tokenizer-model {tokenizer}",
        "```",
    ]
    if len(handed.stages) > 1:
        at = " ".join(map(str, step_starts(handed)[1:]))
        seeds = ", ".join(str(s.seed) for s in handed.stages)
        lines += [
            "",
            f"Add `--phase-transition-iterations {at}` and keep the global batch fixed: the run exits at each transition; launch",
            f"it again with the next blend file and the next `--seed` ({seeds}): a phase counts its samples from 0, and with the",
            "seed of the phase before it would read the same ones again.",
        ]
    return "\n".join(lines)


def _launch_blend(handed: Handover) -> str:
    return launch(handed, "--data-args-path", "txt").replace(" \\\n  --train", " --split 100,0,0 \\\n  --train")


def _launch_split(handed: Handover) -> str:
    return launch(handed, "--per-split-data-args-path", "json")


EXHAUSTED = "Megatron repeats it, without a word."
MEGATRON = Exporter(
    name="megatron",
    title="Megatron-LM blend",
    unit="tokens",
    tested_against=TESTED,
    data="shards",
    reads="indexed datasets (.bin and .idx), the corpus's own shards unless you gave another pattern",
    exhausted=EXHAUSTED,
    render=_render_blend,
    parse=_parse_blend,
    recognises=lambda name, text: name.endswith(".txt") and len(text.split()) > 1,
    launch=_launch_blend,
    rounded=sequences,
)
SPLIT = Exporter(
    name="megatron-split",
    title="Megatron-LM blend per split",
    unit="tokens",
    tested_against=TESTED,
    data="shards",
    reads=MEGATRON.reads,
    exhausted=EXHAUSTED,
    render=_render_split,
    parse=_parse_split,
    recognises=lambda name, text: name.endswith(".json") and '"train"' in text and '"valid"' in text,
    launch=_launch_split,
    rounded=sequences,
)
