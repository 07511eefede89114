"""The worker command for runs too large for one process: `torchrun --nproc-per-node N -m cuvee.study.together JOB`.

The first process is a worker: it claims, publishes and clears up. When it trains it names the run to the others, which
train along. Killed as a whole and started again, it goes on from the checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist

from cuvee.plan.trial import Plan, Trial
from cuvee.proxies.ddp import train_together
from cuvee.shards.corpus import Corpus
from cuvee.study import worker
from cuvee.study.store import Store, read_job

NAME = 32
"""Characters of an id; as many zeros say that there is nothing more to do."""


def lead(
    plans: Sequence[Plan], corpus: Corpus, *, checkpoint: Path | None = None, inputs: Path | None = None
) -> tuple[Trial, ...]:
    """Train with the processes that `follow`: the trainer of the first process."""
    (plan,) = plans
    _announce(plan.id(corpus.fingerprint).encode("ascii"))
    return train_together(plans, corpus, checkpoint=checkpoint, inputs=inputs)


def follow(job_file: Path) -> None:
    """Train along whatever the first process names, until it names nothing."""
    job, here = read_job(job_file), job_file.resolve().parent
    store, corpus = Store(here / job.study), Corpus.open(here / job.corpus)
    planned = store.planned()
    while any(name := _announce(bytes(NAME))):
        run = planned[name.decode("ascii")]
        train_together([run.plan], corpus, checkpoint=store.checkpoint_path(run.id), inputs=store.inputs)


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
        if dist.get_rank() > 0:
            follow(job)
            return 0
        code = worker.main([str(job)], lead)
        _announce(bytes(NAME))
        return code
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
