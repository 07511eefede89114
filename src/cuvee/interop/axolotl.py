"""axolotl: no weights in the released version (0.19.0): whole datasets are concatenated and shuffled.

So the mixture is in the files: `cuvee materialise --as jsonl` writes them, one a domain, and the YAML names them. The rows
that a file must hold stand in a comment, which is what this exporter's own check and `import-mix` read back; of files without the
comment the rows are counted. `weight` (a fraction of rows, no upsampling) is in axolotl's PR #3690, not in that release.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cuvee.base.errors import DataError
from cuvee.interop.huggingface import rows_of
from cuvee.interop.record import Blend, Exporter, Handover
from cuvee.interop.texts import collected, dump_yaml, inside, phase_files, yaml_mapping

_ROWS = re.compile(r"^# rows: (\d+) (.+)$", re.MULTILINE)


def _render(handed: Handover) -> Mapping[str, str]:
    names = phase_files(len(handed.stages), "axolotl", "yaml")
    files = {}
    for name, stage in zip(names, handed.stages, strict=True):
        rows = rows_of(handed, stage)
        datasets = [
            {"path": p, "ds_type": "json", "data_files": [p], "type": "completion", "field": "text"} for p in rows
        ]
        head = "# Whole files are concatenated: each must hold these rows (cuvee materialise --as jsonl).\n"
        comments = "".join(f"# rows: {round(r)} {p}\n" for p, r in rows.items())
        body = {
            "datasets": datasets,
            "shuffle_merged_datasets": True,
            "seed": stage.seed,
            "sequence_len": handed.seq_len,
            "sample_packing": True,
        }
        files[name] = head + comments + dump_yaml(body)
    return files


def _parse(files: Mapping[str, str]) -> tuple[Blend, ...]:
    return tuple(_blend(name, files[name], None if len(files) > 1 else 0) for name in files)


def _blend(name: str, text: str, start: int | None) -> Blend:
    datasets = inside(yaml_mapping(name, text, "an axolotl configuration with datasets"), "datasets", name)
    known = {path: float(rows) for rows, path in _ROWS.findall(text)}
    pairs = []
    for row in datasets if isinstance(datasets, list) else []:
        for path in _paths(row):
            pairs.append((path, known[path] if path in known else _count(path)))
    return Blend(collected(iter(pairs), name), start)


def _paths(row: Any) -> list[str]:
    cut = [key for key in ("shards", "split", "weight") if isinstance(row, dict) and key in row]
    if cut:
        raise DataError(f"the dataset {row!r} is read in part ({', '.join(cut)})", wanted="whole files")
    given = row.get("data_files") or row.get("path") if isinstance(row, dict) else None
    if not given:
        raise DataError(f"the dataset {row!r} names no files", wanted="path or data_files")
    return [str(p) for p in given] if isinstance(given, list) else [str(given)]


def _count(path: str) -> float:
    """Rows of a JSONL file: axolotl's weights are what its files hold."""
    if not path.endswith((".jsonl", ".json")):
        raise DataError(f"the rows of {path} cannot be counted", wanted="JSONL files, or comments `# rows: N PATH`")
    try:
        with Path(path).open("rb") as file:
            return float(sum(1 for line in file if line.strip()))
    except OSError as error:
        raise DataError(
            f"axolotl has no weights, and {path} cannot be read to count its rows",
            wanted="the JSONL files that the configuration names, or comments `# rows: N PATH`",
        ) from error


def _launch(handed: Handover) -> str:
    return (
        "```\ncuvee materialise MIX --as jsonl --out data/      # the files; then put their paths here or link them\n"
        "axolotl train axolotl-00.yaml\n```\n\nAdd your model keys. One epoch over the files is the phase."
    )


AXOLOTL = Exporter(
    name="axolotl",
    title="axolotl",
    unit="documents",
    tested_against="axolotl 0.19.0, accepted by its schema; the rows are what the files hold",
    data="data/{slug}.jsonl",
    reads="JSONL files that hold the mixture's rows: its weights are the sizes of the files",
    exhausted="nothing runs out: the files hold what is trained on, repeats included.",
    render=_render,
    parse=_parse,
    recognises=lambda name, text: name.endswith((".yaml", ".yml")) and "datasets:" in text and "ds_type" in text,
    launch=_launch,
)
