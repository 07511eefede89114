"""Jobs in several processes: `python -m cuvee.corpus.workers` reads a job a line and answers a line.

Plain subprocesses, so that nothing is forked and callers need no `__main__` guard. A worker ends as soon as its
parent is gone, however that died.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import IO, Any

from cuvee.base import errors
from cuvee.base.codec import from_json, to_json
from cuvee.base.processes import environment, how, tail
from cuvee.corpus.decontaminate import MatchJob, match
from cuvee.corpus.scan import ScanJob, scan
from cuvee.corpus.tokenise import TokeniseJob, tokenise

DO: dict[type[Any], Callable[[Any], None]] = {ScanJob: scan, MatchJob: match, TokeniseJob: tokenise}
"""Class of a job -> the function that does it."""
_KNOWN = {c.__name__: c for c in (errors.UsageError, errors.DataError, errors.InfeasibleError, errors.PartialError)}


def run_jobs(jobs: Sequence[Any], workers: int, done: Callable[[Any], None]) -> None:
    """Do all jobs, `workers` at a time; `done(job)` is called here after each. The first error ends it all.

    Raises:
        PartialError: a worker died; whatever else a job raises.
    """
    if min(workers, len(jobs)) <= 1:
        for job in jobs:
            DO[type(job)](job)
            done(job)
        return
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
    processes = [_Worker() for _ in range(min(workers, len(jobs)))]
    try:
        for worker in processes:
            threading.Thread(target=_feed, args=(worker, waiting, answers), daemon=True).start()
        for _ in jobs:
            job, error = answers.get()
            if error is not None:
                raise error
            done(job)
    finally:
        for worker in processes:
            worker.end()


def _feed(
    worker: _Worker, waiting: queue.SimpleQueue[Any], answers: queue.SimpleQueue[tuple[Any, BaseException | None]]
) -> None:
    while True:
        try:
            job = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            worker.ask(job)
        except BaseException as error:
            answers.put((job, error))
            return
        answers.put((job, None))


class _Worker:
    """One subprocess, one thread of work; what it writes to stderr is kept for the day it dies."""

    def __init__(self) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 closed by end
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cuvee.corpus.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment(),
        )

    def ask(self, job: Any) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"kind": type(job).__name__, "job": to_json(job)}).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise self._died()
        answer = json.loads(line)
        if "error" in answer:
            raise _KNOWN[answer["error"]](answer["what"], wanted=answer["wanted"], fix=answer["fix"])
        if "crash" in answer:
            raise RuntimeError(f"a worker failed:\n{answer['crash']}")

    def _died(self) -> errors.PartialError:
        code, said = self._process.wait(), tail(self._log)
        return errors.PartialError(
            f"a worker process ended {how(code)}{': ' + said if said else ''}",
            fix="run the same command again, with fewer workers if memory is short; what was finished is kept",
        )

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _serve(source: IO[bytes], sink: IO[bytes]) -> None:
    """Do the jobs that come in; leave at once when the other end is gone, also in the middle of a job."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        for line in source:
            lines.put(line)
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        request = json.loads(lines.get())
        sink.write(json.dumps(_answer(request)).encode() + b"\n")
        sink.flush()


def _answer(request: dict[str, Any]) -> dict[str, str]:
    try:
        kind = next(k for k in DO if k.__name__ == request["kind"])
        DO[kind](from_json(kind, request["job"]))
    except errors.CuveeError as error:
        known = next(c.__name__ for c in type(error).__mro__ if c.__name__ in _KNOWN)
        return {"error": known, "what": error.what, "wanted": error.wanted, "fix": error.fix}
    except Exception:
        return {"crash": traceback.format_exc()}
    return {}


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
