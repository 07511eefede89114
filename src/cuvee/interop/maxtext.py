"""MaxText with grain: a JSON of paths and weights, `grain_train_mixture_config_path`, which may change on resume.

Weights count records before packing, so they are divided by the mean tokens of a document. A weight of zero is an error.
The form on the command line (`pattern,weight;...`) rounds shares to 4 decimals, which turns 0.00003 into that zero, so the
JSON is written; both are read. Read in MaxText e591f30c; how grain mixes is in `grainmix`. The names in the file are what
a checkpoint finds its places by.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from cuvee.base.errors import DataError
from cuvee.interop.grainmix import scaled
from cuvee.interop.record import Blend, Exporter, Handover, Stage, weights
from cuvee.interop.texts import collected, json_mapping, number, phase_files

_STRING = re.compile(r"grain_train_files\s*[:=]\s*(?P<value>[^\n]+)")


def _render(handed: Handover) -> Mapping[str, str]:
    names = phase_files(len(handed.stages), "mixture", "json")
    return {name: _phase(handed, stage) for name, stage in zip(names, handed.stages, strict=True)}


def _phase(handed: Handover, stage: Stage) -> str:
    entries = {}
    for path, weight in weights(handed, stage, "documents").items():
        source = handed.owner(path)
        assert source is not None
        name = source.slug if len(source.paths) == 1 else f"{source.slug}-{[p for p, _ in source.paths].index(path)}"
        entries[name] = {"path": path, "weight": float(f"{weight:.10g}")}
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


def _parse(files: Mapping[str, str]) -> tuple[Blend, ...]:
    start = None if len(files) > 1 else 0
    return tuple(Blend(collected(_pairs(name, files[name]), name), start) for name in files)


def _pairs(name: str, text: str) -> Iterator[tuple[str, float]]:
    if not text.lstrip().startswith("{"):
        yield from _inline(text, name)
        return
    for key, entry in json_mapping(name, text, "{name: {path, weight}}").items():
        if not isinstance(entry, dict) or "path" not in entry or "weight" not in entry:
            raise DataError(f"{name}: {key!r} is {entry!r}", wanted="{path: ..., weight: ...}")
        yield str(entry["path"]), _positive(entry["weight"], key)


def _inline(text: str, name: str) -> Iterator[tuple[str, float]]:
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    match = _STRING.search(text)
    value = (match["value"] if match else text).split(" #")[0].strip().rstrip("\\").strip().strip("'\"")
    parts = [part.rpartition(",") for part in value.split(";")]
    for path, comma, weight in parts:
        if not (comma and path):
            raise DataError(
                f"{name}: {path + comma + weight!r} has no weight",
                wanted="pattern,weight;pattern,weight",
                fix="a weight a pattern, no semicolon at the end",
            )
    found = [(path.strip(), _positive(weight, path)) for path, _, weight in parts]
    total = sum(weight for _, weight in found)
    for path, weight in found:
        yield path, _positive(round(weight / total, 4), path)


def _positive(value: object, name: str) -> float:
    weight = number(value, name)
    if weight == 0:
        raise DataError(
            f"the weight of {name!r} is 0",
            wanted="weights above 0",
            fix="leave it out; the inline form rounds to 4 decimals",
        )
    return weight


def _launch(handed: Handover) -> str:
    return (
        "```\ndataset_type=grain grain_file_type=arrayrecord grain_train_mixture_config_path=mixture-00.json\n```\n\n"
        "A phase changes by giving the next file on resume. Not with `grain_use_elastic_iterator`."
    )


MAXTEXT = Exporter(
    name="maxtext",
    title="MaxText with grain",
    unit="documents",
    tested_against="MaxText e591f30c, its source read; its mixing run with grain 0.2.18",
    data="data/{slug}.array_record*",
    reads="ArrayRecord files with a document a record",
    exhausted="after `num_epoch` passes the first source that ends stops the mixture.",
    render=_render,
    parse=_parse,
    recognises=lambda name, text: (
        (name.endswith(".json") and '"weight"' in text and '"path"' in text) or "grain_train_files" in text
    ),
    launch=_launch,
    rounded=scaled,
)
