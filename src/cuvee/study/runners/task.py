"""What a task does on a node: run the worker command on a job, in the study's folder or, where nodes see no folder of the
driver's, in one of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cuvee.base.errors import CuveeError, DataError
from cuvee.base.processes import environment, tail
from cuvee.study.layout import Planned, Round
from cuvee.study.runners.exchange import Courier, Exchange, cache_folder, with_retries
from cuvee.study.runners.remote import Unanswered
from cuvee.study.store import Store

EVERY = 30.0
"""Seconds between looks at what is new in a task's own study."""
LOST = 1
"""The exit code of a task that may do better when it is started again."""
OWN = "cuvee-task-"


def work(job: str, command: Sequence[str]) -> tuple[int, str]:
    """Run the worker command on a job to its end. Its exit code, and the last of its standard error."""
    if not Path(job).exists():
        return (
            DataError.exit_code,
            f"a node does not see {job}\n  wanted: the study's folder at the same path on all nodes, or ray: exchange",
        )
    return _work(job, command, lambda: None)


def work_apart(
    url: str, fingerprint: str, runs: Sequence[Planned], command: Sequence[str], every: float = EVERY
) -> tuple[int, str]:
    """As `work`, of runs that are trained together, where this machine shares nothing with the driver but an exchange.

    Args:
        url: Of the exchange; the corpus and what the runs need besides are there.
        fingerprint: Of the corpus.
        runs: Those of a batch that have not ended.
        command: The worker command, to which the job is added.
        every: Seconds between looks at what is new.
    """
    exchange = Exchange(url)
    ids = with_retries(runs, fingerprint)
    try:
        with _own_folder() as folder:
            store = Store(folder / "study")
            corpus = exchange.bring_corpus(fingerprint, cache_folder())
            exchange.bring_inputs(runs, cache_folder(), store.inputs)
            wanted = {run.id for run in runs}
            exchange.bring_trials(store, [i for i in ids if i not in wanted], fingerprint)
            courier = Courier(exchange, store)
            courier.bring(ids)
            store.write_round(0, Round(tuple(runs)))
            job = store.write_job(corpus, tuple(run.id for run in runs))

            def send() -> None:
                with suppress(Unanswered):  # again when the next is due
                    courier.send()

            ended = _work(str(job), command, send, every)
            courier.send()
            return ended
    except (Unanswered, OSError) as error:
        return LOST, f"{type(error).__name__}: {error}"
    except CuveeError as error:
        return error.exit_code, str(error)


def _work(
    job: str, command: Sequence[str], meanwhile: Callable[[], None], every: float | None = None
) -> tuple[int, str]:
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
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(every), tail(stderr)
                meanwhile()
        finally:
            process.kill()


@contextmanager
def _own_folder() -> Iterator[Path]:
    """A temporary folder, locked while this process lives, which may be killed; those of tasks that were are removed."""
    import fcntl  # Windows has none, and no nodes either

    for lock in Path(tempfile.gettempdir()).glob(f"{OWN}*/lock"):
        with suppress(OSError), open(lock) as file:  # also another user's
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=OWN) as name, open(Path(name) / "unlocked", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        Path(file.name).rename(Path(name) / "lock")
        yield Path(name)
