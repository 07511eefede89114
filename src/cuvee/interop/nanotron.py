"""nanotron: `data_stages` in its YAML, the one trainer with phases of its own.

Weights count fixed-length samples and are normalised. The data are datatrove-tokenised folders (`*.ds`), all of one
tokenizer. Stages start at training steps counted from 1. nanotron 2411b022 (2026-04-07): its documentation still shows
`dataset_folder: {path: weight}`; the dataclass takes lists, which are written here, and both are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cuvee.base.errors import DataError
from cuvee.interop.megatron import sequences, step_starts, steps
from cuvee.interop.record import Blend, Exporter, Handover, weights
from cuvee.interop.texts import collected, dump_yaml, inside, number, yaml_mapping

WANTED = "a nanotron configuration with data_stages"


def _render(handed: Handover) -> Mapping[str, str]:
    stages = []
    for n, (stage, step) in enumerate(zip(handed.stages, step_starts(handed), strict=True)):
        found = weights(handed, stage, "tokens")
        dataset = {"dataset_folder": list(found), "dataset_weights": [float(f"{w:.10g}") for w in found.values()]}
        stages.append(
            {
                "name": f"phase-{n:02d}",
                "start_training_step": step + 1,
                "data": {"dataset": dataset, "num_loading_workers": 1, "seed": stage.seed},
            }
        )
    tokens = {
        "sequence_length": handed.seq_len,
        "batch_accumulation_per_replica": 1,
        "micro_batch_size": handed.batch,
        "train_steps": steps(handed, handed.tokens),
    }
    return {"data_stages.yaml": dump_yaml({"data_stages": stages, "tokens": tokens})}


def _parse(files: Mapping[str, str]) -> tuple[Blend, ...]:
    ((name, text),) = files.items()
    data = yaml_mapping(name, text, WANTED)
    stages = inside(data, "data_stages", name)
    if not isinstance(stages, list) or not stages:
        raise DataError(f"{name}: data_stages is {stages!r}", wanted="a list of stages")
    per_step = _tokens_per_step(data)
    blends = []
    for stage in stages:
        begin = int(stage.get("start_training_step", 1)) - 1
        start = 0 if begin == 0 else begin * per_step if per_step else None
        blends.append(Blend(_weights(inside(stage, "data.dataset", name), name), start))
    return tuple(blends)


def _tokens_per_step(data: Mapping[str, Any]) -> int | None:
    tokens, parallel = data.get("tokens") or {}, data.get("parallelism") or {}
    try:
        batch = int(tokens["micro_batch_size"]) * int(tokens.get("batch_accumulation_per_replica", 1))
        return batch * int(tokens["sequence_length"]) * int(parallel.get("dp", 1))
    except (KeyError, TypeError, ValueError):
        return None


def _weights(dataset: Mapping[str, Any], name: str) -> dict[str, float]:
    folders, amounts = dataset.get("dataset_folder"), dataset.get("dataset_weights")
    if isinstance(folders, dict):
        return collected(((str(p), number(w, str(p))) for p, w in folders.items()), name)
    folders = [folders] if isinstance(folders, str) else folders
    if not isinstance(folders, list) or (amounts is not None and len(amounts) != len(folders)):
        raise DataError(
            f"{name}: the folders {folders!r} with the weights {amounts!r}",
            wanted="lists of one length",
            fix="a weight a folder",
        )
    amounts = amounts if amounts is not None else [1.0] * len(folders)
    return collected(((str(p), number(w, str(p))) for p, w in zip(folders, amounts, strict=True)), name)


def _launch(handed: Handover) -> str:
    return (
        "Put `data_stages` and `tokens` into your nanotron configuration. A step is "
        f"{handed.batch} sequences of {handed.seq_len} tokens over all replicas:\nkeep "
        "micro_batch_size x batch_accumulation_per_replica x dp at that number, or export again with your --batch and --seq-len."
    )


NANOTRON = Exporter(
    name="nanotron",
    title="nanotron",
    unit="tokens",
    tested_against="nanotron 2411b022 (2026-04-07), its configuration classes read; release 0.4 has no stages",
    data="data/{slug}",
    reads="folders tokenised by datatrove (*.ds), one tokenizer for all",
    exhausted="nanotron starts the folder again, without a word.",
    phases="native",
    render=_render,
    parse=_parse,
    recognises=lambda name, text: name.endswith((".yaml", ".yml")) and "data_stages" in text,
    launch=_launch,
    rounded=sequences,
)
