"""The local runner: one worker process a job, one thread each, on this machine.

Workers hold the read end of a pipe on their standard input; when this process dies, however it dies, they see its
end and stop. They run in sessions of their own, so that an interrupt at the terminal reaches this process only, which
then stops them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from cuvee.base.errors import CuveeError, DataError, InfeasibleError, PartialError, UsageError
from cuvee.base.processes import environment, how, tail

POLL = 0.1
EXPLAINED: dict[int, type[CuveeError]] = {
    error.exit_code: error for error in (UsageError, DataError, InfeasibleError, PartialError)
}


@dataclass(frozen=True)
class Outcome:
    """How a job ended: restarts of its worker, and the last of what it wrote to standard error."""

    job: Path
    restarts: int
    stderr: str


class Runner(Protocol):
    """Runs job files to their end."""

    def run(self, jobs: Sequence[Path], poll: Callable[[], None]) -> tuple[Outcome, ...]:
        """One outcome a job; `poll` is called now and then while workers run."""


@dataclass(frozen=True)
class Local:
    """Worker processes on this machine.

    Args:
        restarts: How often a worker that crashes is started again, over all jobs.
        command: The worker command, to which the job is added.
    """

    restarts: int = 3
    command: tuple[str, ...] = (sys.executable, "-m", "cuvee.study.worker")

    def run(self, jobs: Sequence[Path], poll: Callable[[], None]) -> tuple[Outcome, ...]:
        """Run all jobs at once.

        Raises:
            UsageError, DataError, PartialError: a worker ended with that error, or crashed more often than allowed.
        """
        workers: list[_Worker] = []
        try:
            workers.extend(_Worker(job, self.command) for job in jobs)
            while any(w.process.poll() != 0 for w in workers):
                for worker in workers:
                    self._look(worker, workers)
                poll()
                time.sleep(POLL)
            poll()
            return tuple(Outcome(w.job, w.restarts, w.tail()) for w in workers)
        finally:
            for worker in workers:
                worker.stop()

    def _look(self, worker: _Worker, workers: Sequence[_Worker]) -> None:
        code = worker.process.poll()
        if code is None or code == 0:
            return
        if code in EXPLAINED:
            raise EXPLAINED[code](worker.tail() or f"a worker ended with exit code {code}")
        if sum(w.restarts for w in workers) >= self.restarts:
            raise PartialError(
                f"a worker ended {how(code)} and was restarted {self.restarts} times before; it last said:\n{worker.tail()}",
                wanted="workers that live",
                fix="a kill by the system often means too little memory: use fewer workers; then run the same command again",
            )
        worker.restart()


class _Worker:
    """One worker process at a time for one job."""

    def __init__(self, job: Path, command: tuple[str, ...]) -> None:
        self.job, self.command, self.restarts = job, command, 0
        self.stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self.command, str(self.job), "--end-with-stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self.stderr,
            env=environment(),
            start_new_session=True,
        )

    def restart(self) -> None:
        self._close()
        self.restarts += 1
        self.process = self._start()

    def stop(self) -> None:
        """End the process; a checkpoint keeps what it had done."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._close()
        self.stderr.close()

    def _close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def tail(self) -> str:
        """The last of what the worker wrote to standard error."""
        return tail(self.stderr)
