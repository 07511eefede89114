"""Hugging Face datasets: `interleave_datasets` in a Python file, for its Trainer, accelerate and anything that iterates.

Probabilities are per row, so they are divided by the mean tokens of a row, and must sum to 1. Rows are drawn at random:
shares hold in expectation. Its stopping strategies all go by the sources (`all_exhausted` ended a phase of 32,600 rows after
27,585), so each source repeats for ever and the phase's rows are taken. Read in datasets b7cb10b0, run with 5.2.0.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from typing import Any

from cuvee.base.errors import DataError
from cuvee.interop.record import Blend, Exporter, Handover, Stage, largest_last, weights
from cuvee.interop.texts import (
    assigned,
    called_name,
    calls,
    collected,
    literal,
    must_sum_to_one,
    number,
    phase_files,
    python_tree,
)

TEXT = '''"""The mixture from {start:,} to {stop:,} tokens: rows of each domain, drawn with these probabilities (they count rows)."""

from datasets import IterableDataset, interleave_datasets, load_dataset

FILES = (
{files})
PROBABILITIES = (
{numbers})
SKIPPED = ({skipped})  # rows that earlier phases took, about
ROWS = {rows}  # of the phase; rows differ in length, so its tokens hold in expectation


def mixture(seed: int = {seed}) -> IterableDataset:
    """The rows of the phase, in order."""
    parts = [load_dataset("json", data_files=f, split="train", streaming=True).repeat(None) for f in FILES]
    parts = [part.skip(rows) for part, rows in zip(parts, SKIPPED, strict=True)]
    return interleave_datasets(parts, probabilities=list(PROBABILITIES), seed=seed).take(ROWS)
'''


def rows_of(handed: Handover, stage: Stage) -> dict[str, float]:
    """Path -> rows that hold the phase's tokens of its domain."""
    found = {}
    for source in handed.sources:
        share = stage.shares.get(source.domain, 0.0)
        for path, tokens in source.paths:
            if share * tokens > 0:
                found[path] = share * stage.tokens * tokens / source.tokens / source.row_tokens
    return found


def _render(handed: Handover) -> Mapping[str, str]:
    names = phase_files(len(handed.stages), "mixture", "py")
    return {n.replace("-", "_"): _phase(handed, s) for n, s in zip(names, handed.stages, strict=True)}


def _phase(handed: Handover, stage: Stage) -> str:
    found = largest_last(weights(handed, stage, "documents"), 10)
    taken = sum((Counter(rows_of(handed, s)) for s in handed.stages if s.stop <= stage.start), Counter[str]())
    return TEXT.format(
        start=stage.start,
        stop=stage.stop,
        files="".join(f"    {path!r},\n" for path in found),
        numbers="".join(f"    {weight:.10g},\n" for weight in found.values()),
        rows=round(sum(rows_of(handed, stage).values())),
        skipped="".join(f"{round(taken.get(path, 0))}, " for path in found),
        seed=stage.seed,
    )


def _parse(files: Mapping[str, str]) -> tuple[Blend, ...]:
    return tuple(_blend(name, files[name], None if len(files) > 1 else 0) for name in files)


def _blend(name: str, text: str, start: int | None) -> Blend:
    tree = python_tree(name, text)
    if "PROBABILITIES" in text and "FILES" in text:
        paths, amounts = assigned(tree, "FILES"), assigned(tree, "PROBABILITIES")
    else:
        nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and called_name(n) == "interleave_datasets"]
        found = {k.arg: k.value for k in nodes[0].keywords if k.arg} if nodes else {}
        if "probabilities" not in found:
            raise DataError(f"{name} has no interleave_datasets with probabilities", wanted="probabilities=[...]")
        paths, amounts = _sources(name, tree, found, nodes[0]), _amounts(found["probabilities"], tree)
    if len(paths) != len(amounts):
        raise DataError(f"{name}: {len(paths)} sources and {len(amounts)} probabilities", wanted="one a source")
    pairs = ((str(p), number(w, str(p))) for p, w in zip(paths, amounts, strict=True))
    blend = collected(pairs, name)
    must_sum_to_one(blend, "datasets")
    return Blend(blend, start)


def _amounts(node: Any, tree: Any) -> Any:
    return assigned(tree, node.id) if hasattr(node, "id") else literal(node, "probabilities")


def _sources(name: str, tree: Any, found: Mapping[str, Any], call: Any) -> list[str]:
    """The file behind each element of the list that is interleaved, by call or by the variable that holds it."""
    listed = call.args[0] if call.args else found.get("datasets")
    held = {
        t.id: n.value for n in ast.walk(tree) if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)
    }
    for _ in range(20):  # a variable may be set to itself
        listed = held.get(listed.id, listed) if isinstance(listed, ast.Name) else listed
    if not isinstance(listed, ast.List | ast.Tuple):
        raise DataError(f"{name}: the datasets that are interleaved are no list", wanted="interleave_datasets([...])")
    return [_file(name, element, held) for element in listed.elts]


def _file(name: str, element: Any, held: Mapping[str, Any]) -> str:
    for _ in range(20):  # through variables and methods such as .shuffle() to the call that loads
        if isinstance(element, ast.Name) and element.id in held:
            element = held[element.id]
        elif (
            isinstance(element, ast.Call)
            and isinstance(element.func, ast.Attribute)
            and element.func.attr != "load_dataset"
        ):
            element = element.func.value
        else:
            break
    loads = next(calls(element, "load_dataset"), {}) if isinstance(element, ast.Call) else {}
    if "data_files" not in loads:
        raise DataError(
            f"{name}: an interleaved dataset is not loaded from data_files in this file",
            wanted="load_dataset(..., data_files=...) for every one of them",
        )
    value = literal(loads["data_files"], "data_files")
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise DataError(f"{name}: data_files is {value!r}", wanted="one file or pattern a dataset")
    return value


def _launch(handed: Handover) -> str:
    return """```python
from transformers import Trainer
from mixture_00 import mixture

trainer = Trainer(model, args, train_dataset=mixture().map(tokenise, batched=True))   # accelerate: prepare(DataLoader(...))
```

With several DataLoader workers each stops its own part: give every domain at least as many files as workers."""


HF = Exporter(
    name="hf",
    title="Hugging Face datasets",
    unit="documents",
    tested_against="datasets 5.2.0, the written file run and its rows counted",
    data="data/{slug}/*.jsonl",
    reads="JSONL with a `text` field",
    exhausted="it starts again (`repeat(None)`), until the rows of the phase are taken.",
    render=_render,
    parse=_parse,
    recognises=lambda name, text: name.endswith(".py") and "interleave_datasets" in text,
    launch=_launch,
)
