"""torchtitan: a Python file that builds its `DatasetMixConfig`, one a phase.

Each domain is packed into rows of fixed length first and the rows are mixed then, so that weights count tokens; the other
nesting, mixing before packing, would count documents. Read in torchtitan b5bcd76c (2026-08-21): weights must be above 0
and are normalised, and grain mixes. `repeat=True` of the loader repeats for ever; without it training stops at the first
source that runs out. The order of sources seeds their shuffling: a phase leaves sources out and never reorders them.
The release 0.3.0 has no such components yet. Files are read as syntax and never run.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from cuvee.base.errors import DataError
from cuvee.interop.grainmix import proportions, scaled
from cuvee.interop.record import Blend, Exporter, Handover, weights
from cuvee.interop.texts import calls, collected, literal, number, phase_files, python_tree

WANTED = "WeightedDataset(dataset=..., weight=...) over a literal path, packed before it is mixed"
PACKERS = ("ConcatThenSplitPackingConfig", "FirstFitPackingConfig")

_HEAD = '''\
"""The data of one phase, for `config.dataloader` of a torchtitan configuration. Weights are shares of tokens."""

from torchtitan.components.data import (
    ConcatThenSplitPackingConfig,
    DatasetMixConfig,
    GrainDataLoader,
    IndexedJsonlSource,
    SingleDatasetConfig,
    WeightedDataset,
)
from torchtitan.hf_datasets.text_datasets import TextProcessor


def text_of(row):
    return row["text"]


def not_empty(sample):
    return sample is not None


def packed(pattern):
    """Rows of fixed length of one source: packed before mixing, so that weights count tokens."""
    return ConcatThenSplitPackingConfig(
        dataset=SingleDatasetConfig(
            source=IndexedJsonlSource.Config(patterns=(pattern,)),
            processor=TextProcessor.Config(text_fn=text_of),
            post_filters=(not_empty,),
        )
    )


dataloader = GrainDataLoader.Config(
    dataset=DatasetMixConfig(
        datasets=(
'''


def _render(handed: Handover) -> Mapping[str, str]:
    files = phase_files(len(handed.stages), "dataloader", "py")
    return {
        file: _HEAD
        + "".join(
            f"            WeightedDataset(dataset=packed({path!r}), weight={weight:.12g}),\n"
            for path, weight in weights(handed, stage, "tokens").items()
        )
        + f"        )\n    ),\n    seed={stage.seed},\n    shuffle=True,\n    repeat=True,\n)\n"
        for file, stage in zip(files, handed.stages, strict=True)
    }


def _parse(files: Mapping[str, str]) -> tuple[Blend, ...]:
    return tuple(Blend(_file(name, files[name]), None if n else 0) for n, name in enumerate(files))


def _file(name: str, text: str) -> dict[str, float]:
    tree = python_tree(name, text)
    values = {
        t.id: n.value for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)
    }
    packers = {n.name for n in tree.body if isinstance(n, ast.FunctionDef) and _packs(n)}
    _unpacked(name, tree, values)
    if sum(1 for _ in calls(tree, "DatasetMixConfig")) > 1:
        raise DataError(f"{name} mixes mixes", wanted="one DatasetMixConfig, with the weights multiplied out")
    pairs = []
    for number_, call in enumerate(calls(tree, "WeightedDataset")):
        missing = [key for key in ("dataset", "weight") if key not in call]
        if missing:
            raise DataError(f"{name}: source {number_} has no {' and no '.join(missing)}", wanted=WANTED)
        dataset = _followed(call["dataset"], values)
        if not _packs(dataset) and not (isinstance(dataset, ast.Call) and getattr(dataset.func, "id", "") in packers):
            raise DataError(
                f"{name}: source {number_} is mixed before it is packed, so its weight counts documents",
                wanted=WANTED,
                fix="put ConcatThenSplitPackingConfig around each source instead of around the mix",
            )
        path = _path(dataset, values, f"{name}: source {number_}")
        pairs.append((path, number(literal(call["weight"], f"{name}: the weight of {path!r}"), path)))
    found = collected(iter(pairs), name)
    proportions(found)
    return found


def _followed(node: ast.expr, values: Mapping[str, ast.expr]) -> ast.expr:
    """What a name stands for; names of names at most as often as there are names, as a file may be circular."""
    for _ in values:
        if not (isinstance(node, ast.Name) and node.id in values):
            break
        node = values[node.id]
    return node


def _packs(node: ast.AST) -> bool:
    return any(any(True for _ in calls(node, packer)) for packer in PACKERS)


def _unpacked(name: str, tree: ast.Module, values: Mapping[str, ast.expr]) -> None:
    for packer in PACKERS:
        for call in calls(tree, packer):
            inner = _followed(call["dataset"], values) if "dataset" in call else None
            if inner is not None and any(True for _ in calls(inner, "DatasetMixConfig")):
                raise DataError(
                    f"{name}: {packer} is around the mix, so that weights count documents",
                    wanted=WANTED,
                    fix="pack each source, then mix",
                )


def _path(node: ast.expr, values: Mapping[str, ast.expr], what: str) -> str:
    """The one text that a source is built of: `patterns=("...",)`, `path="..."`, or the argument of a function."""
    for source in ("patterns", "path"):
        for inner in ast.walk(_spread(node, values)):
            if isinstance(inner, ast.keyword) and inner.arg == source:
                found = literal(inner.value, f"{what}: its {source}")
                return str(found) if isinstance(found, str) else ",".join(map(str, found))
    texts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    if len(texts) != 1:
        raise DataError(f"{what} names {len(texts)} paths", wanted=WANTED, fix="write one path out in the call")
    return texts[0]


def _spread(node: ast.expr, values: Mapping[str, ast.expr]) -> ast.Module:
    """The node with what the names in it stand for, two levels deep: packed = Pack(dataset=books)."""
    found = [node]
    for _ in range(2):
        names = {n.id for f in found for n in ast.walk(f) if isinstance(n, ast.Name)}
        found = [node, *(values[i] for i in sorted(names & values.keys()))]
    return ast.Module(body=[ast.Expr(value=f) for f in found], type_ignores=[])


def _launch(handed: Handover) -> str:
    files = phase_files(len(handed.stages), "dataloader", "py")
    lines = [
        f"Import `dataloader` of `{files[0]}` in your configuration function and set `config.dataloader = dataloader`;",
        f"the sequence length is {handed.seq_len}. It needs a torchtitan with `torchtitan.components.data` (2026-08).",
        "`repeat=True`: sources are repeated for ever, so let the number of steps end the run.",
    ]
    if len(files) > 1:
        lines.append("The next phase: a new launch with the next file, from the model and optimizer of the last,")
        lines.append("without its dataloader state, which is bound to the old configuration.")
    return "\n".join(lines)


TORCHTITAN = Exporter(
    name="torchtitan",
    title="torchtitan",
    unit="tokens",
    tested_against="torchtitan b5bcd76c (2026-08-21), source read, syntax checked; its mixing run with grain 0.2.18",
    data="data/{slug}/*.jsonl",
    reads="JSONL files with a `text` field",
    exhausted="With repeat=True, as written, sources are repeated for ever, without a word.",
    render=_render,
    parse=_parse,
    recognises=lambda name, text: name.endswith(".py") and "WeightedDataset" in text,
    launch=_launch,
    rounded=scaled,
)
