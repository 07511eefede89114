"""The Ray runner: one worker command a task, wherever a Ray cluster has room for it.

Driver, nodes and workers meet in the study's folder only: a task is told the path of a job file and gives back how the
worker command ended. What Ray itself does not promise, the folder does: runs are claimed there, go on from their
checkpoints there, and count once. So a node or the driver may die at any moment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuvee.base.errors import DataError, PartialError, UsageError, missing_extra
from cuvee.base.processes import environment, how, tail
from cuvee.study.runners.local import EXPLAINED, Outcome

POLL = 0.5
"""Seconds that the driver waits for news at a time."""


@dataclass(frozen=True)
class Ray:
    """Tasks on a Ray cluster that runs already; none is started. Nodes need Cuvée and the study's folder at the same path.

    Args:
        address: Of the cluster; that of `RAY_ADDRESS`, else the one that this machine belongs to, when left out.
        num_cpus, num_gpus: What a task holds of its node while it runs; it uses one thread.
        restarts: How often tasks that were lost (with a node, or by a crash) are started again, over all jobs.
        command: What a node's Python runs, to which the job is added.
    """

    address: str | None = None
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    restarts: int = 3
    command: tuple[str, ...] = ("-m", "cuvee.study.worker")

    def run(self, jobs: Sequence[Path], poll: Callable[[], None]) -> tuple[Outcome, ...]:
        """Run all jobs, as many at a time as the cluster has room for.

        Raises:
            UsageError: Ray is not installed, there is no cluster, or its nodes lack Cuvée.
            UsageError, DataError, PartialError: a worker ended with that error, or tasks were lost more often than allowed.
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
            return self._run(ray, jobs, poll)
        finally:
            if connect:
                ray.shutdown()

    def _run(self, ray: Any, jobs: Sequence[Path], poll: Callable[[], None]) -> tuple[Outcome, ...]:
        # lost tasks are started again here, not by Ray, so that crashes of nodes and of workers count as one
        task = ray.remote(num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=0)(work)
        restarts, last = dict.fromkeys(jobs, 0), dict.fromkeys(jobs, "")
        running = {task.remote(str(job.resolve()), self.command): job for job in jobs}
        try:
            while running:
                for ref in ray.wait(list(running), timeout=POLL)[0]:
                    job = running.pop(ref)
                    lost, last[job] = _ended(ray, ref)
                    if not lost:
                        continue
                    if sum(restarts.values()) >= self.restarts:
                        raise PartialError(
                            f"a task was lost ({lost}), after {self.restarts} restarts; it last said:\n{last[job]}",
                            wanted="nodes and workers that live",
                            fix="a kill by the system often means too little memory; then run the same command again",
                        )
                    restarts[job] += 1
                    running[task.remote(str(job.resolve()), self.command)] = job
                poll()
            return tuple(Outcome(job, restarts[job], last[job]) for job in jobs)
        finally:
            for ref in running:
                ray.cancel(ref, force=True)


def work(job: str, command: Sequence[str]) -> tuple[int, str]:
    """On a node: run the worker command on a job to its end. Its exit code, and the last of its standard error."""
    if not Path(job).exists():
        return (
            DataError.exit_code,
            f"a node does not see {job}\n  wanted: the study's folder at the same path on all nodes",
        )
    with (
        tempfile.TemporaryFile() as stderr,
        subprocess.Popen(
            [sys.executable, *command, job, "--end-with-stdin"],
            stdin=subprocess.PIPE,  # held by this process: when its node is lost, the worker ends
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=environment(),
        ) as process,
    ):
        try:
            return process.wait(), tail(stderr)
        finally:
            process.kill()


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
