"""LLaMA-Factory: `mix_strategy: concat` with whole numbers of rows (`num_samples`) in dataset_info.json.

That is its exact route: rows are permuted, and when more are asked for than there are, the rest is drawn again, so row counts
hold and upsampling works. Probabilities (`interleave_probs`, a string that must sum to 1) are read, not written. Read in
LLaMA-Factory ff6d4d12 (2026-08-18).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cuvee.base.errors import DataError
from cuvee.interop.huggingface import rows_of
from cuvee.interop.record import Blend, Exporter, Handover
from cuvee.interop.texts import collected, dump_yaml, json_mapping, must_sum_to_one, number, phase_files, yaml_mapping

INFO = "dataset_info.json"


def _render(handed: Handover) -> Mapping[str, str]:
    import json

    info, files = {}, {}
    names_of_files = phase_files(len(handed.stages), "train", "yaml")
    for n, stage in enumerate(handed.stages):
        names = []
        for path, rows in rows_of(handed, stage).items():
            source = handed.owner(path)
            assert source is not None
            if round(rows) < 1:
                raise DataError(
                    f"{source.domain!r} with {rows:.2f} rows",
                    wanted="at least one row",
                    fix="a longer run, or a mixture without this domain",
                )
            name = f"{source.slug}-{n:02d}"
            names.append(name)
            info[name] = {"file_name": path, "columns": {"prompt": "text"}, "num_samples": round(rows)}
        files[names_of_files[n]] = dump_yaml(
            {
                "stage": "pt",
                "dataset_dir": ".",
                "dataset": ",".join(names),
                "mix_strategy": "concat",
                "cutoff_len": handed.seq_len,
                "seed": stage.seed,
            }
        )
    return {INFO: json.dumps(info, indent=2, ensure_ascii=False) + "\n", **files}


def _parse(files: Mapping[str, str]) -> tuple[Blend, ...]:
    infos = [name for name in files if name.endswith(".json")]
    info = json_mapping(infos[0], files[infos[0]], "dataset_info.json") if infos else {}
    trains = [name for name in files if not name.endswith(".json")]
    if not trains:
        raise DataError("there is no training YAML", wanted="the YAML with `dataset:`, and dataset_info.json beside it")
    start = None if len(trains) > 1 else 0
    return tuple(_blend(name, yaml_mapping(name, files[name], "`dataset:`"), info, start) for name in trains)


def _blend(name: str, data: Mapping[str, Any], info: Mapping[str, Any], start: int | None) -> Blend:
    given = data.get("dataset") or ""
    datasets = [d.strip() for d in given.split(",")] if isinstance(given, str) else [str(d) for d in given]
    if data.get("interleave_probs") is not None and str(data.get("mix_strategy", "")).startswith("interleave"):
        amounts = [number(w, name) for w in str(data["interleave_probs"]).split(",")]
        if len(amounts) != len(datasets):
            raise DataError(f"{name}: {len(datasets)} datasets, {len(amounts)} probabilities", wanted="one a dataset")
        found = collected(((_path(d, info), w) for d, w in zip(datasets, amounts, strict=True)), name)
        must_sum_to_one(found, "LLaMA-Factory")
        return Blend(found, start)
    if str(data.get("mix_strategy", "concat")) != "concat":
        raise DataError(
            f"{name}: mix_strategy is {data['mix_strategy']} without interleave_probs",
            wanted="interleave_probs, or mix_strategy: concat with num_samples",
        )
    return Blend(collected(_rows(datasets, info, name), name), start)


def _rows(datasets: list[str], info: Mapping[str, Any], name: str) -> Iterator[tuple[str, float]]:
    for dataset in datasets:
        entry = info.get(dataset)
        if not isinstance(entry, dict) or "num_samples" not in entry:
            raise DataError(
                f"{name}: {dataset!r} has no num_samples in {INFO}",
                wanted="num_samples for every dataset, or interleave_probs",
                fix=f"give {INFO} too; without num_samples whole files are read, and their rows are not in the files",
            )
        yield _path(dataset, info), number(entry["num_samples"], dataset)


def _path(dataset: str, info: Mapping[str, Any]) -> str:
    entry = info.get(dataset)
    return str(entry.get("file_name", dataset)) if isinstance(entry, dict) else dataset


def _launch(handed: Handover) -> str:
    return (
        "```\nllamafactory-cli train train-00.yaml\n```\n\nAdd your model and output keys. One epoch is the phase. `stage: pt` packs "
        "documents whole: nothing is cut, so export without `--row-limit`."
    )


def _is(name: str, text: str) -> bool:
    return name == INFO or "mix_strategy" in text


LLAMA_FACTORY = Exporter(
    name="llama-factory",
    title="LLaMA-Factory",
    unit="documents",
    tested_against="LLaMA-Factory 0.9.5, the datasets loaded by it and their rows counted",
    data="data/{slug}.jsonl",
    reads="JSONL files with a `text` field, one a domain",
    exhausted="rows are drawn again until num_samples is reached.",
    render=_render,
    parse=_parse,
    recognises=_is,
    launch=_launch,
)
