"""Megatron-Bridge and NeMo 2: Megatron's blend as a Python configuration.

Bridge's GPTDatasetConfig takes `blend`, the prefixes and their weights; `data_path`, weight and prefix in turn, is known to
067f987d (0.7 dev) and not to the release 0.3.1, and `blend_weights` of its migration guide to neither. NeMo 2's
PreTrainingDataModule takes `paths` in the form of `data_path`. Weights count fixed-length sequences and are normalised. A file
is read by its syntax tree, never run.
"""

from __future__ import annotations

from collections.abc import Mapping

from cuvee.base.errors import DataError
from cuvee.interop.megatron import EXHAUSTED, blend_of, flat_list, sequences
from cuvee.interop.record import Blend, Exporter, Handover, Stage
from cuvee.interop.texts import calls, literal, phase_files, python_tree


def _bridge(handed: Handover, stage: Stage) -> str:
    return f'''"""The mixture from {stage.start:,} to {stage.stop:,} tokens, for Megatron-Bridge."""

from megatron.bridge.training.config import GPTDatasetConfig

dataset = GPTDatasetConfig(
    seq_length={handed.seq_len},
    blend={_pair(flat_list(handed, stage))},
    split="100,0,0",
    random_seed={stage.seed},
    reset_attention_mask=False,
    reset_position_ids=False,
    eod_mask_loss=False,
)
'''


def _nemo(handed: Handover, stage: Stage) -> str:
    return f'''"""The mixture from {stage.start:,} to {stage.stop:,} tokens, for NeMo 2."""

from nemo.collections.llm.gpt.data import PreTrainingDataModule

data = PreTrainingDataModule(
    paths={_listed(flat_list(handed, stage))},
    seq_length={handed.seq_len},
    global_batch_size={handed.batch},
    micro_batch_size=1,
    split="100,0,0",
    seed={stage.seed},
)
'''


def _listed(words: list[str]) -> str:
    rows = [f"        {weight!r}, {path!r}," for weight, path in zip(words[::2], words[1::2], strict=True)]
    return "\n".join(["[", *rows, "    ]"])


def _pair(words: list[str]) -> str:
    paths = "".join(f"        {path!r},\n" for path in words[1::2])
    return f"([\n{paths}    ], [{', '.join(words[::2])}])"


def _render_bridge(handed: Handover) -> Mapping[str, str]:
    names = phase_files(len(handed.stages), "dataset", "py")
    return {n: _bridge(handed, s) for n, s in zip(names, handed.stages, strict=True)}


def _render_nemo(handed: Handover) -> Mapping[str, str]:
    names = phase_files(len(handed.stages), "data", "py")
    return {n: _nemo(handed, s) for n, s in zip(names, handed.stages, strict=True)}


def _parse(files: Mapping[str, str], called: str, argument: str) -> tuple[Blend, ...]:
    start = None if len(files) > 1 else 0
    return tuple(_blend(name, files[name], called, argument, start) for name in files)


def _blend(name: str, text: str, called: str, argument: str, start: int | None) -> Blend:
    every = list(calls(python_tree(name, text), called))
    found = every[0] if every else {}
    if len(every) != 1:
        raise DataError(
            f"{name} calls {called} {len(every)} times", wanted=f"{called}({argument}=[weight, prefix, ...])"
        )
    if argument in found:
        value = literal(found[argument], argument)
        value = value.get("train") if isinstance(value, dict) else value
        words = value.split() if isinstance(value, str) else value
        if not isinstance(words, list | tuple):
            raise DataError(f"{name}: {argument} is {value!r}", wanted="weight and prefix in turn")
        return blend_of([str(w) for w in words], start)
    if "blend" in found:
        paths, amounts = literal(found["blend"], "blend")
        if amounts is None or len(amounts) != len(paths):
            raise DataError(f"{name}: {len(paths)} paths and {len(amounts or ())} weights", wanted="a weight a path")
        return blend_of([str(w) for pair in zip(amounts, paths, strict=True) for w in pair], start)
    raise DataError(f"{name}: {called} has no {argument}", wanted=f"{argument}=[weight, prefix, ...]")


def _parse_bridge(files: Mapping[str, str]) -> tuple[Blend, ...]:
    return _parse(files, "GPTDatasetConfig", "data_path")


def _parse_nemo(files: Mapping[str, str]) -> tuple[Blend, ...]:
    return _parse(files, "PreTrainingDataModule", "paths")


def _launch(handed: Handover) -> str:
    lines = ["Import the object of the phase's file into your recipe. Weights are normalised by the trainer."]
    if len(handed.stages) > 1:
        lines.append("There are no phases: start a new run from the last checkpoint with the next file.")
    return "\n".join(lines)


READS = "indexed datasets (.bin and .idx), the corpus's own shards unless you gave another pattern"
BRIDGE = Exporter(
    name="megatron-bridge",
    title="Megatron-Bridge",
    unit="tokens",
    tested_against="Megatron-Bridge 0.3.1, loaded by its configuration class; 067f987d (0.7 dev), its source read",
    data="shards",
    reads=READS,
    exhausted=EXHAUSTED,
    render=_render_bridge,
    parse=_parse_bridge,
    recognises=lambda name, text: name.endswith(".py") and "GPTDatasetConfig" in text,
    launch=_launch,
    rounded=sequences,
)
NEMO = Exporter(
    name="nemo",
    title="NeMo 2",
    unit="tokens",
    tested_against="NeMo 2 as its migration guide in Megatron-Bridge describes it",
    data="shards",
    reads=READS,
    exhausted=EXHAUSTED,
    render=_render_nemo,
    parse=_parse_nemo,
    recognises=lambda name, text: name.endswith(".py") and "PreTrainingDataModule" in text,
    launch=_launch,
    rounded=sequences,
)
