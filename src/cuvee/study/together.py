"""The worker command for runs too large for one process: `torchrun --nproc-per-node N -m cuvee.study.together JOB`.

The first process is a worker: it claims, publishes and clears up. When it trains it names the run to the others, which
train along. Killed, as a whole or in part, and started again, it goes on from the checkpoint, with any number of processes.

An error in training is a result of the run if all processes are there afterwards. Otherwise one was killed or failed
alone, the error is what the others make of that, and the run has no result so far.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from cuvee.base.errors import CuveeError, PartialError
from cuvee.plan.trial import Plan, Trial
from cuvee.proxies.ddp import check, train_together
from cuvee.shards.corpus import Corpus
from cuvee.study import worker
from cuvee.study.store import Store, read_job

NAME = 32
"""Characters of an id; as many zeros say that there is nothing more to do."""
PATIENCE = timedelta(seconds=20)
"""How long a process that met an error waits for the others to meet it."""


def lead(
    plans: Sequence[Plan], corpus: Corpus, *, checkpoint: Path | None = None, inputs: Path | None = None
) -> tuple[Trial, ...]:
    """Train with the processes that `follow`: the trainer of the first process."""
    (plan,) = plans
    _announce(plan.id(corpus.fingerprint).encode("ascii"))
    try:
        return train_together(plans, corpus, checkpoint=checkpoint, inputs=inputs)
    except Exception as error:
        _all_here(error)
        raise


def follow(job_file: Path) -> None:
    """Train along whatever the first process names, until it names nothing."""
    job, here = read_job(job_file), job_file.resolve().parent
    store, corpus = Store(here / job.study), Corpus.open(here / job.corpus)
    planned = store.planned()
    planned |= {run.id: run for run in (worker.slower(p.plan, corpus.fingerprint) for p in planned.values())}
    while any(name := _announce(bytes(NAME))):
        run = planned[name.decode("ascii")]
        try:
            train_together([run.plan], corpus, checkpoint=store.checkpoint_path(run.id), inputs=store.inputs)
        except Exception as error:
            _all_here(error)  # then the first process publishes it as the run's result, and goes on


def _check(job_file: Path) -> None:
    """Refuse the job in every process alike, before a run of it gets a result that says no more than this."""
    job = read_job(job_file)
    store = Store(job_file.resolve().parent / job.study)
    planned = store.planned()
    for run in (planned[i] for i in job.plans if i in planned and not store.has(i)):
        check(run.plan, dist.get_world_size())


def _all_here(error: Exception) -> None:
    """Raises PartialError where other processes did not meet an error: one is gone, or this one failed alone."""
    try:
        dist.monitored_barrier(timeout=PATIENCE)
    except RuntimeError:
        if isinstance(error, PartialError):
            raise error from None
        raise PartialError(
            f"a process that trained along is gone, or this one failed alone: {type(error).__name__}: {error}",
            wanted="all of them until the run has ended",
            fix="run the same command again, or give torchrun --max-restarts: it goes on from the checkpoint",
        ) from error


def _announce(name: bytes) -> bytes:
    """What the first process says, in all of them."""
    letters = torch.tensor(list(name), dtype=torch.uint8)
    dist.broadcast(letters, 0)
    return bytes(letters.tolist())


def main(arguments: Sequence[str]) -> int:
    """The command, in each of the processes that `torchrun` starts."""
    parser = argparse.ArgumentParser(prog="torchrun -m cuvee.study.together", description="Make a job's runs together.")
    parser.add_argument("job", type=Path, help="a file in the study's jobs folder")
    job = parser.parse_args(arguments).job
    dist.init_process_group("gloo")
    try:
        try:
            _check(job)
        except CuveeError as error:
            if dist.get_rank() == 0:
                print(error, file=sys.stderr)
            return error.exit_code
        if dist.get_rank() > 0:
            follow(job)
            return 0
        code = worker.main([str(job)], lead)
        with contextlib.suppress(RuntimeError):  # those that are gone need no word
            _announce(bytes(NAME))
        return code
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
