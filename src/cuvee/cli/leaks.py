"""Refuse targets that are in the training text; look once for each corpus and file."""

from __future__ import annotations

import json
from pathlib import Path

from cuvee.base.codec import SchemaError, content_id, from_json, to_json
from cuvee.base.files import dump_json, replace
from cuvee.base.progress import Bar, Progress
from cuvee.cli.studyfile import Question
from cuvee.corpus.leaks import Leakage, leakage, refuse_leaks
from cuvee.interop.targets import TargetFile


def check_leaks(question: Question, allow: bool) -> dict[str, Leakage]:
    """What of each target file is in the train split, by target.

    What was found is kept in the study's folder, where there is one.

    Raises:
        DataError: too much of one, unless `allow`; then it is only said.
    """
    found = {}
    for target in question.targets:
        with Bar(f"{target.measure.name} in train", 1) as bar:
            found[target.measure.name] = _looked_for(question, target, bar)
            bar.say(_said(target, found[target.measure.name]))
    if not allow:
        for name, leak in found.items():
            refuse_leaks(question.file.measures[name].file or name, leak)
    return found


def _looked_for(question: Question, target: TargetFile, progress: Progress) -> Leakage:
    key = content_id({"corpus": question.corpus.fingerprint, "examples": list(target.texts)})
    path = question.folder / "inputs" / f"{key}.leak.json"
    if (known := _known(path)) is not None:
        return known
    found = leakage(target.texts, question.corpus, progress)
    if (question.folder / "study.json").exists():
        replace(path, dump_json(to_json(found)))
    return found


def _known(path: Path) -> Leakage | None:
    try:
        return from_json(Leakage, json.loads(path.read_bytes()))
    except (OSError, ValueError, SchemaError):
        return None


def _said(target: TargetFile, leak: Leakage) -> str:
    return (
        f"target {target.measure.name}: {target.examples:,} examples of kind {target.measure.kind} "
        f"({target.duplicates:,} of them duplicates), {target.scored:,} scored; {leak.shared_share:.1%} of their runs of "
        f"words and {leak.leaked_share:.1%} of the examples are in the train split"
    )
