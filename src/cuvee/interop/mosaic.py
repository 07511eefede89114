"""mosaicml-streaming and llm-foundry: streams with `choose`, the exact number of samples of each.

A weight counts MDS samples: shares of tokens only where samples were concatenated to a fixed length before. `proportion` is
rounded down and the shortfall goes to streams at random (a share of 0.001 of 100 samples got none), so whole
numbers are written; both are read. `batching_method: stratified` rounds within every batch (0.6, 0.3, 0.1 in batches of 8
came out as 0.625, 0.25, 0.125), so `random` is written. Run with mosaicml-streaming 0.13.0 and llm-foundry 0.22.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from cuvee.base.errors import DataError
from cuvee.interop.megatron import sequences
from cuvee.interop.record import Blend, Exporter, Handover, Stage, weights
from cuvee.interop.texts import collected, dump_yaml, inside, number, phase_files, yaml_mapping

KINDS = ("proportion", "repeat", "choose")


def _streams(handed: Handover, stage: Stage) -> dict[str, Any]:
    """Streams by name with samples that sum to the phase's, by largest remainder."""
    counts = sequences(Blend(weights(handed, stage, "tokens")), handed, stage)
    rows = {}
    for path, samples in counts.items():
        source = handed.owner(path)
        assert source is not None
        if samples > 0:
            rows[source.slug] = {"local": path, "choose": int(samples)}
    return rows


def _render_streaming(handed: Handover) -> Mapping[str, str]:
    names = phase_files(len(handed.stages), "streams", "yaml")
    files = {}
    for name, stage in zip(names, handed.stages, strict=True):
        # no epoch_size: beside `choose` it is refused, the epoch is the sum of the samples chosen
        settings = {"shuffle": True, "shuffle_seed": stage.seed, "batching_method": "random"}
        files[name] = dump_yaml({"streams": _streams(handed, stage), **settings})
    return files


def _render_foundry(handed: Handover) -> Mapping[str, str]:
    names = phase_files(len(handed.stages), "train_loader", "yaml")
    files = {}
    for name, stage in zip(names, handed.stages, strict=True):
        streams = {k: {**v, "split": None} for k, v in _streams(handed, stage).items()}
        dataset = {
            "streams": streams,
            "shuffle": True,
            "shuffle_seed": stage.seed,
            "batching_method": "random",
            "max_seq_len": handed.seq_len,
        }
        files[name] = dump_yaml({"train_loader": {"name": "text", "dataset": dataset, "drop_last": True}})
    return files


def _parse_streaming(files: Mapping[str, str]) -> tuple[Blend, ...]:
    return _parse(files, "streams")


def _parse_foundry(files: Mapping[str, str]) -> tuple[Blend, ...]:
    return _parse(files, "train_loader.dataset.streams")


def _parse(files: Mapping[str, str], where: str) -> tuple[Blend, ...]:
    start = None if len(files) > 1 else 0
    blends = []
    for name in files:
        streams = inside(yaml_mapping(name, files[name], f"a mapping with {where}"), where, name)
        rows = streams.values() if isinstance(streams, dict) else streams
        blends.append(Blend(collected(_pairs(list(rows or []), name), name), start))
    return tuple(blends)


def _pairs(rows: list[Any], name: str) -> Iterator[tuple[str, float]]:
    kinds = {kind for row in rows for kind in KINDS if isinstance(row, dict) and kind in row}
    if len(kinds) != 1 or kinds == {"repeat"}:
        raise DataError(
            f"{name}: the streams have {', '.join(sorted(kinds)) or 'no weights'}",
            wanted="one of proportion and choose, the same for all streams (repeat counts passes, not shares)",
        )
    (kind,) = kinds
    for row in rows:
        path = row.get("remote") or row.get("local")
        if not path or kind not in row:
            raise DataError(f"{name}: the stream {row!r} lacks a path or {kind}", wanted="both for every stream")
        yield str(path), number(row[kind], str(path))


def _launch_streaming(handed: Handover) -> str:
    return f"""```python
import yaml
from streaming import Stream, StreamingDataset

settings = yaml.safe_load(open("streams-00.yaml"))
streams = [Stream(**s) for s in settings.pop("streams").values()]
dataset = StreamingDataset(streams=streams, batch_size=BATCH_OF_A_DEVICE, **settings)
```

Samples must be concatenated to {handed.seq_len} tokens when the MDS is written; then samples are tokens. Add `remote:` for
data in a bucket. One epoch of the dataset is the phase."""


def _launch_foundry(handed: Handover) -> str:
    return (
        f"Put `train_loader` into the training YAML. Samples must be concatenated to {handed.seq_len} tokens when the MDS is "
        "written\n(`convert_dataset_hf.py --concat_tokens`); then samples are tokens. One epoch is the phase."
    )


def _is_streaming(name: str, text: str) -> bool:
    return name.endswith((".yaml", ".yml")) and "streams:" in text and "train_loader" not in text


def _is_foundry(name: str, text: str) -> bool:
    return name.endswith((".yaml", ".yml")) and "streams:" in text and "train_loader" in text


STREAMING = Exporter(
    name="streaming",
    title="mosaicml-streaming",
    unit="tokens",
    tested_against="mosaicml-streaming 0.13.0, its samples of an epoch counted",
    data="data/{slug}",
    reads="MDS folders of samples concatenated to a fixed number of tokens",
    exhausted="streaming repeats samples, without a word.",
    render=_render_streaming,
    parse=_parse_streaming,
    recognises=_is_streaming,
    launch=_launch_streaming,
    rounded=sequences,
)
FOUNDRY = replace(
    STREAMING,
    name="llm-foundry",
    title="llm-foundry",
    tested_against="llm-foundry 0.22.0, the sequences of its dataloader counted",
    render=_render_foundry,
    parse=_parse_foundry,
    recognises=_is_foundry,
    launch=_launch_foundry,
)
