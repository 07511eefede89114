"""The Ray runner: one worker command a task, wherever a Ray cluster has room for it.

Driver, nodes and workers meet in a folder only: the study's, or an exchange in an object store. A task is told what to make
and gives back how the worker command ended. What Ray itself does not promise, the folder does. In the study's, runs are
claimed, go on from their checkpoints, and count once. By way of an exchange each run belongs to one task at a time, and
counts once when the driver has brought it home. So a node or the driver may die at any moment.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuvee.base.errors import PartialError, UsageError, missing_extra
from cuvee.base.processes import how
from cuvee.shards.corpus import Corpus
from cuvee.study.layout import Planned
from cuvee.study.runners.exchange import Exchange
from cuvee.study.runners.local import EXPLAINED, Outcome
from cuvee.study.runners.remote import check_address
from cuvee.study.runners.task import EVERY, work, work_apart
from cuvee.study.store import Store, read_job
from cuvee.study.worker import together

POLL = 0.5
"""Seconds that the driver waits for news at a time."""


@dataclass(frozen=True)
class Ray:
    """Tasks on a Ray cluster that runs already; none is started. Nodes need Cuvée, and the study's folder at the same path or an
    exchange.

    Args:
        address: Of the cluster; that of `RAY_ADDRESS`, else the one that this machine belongs to, when left out.
        num_cpus, num_gpus: What a task holds of its node while it runs; it uses one thread.
        restarts: How often tasks that were lost (with a node, or by a crash) are started again, over all jobs.
        command: What a node's Python runs, to which the job is added.
        exchange: The address of a folder, in an object store say, for nodes that share no file system with the driver.
        every: Seconds between looks of a task at what is new for the exchange.
    """

    address: str | None = None
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    restarts: int = 3
    command: tuple[str, ...] = ("-m", "cuvee.study.worker")
    exchange: str | None = None
    every: float = EVERY

    def __post_init__(self) -> None:
        if self.exchange is not None:
            check_address(self.exchange)

    def run(self, jobs: Sequence[Path], poll: Callable[[], None]) -> tuple[Outcome, ...]:
        """Run all jobs, as many at a time as the cluster has room for.

        Raises:
            UsageError: Ray is not installed, there is no cluster, or its nodes lack Cuvée.
            UsageError, DataError, PartialError: a worker ended with that error, or tasks were lost more often than allowed; or the
                exchange cannot be used.
        """
        ray = _import()
        connect = not ray.is_initialized()
        if connect:
            address = self.address or os.environ.get("RAY_ADDRESS", "auto")
            try:
                ray.init(address=address, logging_level="WARNING")
            except ConnectionError as error:
                raise UsageError(
                    f"no Ray cluster at {address!r}: {error}",
                    wanted="a cluster that runs",
                    fix="ray start --head --disable-usage-stats, here or where RAY_ADDRESS says; or --runner local",
                ) from error
        try:
            dealt = self._deal(self.exchange, jobs) if self.exchange else _Shared(self.command, tuple(jobs))
            return self._run(ray, dealt, len(jobs), poll)
        finally:
            if connect:
                ray.shutdown()

    def _deal(self, url: str, jobs: Sequence[Path]) -> _Apart:
        """A job for every batch of runs that is missing, when what lies in the exchange already is home."""
        given, here = read_job(jobs[0]), jobs[0].resolve().parent
        store, corpus, exchange = Store(here / given.study), Corpus.open(here / given.corpus), Exchange(url)
        planned = store.planned()
        runs = [planned[i] for i in given.plans]
        exchange.send_corpus(corpus)
        exchange.send_inputs(runs, store.inputs)
        exchange.bring_home(store, [run for run in runs if not store.has(run.id)], corpus.fingerprint)
        groups = [group for group in together(runs) if not all(store.has(run.id) for run in group)]
        batches = {store.write_job(corpus.path, tuple(run.id for run in group)): group for group in groups}
        return _Apart(self.command, tuple(batches), exchange, self.every, store, corpus.fingerprint, batches)

    def _run(self, ray: Any, dealt: _Shared | _Apart, room: int, poll: Callable[[], None]) -> tuple[Outcome, ...]:
        # lost tasks are started again here, not by Ray, so that crashes of nodes and of workers count as one
        task = ray.remote(num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=0)(dealt.task)
        restarts, last = dict.fromkeys(dealt.jobs, 0), dict.fromkeys(dealt.jobs, "")
        waiting, running = deque(dealt.jobs), dict[Any, Path]()
        try:
            while waiting or running:
                while waiting and len(running) < room:
                    job = waiting.popleft()
                    running[task.remote(*dealt.told(job))] = job
                for ref in ray.wait(list(running), timeout=POLL)[0]:
                    job = running.pop(ref)
                    lost, last[job] = _ended(ray, ref)
                    lost = dealt.left(job, lost)
                    if not lost:
                        continue
                    if sum(restarts.values()) >= self.restarts:
                        raise PartialError(
                            f"a task was lost ({lost}), after {self.restarts} restarts; it last said:\n{last[job]}",
                            wanted="nodes and workers that live",
                            fix="a kill by the system often means too little memory; then run the same command again",
                        )
                    restarts[job] += 1
                    waiting.appendleft(job)
                poll()
            return tuple(Outcome(job, restarts[job], last[job]) for job in dealt.jobs)
        finally:
            for ref in running:
                ray.cancel(ref, force=True)


@dataclass(frozen=True)
class _Shared:
    """Jobs in a folder that nodes see too."""

    command: tuple[str, ...]
    jobs: tuple[Path, ...]
    task = staticmethod(work)

    def told(self, job: Path) -> tuple[object, ...]:
        """What a task is told of a job."""
        return str(job.resolve()), self.command

    def left(self, job: Path, lost: str) -> str:
        """Why a job whose task has ended is to be made again; empty when it is not."""
        return lost


@dataclass(frozen=True)
class _Apart:
    """Jobs of one batch each, made by way of an exchange."""

    command: tuple[str, ...]
    jobs: tuple[Path, ...]
    exchange: Exchange
    every: float
    store: Store
    fingerprint: str
    batches: Mapping[Path, tuple[Planned, ...]]
    task = staticmethod(work_apart)

    def told(self, job: Path) -> tuple[object, ...]:
        """As `_Shared`."""
        return self.exchange.url, self.fingerprint, self._missing(job), self.command, self.every

    def left(self, job: Path, lost: str) -> str:
        """As `_Shared`, after what has ended of it is home, of a lost task too."""
        self.exchange.bring_home(self.store, self._missing(job), self.fingerprint)
        return (lost or "without a trial that can be read") if self._missing(job) else ""

    def _missing(self, job: Path) -> tuple[Planned, ...]:
        return tuple(run for run in self.batches[job] if not self.store.has(run.id))


def _ended(ray: Any, ref: Any) -> tuple[str, str]:
    """How a task was lost, empty if it was not; and its worker's last words.

    Raises:
        UsageError, DataError, PartialError: its worker ended with that error.
    """
    try:
        code, said = ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise UsageError(
            f"a node could not run a task: {str(error).strip().splitlines()[-1]}",
            wanted="this version of Cuvée with its extra `train` on all nodes",
        ) from error
    except ray.exceptions.RayError as error:
        return type(error).__name__, str(error).strip()
    if code in EXPLAINED:
        raise EXPLAINED[code](said or f"a worker ended with exit code {code}")
    return (how(code) if code else ""), said


def _import() -> Any:
    try:
        import ray
    except ModuleNotFoundError:
        raise missing_extra("ray", "ray", "running on a Ray cluster") from None
    return ray
