"""What every loader's script does: time it, list the order of its sequences, resume it, in a fresh process each.

    python NAME.py prepare WORK | time WORK WORKERS SECONDS | order WORK WORKERS SEQUENCES | resume WORK WORKERS

A script has a subclass of `Rival`. It runs in an environment of its own, so only NumPy and the standard library are imported
here. Nothing relies on what a loader says of itself: the domain of a sequence shows in its first token, its identity is a
hash of its tokens. CPU seconds are of the process and all below it. Answers are one line of JSON, the last of stdout.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

AHEAD = 40  # batches before the clock starts, and after which the state is saved
CHECK = 5  # batches that are compared after a resume


@dataclass(frozen=True)
class Workload:
    """The made-up corpus: `domains` are (prefix of its .bin, tokens); tokens of domain d lie in [d width, (d + 1) width)."""

    work: Path
    domains: list[tuple[str, int]]
    weights: list[float]
    width: int
    seq_len: int
    batch: int
    seed: int

    @classmethod
    def load(cls, work: Path) -> Workload:
        """Read `workload.json`."""
        return cls(work, **json.loads((work / "workload.json").read_text(encoding="utf-8")))

    def tokens(self, d: int) -> Any:
        """All tokens of domain `d`, uint16, mapped."""
        return np.memmap(self.work / (self.domains[d][0] + ".bin"), np.uint16, "r")

    def sequences(self, d: int) -> Any:
        """The sequences of domain `d`, shape (N, L + 1): the last token of each is the first of the next."""
        flat, count = self.tokens(d), (self.domains[d][1] - 1) // self.seq_len
        return np.lib.stride_tricks.as_strided(flat, (count, self.seq_len + 1), (2 * self.seq_len, 2), writeable=False)

    def own(self, rival: str) -> Path:
        """The folder where a rival keeps the corpus in its own format."""
        return self.work / "formats" / rival


class Rival:
    """A loader under test, open; making one is what is timed, and puts into `loader` what batches come from.

    Args:
        state: What to go on from, as `state` gave it; None to start afresh.
    """

    packages: tuple[str, ...]
    """What the figures are of."""
    loader: Any

    def __init__(self, load: Workload, workers: int, state: Any) -> None: ...

    @classmethod
    def prepare(cls, load: Workload) -> None:
        """Write the corpus in the loader's own format, unless it reads the arrays as they are; not timed."""

    def batches(self) -> Iterator[Any]:
        """Batches of int64, (B, L + 1), NumPy or torch, from the start or from the state it was opened with."""
        return iter(self.loader)

    def state(self, batches: int) -> Any:
        """What to save after `batches` batches were taken."""
        return self.loader.state_dict()


def main(rival: type[Rival]) -> None:
    """Run what the command line asks for and print its figures."""
    job, work, *rest = sys.argv[1:]
    load = Workload.load(Path(work))
    answer: dict[str, Any]
    if job == "prepare":
        rival.prepare(load)
        answer = {"versions": {package: version(package) for package in rival.packages}}
    elif job == "time":
        answer = _time(rival, load, int(rest[0]), float(rest[1]))
    elif job == "order":
        answer = _order(rival, load, int(rest[0]), int(rest[1]))
    else:
        answer = _resume(rival, load, int(rest[0]))
    print(json.dumps(answer), flush=True)
    for pid in below():  # some leave threads and workers behind that hang at exit
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def _time(rival: type[Rival], load: Workload, workers: int, seconds: float) -> dict[str, float]:
    before = cpu_seconds()
    batches = rival(load, workers, None).batches()
    next(batches)
    start = cpu_seconds() - before
    for _ in range(AHEAD):
        next(batches)
    tokens, before, wall = 0, cpu_seconds(), time.perf_counter()
    # at most what one pass of the corpus holds: not every loader goes on after it
    most = sum(n for _, n in load.domains) * 0.85 - (AHEAD + 1) * load.batch * load.seq_len
    while time.perf_counter() - wall < seconds and tokens < most:
        for _ in range(8):
            batch = next(batches)
            tokens += len(batch) * load.seq_len
    spent, passed = cpu_seconds() - before, time.perf_counter() - wall
    assert tuple(batch.shape) == (load.batch, load.seq_len + 1), batch.shape
    assert str(batch.dtype).endswith("int64"), batch.dtype
    return {
        "mtok_per_cpu_s": tokens / spent / 1e6, "mtok_per_s": tokens / passed / 1e6, "start_cpu_s": start,
        "peak_rss_mb": peak_rss_mb(),
    }  # fmt: skip


def _order(rival: type[Rival], load: Workload, workers: int, sequences: int) -> dict[str, Any]:
    stream = rival(load, workers, None)
    batches = stream.batches()
    domains: list[int] = []
    hashes: list[str] = []
    saved = b""
    while len(domains) < sequences:
        rows = np.asarray(next(batches))
        domains += (rows[:, 0] // load.width).tolist()
        hashes += _hashes(rows)
        if len(domains) == AHEAD * load.batch:
            saved = _packed(stream.state(AHEAD))
            place = load.own(rival.__name__)
            place.mkdir(parents=True, exist_ok=True)
            (place / f"state-{workers}").write_bytes(saved)
    counts = np.cumsum(np.eye(len(load.domains))[domains], axis=0)
    wanted = np.arange(1, len(domains) + 1)[:, None] * (np.array(load.weights) / sum(load.weights))
    off = np.abs(counts - wanted).max(axis=1)
    return {
        "state_bytes": len(saved), "prefix_deviation": float(off[load.batch - 1 :: load.batch].max()),
        "prefix_deviation_inside": float(off.max()), "repeats": len(hashes) - len(set(hashes)),
        "order": hashlib.blake2b("".join(hashes).encode(), digest_size=16).hexdigest(),
        "after": hashes[AHEAD * load.batch : (AHEAD + CHECK) * load.batch],
    }  # fmt: skip


def _resume(rival: type[Rival], load: Workload, workers: int) -> dict[str, Any]:
    state = (load.own(rival.__name__) / f"state-{workers}").read_bytes()
    before = cpu_seconds()
    batches = rival(load, workers, _unpacked(state)).batches()
    first = next(batches)
    spent = cpu_seconds() - before
    rows = [first, *(next(batches) for _ in range(CHECK - 1))]
    return {"resume_cpu_s": spent, "after": [h for r in rows for h in _hashes(np.asarray(r))]}


def _hashes(rows: Any) -> list[str]:
    return [hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest() for row in np.ascontiguousarray(rows[:, :-1])]


def cpu_seconds() -> float:
    """Seconds on a CPU of this process and all below it, threads included, in nanosecond steps (Linux)."""
    return time.process_time() + sum(_on_cpu(pid) for pid in below())


def _on_cpu(pid: int) -> float:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((t / "schedstat").read_text().split()[0]) for t in tasks) / 1e9
    except OSError:  # it ended
        return 0.0


def peak_rss_mb() -> float:
    """The high-water marks of this process and of all below it, added: pages that they share count more than once."""
    total = 0
    for pid in [os.getpid(), *below()]:
        try:
            lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return total / 1024


def below() -> list[int]:
    """All processes below this one."""
    parents = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                parents[int(path.name)] = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    found, frontier = [], {os.getpid()}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier}
        found += sorted(frontier)
    return found


def _packed(state: Any) -> bytes:
    """A state of Python objects as bytes: JSON where it can, as a trainer's checkpoint would otherwise pickle it."""
    try:
        data = json.dumps(state, separators=(",", ":"))
        return data.encode() if json.loads(data) == state else pickle.dumps(state)
    except TypeError:
        return pickle.dumps(state)


def _unpacked(data: bytes) -> Any:
    """The inverse of `_packed`, of files that this benchmark wrote itself."""
    return json.loads(data) if data[:1] in b"{[0123456789" else pickle.loads(data)
