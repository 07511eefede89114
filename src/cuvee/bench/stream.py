"""Loaders of mixtures side by side: this project's and others', each in an environment of its own, in fresh processes.

The corpus is made up: domains are told apart by their tokens, sequences by a hash of theirs, so that nothing relies on
what a loader says of itself. What a script measures is in `rivals/harness.py`; here environments are made, runs alternate
between loaders, and medians are taken. Linux only: CPU seconds of worker processes are read from /proc.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from cuvee.base.errors import UsageError
from cuvee.base.files import dump_json, replace
from cuvee.base.processes import environment
from cuvee.base.progress import Progress, Silent
from cuvee.base.rng import generator
from cuvee.shards.indexed import IndexedWriter
from cuvee.shards.inventory import DomainInfo, Inventory, Shard, SplitInfo, TokenizerInfo

WEIGHTS = (0.4, 0.2, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02)
SEQ_LEN, BATCH, WIDTH, MEDIAN_DOCUMENT = 2048, 16, 8000, 600
WORKERS = (0, 2)
_SCRIPTS = Path(__file__).parent / "rivals"
_PATIENCE = 600


@dataclass(frozen=True)
class Entrant:
    """A loader: its script, and the packages of its environment (none: this one)."""

    name: str
    script: str
    packages: tuple[str, ...] = ()

    @property
    def room(self) -> str:
        """Of its environment, shared with those of the same packages."""
        return "-".join(p.split("=")[0].split("<")[0] for p in self.packages)


ENTRANTS = (
    Entrant("cuvee", "cuvee_loader"),
    Entrant("numpy-window", "numpy_window", ("numpy", "torch")),
    Entrant("megatron-core", "megatron_core", ("megatron-core==0.16.1", "numpy", "torch")),
    Entrant("grain", "grain_memmap", ("grain", "numpy")),
    Entrant("mosaicml-streaming", "mosaicml_streaming", ("mosaicml-streaming", "numpy<2.2", "torch")),
    Entrant("litdata", "litdata_combined", ("litdata", "numpy", "torch")),
    Entrant("hf-map", "hf_map", ("datasets", "torchdata", "numpy", "torch")),
    Entrant("hf-iterable", "hf_iterable", ("datasets", "torchdata", "numpy", "torch")),
    Entrant("torchdata", "torchdata_nodes", ("torchdata", "numpy", "torch")),
)


class _Failed(Exception):
    """A script or an installation that did not work; its last words."""


def run(
    work: Path,
    *,
    loaders: Sequence[str] = (),
    repeats: int = 5,
    tokens: int = 50_000_000,
    seconds: float = 3.0,
    sequences: int = 10_000,
    progress: Progress | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """`rows` a loader and number of workers; `environments`, the versions; `not_measured`, who could not be and why.

    Args:
        work: Keeps the corpus, the environments and the others' copies of the corpus.
        loaders: Names out of `ENTRANTS`; none for all.
        repeats: Timings of each, of which the median counts.
        seconds: The longest that batches are taken for in one timing.
        sequences: What shares, repeats and order are measured on.

    Raises:
        UsageError: no such loader; not Linux.
    """
    say = progress or Silent()
    names = [e.name for e in ENTRANTS]
    unknown = [n for n in loaders if n not in names]
    if unknown or sys.platform != "linux":
        raise UsageError(f"got {', '.join(unknown) or sys.platform}", wanted=f"on Linux, some of {', '.join(names)}")
    work = work.absolute()
    workload(work, tokens)
    ready: list[tuple[Entrant, Path]] = []
    failed: list[dict[str, Any]] = []
    environments: list[dict[str, Any]] = []
    for entrant in (e for e in ENTRANTS if not loaders or e.name in loaders):
        try:
            python = _environment(work, entrant)
            found = _call(python, entrant, "prepare", work)
        except _Failed as error:
            failed.append({"loader": entrant.name, "workers": "all", "why": str(error)})
            continue
        environments.append(
            {"loader": entrant.name, "versions": ", ".join(f"{p} {v}" for p, v in found["versions"].items())}
        )
        ready.append((entrant, python))
        say.say(f"{entrant.name} is ready")
    rows = _measure(work, ready, repeats, seconds, sequences, failed, say)
    return {"rows": rows, "environments": environments, "not_measured": failed}


def _measure(
    work: Path,
    ready: list[tuple[Entrant, Path]],
    repeats: int,
    seconds: float,
    sequences: int,
    failed: list[dict[str, Any]],
    say: Progress,
) -> list[dict[str, Any]]:
    orders: dict[tuple[str, int], dict[str, Any]] = {}
    timings: dict[tuple[str, int], list[dict[str, Any]]] = {}
    cells = [(entrant, python, workers) for entrant, python in ready for workers in WORKERS]
    for entrant, python, workers in cells:
        try:
            orders[entrant.name, workers] = _call(python, entrant, "order", work, workers, sequences)
        except _Failed as error:
            failed.append({"loader": entrant.name, "workers": workers, "why": str(error)})
    for repeat in range(repeats):
        for entrant, python, workers in cells:
            if (entrant.name, workers) not in orders:
                continue
            try:
                timed = _call(python, entrant, "time", work, workers, seconds)
                timed |= _call(python, entrant, "resume", work, workers)
            except _Failed as error:
                failed.append({"loader": entrant.name, "workers": workers, "why": str(error)})
                continue
            timings.setdefault((entrant.name, workers), []).append(timed)
        say.say(f"round {repeat + 1} of {repeats}")
        say.advance(1)
    return [_row(name, workers, orders, found) for (name, workers), found in timings.items()]


def _row(
    name: str, workers: int, orders: dict[tuple[str, int], dict[str, Any]], found: list[dict[str, Any]]
) -> dict[str, Any]:
    order = orders[name, workers]
    alone = orders.get((name, 0))
    return {
        "loader": name,
        "workers": workers,
        **{
            key: round(median(f[key] for f in found), 4)
            for key in ("mtok_per_cpu_s", "mtok_per_s", "start_cpu_s", "resume_cpu_s", "peak_rss_mb")
        },
        "state_bytes": order["state_bytes"],
        "prefix_deviation": round(order["prefix_deviation"], 3),
        "prefix_deviation_inside": round(order["prefix_deviation_inside"], 3),
        "repeats": order["repeats"],
        "resume_exact": all(f["after"] == order["after"] for f in found),
        "same_order_workers": None if alone is None else alone["order"] == order["order"],
        "runs": len(found),
    }


def workload(work: Path, tokens: int) -> None:
    """Make the corpus in `work` unless it lies there: domains in proportion to their weights, lognormal documents."""
    kept = work / f"made-{tokens}"
    if kept.exists():
        return
    infos, domains = [], []
    for d, weight in enumerate(WEIGHTS):
        rng = generator(0, "bench stream", d)
        with IndexedWriter(work / "shards" / f"domain-{d}", np.uint16) as writer:
            while writer.tokens < tokens * weight:
                length = int(np.clip(rng.lognormal(np.log(MEDIAN_DOCUMENT), 1.0), 16, 20_000))
                writer.add(rng.integers(d * WIDTH, (d + 1) * WIDTH, length, np.uint16))
        shard = Shard(f"shards/domain-{d}", writer.documents, writer.tokens, writer.tokens, writer.hash)
        nothing = SplitInfo()
        infos.append(DomainInfo(f"domain-{d}", f"domain-{d}", SplitInfo((shard,)), nothing, nothing, 0.0, 0.0))
        domains.append((shard.path, shard.tokens))
    made_by = {"made by": "cuvee.bench.stream"}
    Inventory(tuple(infos), TokenizerInfo("external", WIDTH * len(WEIGHTS), 0, "bench"), made_by).save(work)
    about = {
        "domains": domains, "weights": WEIGHTS, "width": WIDTH, "seq_len": SEQ_LEN, "batch": BATCH, "seed": 1,
    }  # fmt: skip
    replace(work / "workload.json", dump_json(about))
    kept.touch()


def _environment(work: Path, entrant: Entrant) -> Path:
    """The interpreter of an entrant, its packages installed from the registry the first time."""
    if not entrant.packages:
        return Path(sys.executable)
    room = work / "environments" / entrant.room
    python, log = room / "bin" / "python", room / "installed"
    if not log.exists():
        venv.create(room, with_pip=True, clear=True)
        # the torch of this environment: builds of other versions may be gigabytes of CUDA
        torch = f"torch=={version('torch').split('+')[0]}"
        packages = [torch if p == "torch" else p for p in entrant.packages]
        _run([str(python), "-m", "pip", "install", "--quiet", *packages], 3 * _PATIENCE)
        log.touch()
    return python


def _call(python: Path, entrant: Entrant, job: str, work: Path, *rest: object) -> dict[str, Any]:
    """What a script answers, in a fresh process."""
    command = [str(python), "-W", "ignore", str(_SCRIPTS / f"{entrant.script}.py"), job, str(work), *map(str, rest)]
    answer: dict[str, Any] = json.loads(_run(command, _PATIENCE).splitlines()[-1])
    return answer


def _run(command: list[str], patience: float) -> str:
    own = environment()
    own.pop("PYTHONSAFEPATH")  # scripts find the harness beside them
    if command[0] != sys.executable:
        own.pop("PYTHONPATH")
    try:
        done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=patience, check=False)
    except subprocess.TimeoutExpired:
        raise _Failed(f"nothing after {patience:.0f} s: {' '.join(command[1:5])}") from None
    if done.returncode:
        raise _Failed(" ".join(done.stderr.split())[-400:] or f"exit code {done.returncode}")
    return done.stdout
