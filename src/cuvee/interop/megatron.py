"""Megatron-LM: a blend file for `--data-args-path`, one per phase.

A weight counts fixed-length sequences, hence tokens, so token shares go over as they are. A domain of several shards is
several prefixes that divide its share by their tokens. Read in megatron/training/arguments.py and
megatron/core/datasets/blended_dataset.py of Megatron-LM d98e8a64 (2026-08-22): a weight of zero fails an assertion, a
path with a space is taken for two, and a missing weight makes every weight a path; so none of these is written.
"""

from __future__ import annotations

from pathlib import Path

from cuvee.base.errors import DataError
from cuvee.base.files import replace
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.shards.corpus import Corpus

TESTED_AGAINST = "Megatron-LM d98e8a64 (2026-08-22), blend format"


def write(schedule: Schedule, corpus: Corpus, folder: Path) -> tuple[Path, ...]:
    """Write `blend-NN.txt` per phase and a launch note; returns the files.

    Raises:
        DataError: a shard's path contains white space.
    """
    files = []
    for number, phase in enumerate(schedule.phases):
        path = folder / f"blend-{number:02d}.txt"
        text = "\n".join(f"{weight:.10g} {prefix}" for weight, prefix in blend(phase, corpus)) + "\n"
        replace(path, text.encode("utf-8"))
        assert abs(sum(w for w, _ in parse(path.read_text(encoding="utf-8"))) - 1) < 1e-6
        files.append(path)
    note = folder / "README.md"
    replace(note, _note(schedule, corpus, files).encode("utf-8"))
    return (*files, note)


def blend(phase: Phase, corpus: Corpus) -> list[tuple[float, str]]:
    """Weights and shard prefixes of one phase; domains and shards without tokens are left out."""
    rows = []
    for domain, share in phase.mixture.as_dict().items():
        split = corpus.domain(domain).train
        for shard in split.shards:
            prefix = str((corpus.path / shard.path).resolve())
            if len(prefix.split()) != 1:
                raise DataError(
                    f"the shard path {prefix!r} contains white space, which Megatron's blend format splits",
                    wanted="a path without white space",
                    fix="move the corpus folder; its fingerprint stays the same",
                )
            weight = share * shard.tokens / split.tokens
            if weight > 0:
                rows.append((weight, prefix))
    return rows


def parse(text: str) -> list[tuple[float, str]]:
    """The inverse of the file written, as Megatron reads it: alternating weights and prefixes.

    Raises:
        DataError: an odd number of words, or a word that should be a weight and is not.
    """
    words = text.split()
    if len(words) % 2:
        raise DataError(
            f"got {len(words)} words",
            wanted="weight and prefix in turn",
            fix="a weight is missing, or a path has a space",
        )
    try:
        return [(float(weight), prefix) for weight, prefix in zip(words[::2], words[1::2], strict=True)]
    except ValueError as error:
        raise DataError(f"a weight is not a number: {error}", wanted="weight and prefix in turn") from error


def _note(schedule: Schedule, corpus: Corpus, files: list[Path]) -> str:
    tokenizer = corpus.inventory.tokenizer
    lines = [
        "# Megatron-LM blend",
        "",
        f"Format as read by {TESTED_AGAINST}. Weights are shares of tokens.",
        "",
        "```",
        f"--data-args-path {files[0].name} --split 100,0,0 --vocab-size {tokenizer.vocab_size}",
        "```",
        "",
        "Megatron repeats a domain without a word when it runs out; the epochs of each domain at your token budget are in the report.",
    ]
    for phase, path in zip(schedule.phases, files, strict=True):
        lines += [
            "",
            f"## From {phase.start:,} tokens: `{path.name}`",
            "",
            "| domain | share | tokens available |",
            "|---|---|---|",
        ]
        lines += [f"| {d} | {s:.4%} | {corpus.train_tokens[d]:,} |" for d, s in phase.mixture.as_dict().items()]
    if len(files) > 1:
        lines += [
            "",
            "Phases: train to the start of the next phase, then relaunch with its blend and `--phase-transition-iterations`.",
        ]
    return "\n".join(lines) + "\n"
