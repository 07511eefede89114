"""lingua: `data.sources`, sub-directories of one root with relative weights.

lingua chooses a source, then tokenises a document of it and packs: a weight counts documents, and is written as the share of
tokens over the mean tokens of a document. Sources loop for ever. The sources are part of the saved loader state, so editing the
YAML does not change a resumed run. Read in lingua 437d6809 (2025-06-18).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from cuvee.base.errors import DataError
from cuvee.interop.record import Blend, Exporter, Handover, weights
from cuvee.interop.texts import collected, dump_yaml, inside, number, phase_files, yaml_mapping


def _render(handed: Handover) -> Mapping[str, str]:
    paths = [PurePosixPath(path) for source in handed.sources for path, _ in source.paths]
    roots = {str(path.parent) for path in paths}
    if len(roots) != 1 or len({path.name for path in paths}) < len(paths):
        raise DataError(
            f"the domains lie in {', '.join(sorted(roots))}",
            wanted="sub-directories of one root",
            fix="--data 'ROOT/{slug}'",
        )
    for path in paths:
        if path.name in ("", "..") or any(c in path.name for c in "*?{}$") or path.name != path.name.strip():
            raise DataError(
                f"{path.name!r} cannot be a source of lingua",
                wanted="the plain name of a sub-directory, no pattern",
                fix="--data 'ROOT/{slug}'",
            )
    names = phase_files(len(handed.stages), "data", "yaml")
    return {
        name: dump_yaml(
            {
                "data": {
                    "root_dir": next(iter(roots)),
                    "sources": {
                        PurePosixPath(p).name: float(f"{100 * w:.10g}")
                        for p, w in weights(handed, stage, "documents").items()
                    },
                    "batch_size": handed.batch,
                    "seq_len": handed.seq_len,
                    "seed": stage.seed,
                }
            }
        )
        for name, stage in zip(names, handed.stages, strict=True)
    }


def _parse(files: Mapping[str, str]) -> tuple[Blend, ...]:
    blends = []
    for name in files:
        data = inside(yaml_mapping(name, files[name], "data.sources"), "data", name)
        sources = inside(data, "sources", name)
        if not isinstance(sources, dict):
            raise DataError(f"{name}: sources is {sources!r}", wanted="a mapping of sub-directories to weights")
        root = PurePosixPath(str(data.get("root_dir", ".")))
        pairs = ((str(root / str(d)), number(w, str(d))) for d, w in sources.items())
        pairs = ((path, weight) for path, weight in pairs if weight > 0)
        blends.append(Blend(collected(pairs, name), None if len(files) > 1 else 0))
    return tuple(blends)


def _launch(handed: Handover) -> str:
    lines = [
        "Put `data` into the training YAML (`python -m lingua.stool` or `apps.main.train config=...`).",
        "Sources are drawn by chance for each document: shares are met on average.",
        "With more `*.chunk.*.jsonl` in a source than processes, lingua drops the rest without a word: write as many as",
        "processes, or a divisor of their number. `batch_size` is of one process.",
    ]
    if len(handed.stages) > 1:
        lines.append("A resumed run keeps the sources of its saved loader state: begin a phase without that state.")
    return "\n".join(lines)


LINGUA = Exporter(
    name="lingua",
    title="lingua",
    unit="documents",
    tested_against="lingua 437d6809 (2025-06-18), its source read",
    data="data/{slug}",
    reads="sub-directories of one root with `*.chunk.*.jsonl` files",
    exhausted="lingua starts the source again, for ever.",
    render=_render,
    parse=_parse,
    recognises=lambda name, text: name.endswith((".yaml", ".yml")) and "root_dir" in text and "sources:" in text,
    launch=_launch,
)
