"""The worker command, the same under every runner: `python -m cuvee.study.worker JOB`.

For each trial of the job that is not there yet: claim it, train, publish, remove the checkpoint and the claim. It ends
when every trial of the job exists, whoever made it. An exception in training is a result (a trial with status
`failed`); an interrupt, a full disk or memory that ran out is not, and ends the worker with the exit code 5.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cuvee import __version__
from cuvee.base.errors import CuveeError, PartialError, UsageError, missing_extra
from cuvee.base.files import explained
from cuvee.plan.trial import Cost, Plan, Trial
from cuvee.shards.corpus import Corpus
from cuvee.study import claims
from cuvee.study.layout import Planned
from cuvee.study.store import Store, read_job

POLL = 0.2
"""Seconds between looks at runs that others make."""


class Trainer(Protocol):
    """Trains plans of one size and block; `cuvee.proxies.train.train` is one."""

    def __call__(
        self, plans: Sequence[Plan], corpus: Corpus, *, checkpoint: Path | None = None, inputs: Path | None = None
    ) -> tuple[Trial, ...]:
        """One trial a plan; an unfinished run goes on from `checkpoint`, arrays that plans name lie in `inputs`."""


def work(job_file: Path, train: Trainer) -> None:
    """Make the runs of a job until all of them are published, here or elsewhere.

    Raises:
        UsageError: a run that the study no longer has, or planned for another corpus or by another version of the training code.
        PartialError: the disk or the memory is full.
    """
    job, here = read_job(job_file), job_file.resolve().parent
    store = Store(here / job.study)
    corpus = Corpus.open(here / job.corpus)
    planned = store.planned()
    if gone := [i for i in job.plans if i not in planned]:
        raise UsageError(
            f"the study no longer has run {gone[0]}", wanted="a job of the study as it is", fix="cuvee run"
        )
    runs = [planned[i] for i in job.plans]
    for run in runs:
        check_applies(run, corpus.fingerprint)
    while runs := [run for run in runs if not store.has(run.id)]:
        if not [run for run in runs if _make(store, run, corpus, train)]:
            time.sleep(POLL)


def check_applies(run: Planned, fingerprint: str) -> None:
    """Refuse a run whose id this version would not give it: its trial would not compare with the others.

    Raises:
        UsageError: see above.
    """
    if run.plan.id(fingerprint) != run.id:
        raise UsageError(
            f"run {run.id} was planned for another corpus or by another version of the training code",
            wanted=f"the id {run.plan.id(fingerprint)}",
            fix="finish the study with the version that began it, or restart it with --accept",
        )


def _make(store: Store, run: Planned, corpus: Corpus, train: Trainer) -> bool:
    """Make one run unless it is made or claimed; whether it is done now."""
    if store.has(run.id):
        return True
    claim = claims.take(store.claim_path(run.id))
    if claim is None:
        return False
    with claim:
        try:
            if not store.has(run.id):
                store.publish_trial(_train(run, corpus, train, store))
        except PartialError:
            # whoever took this claim over, thinking this worker dead, may have published and swept the checkpoint away
            if not store.has(run.id):
                raise
        store.checkpoint_path(run.id).unlink(missing_ok=True)
    return True


def _train(run: Planned, corpus: Corpus, train: Trainer, store: Store) -> Trial:
    checkpoint = store.checkpoint_path(run.id)
    started, cpu = time.monotonic(), time.process_time()
    try:
        with explained(checkpoint):
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            (trial,) = train([run.plan], corpus, checkpoint=checkpoint, inputs=store.inputs)
    except PartialError:
        raise
    except (OSError, MemoryError) as error:
        raise PartialError(
            f"run {run.id} was broken off: {type(error).__name__}: {error}",
            wanted="a machine with memory and disk to spare",
            fix="mend that and run the same command again; what was finished is kept",
        ) from error
    except Exception as error:
        return Trial(
            id=run.id,
            plan=run.plan,
            status="failed",
            curves=(),
            realised=(0,) * len(run.plan.pools),
            cost=Cost(time.monotonic() - started, time.process_time() - cpu, 0.0),
            provenance={"python": sys.version.split()[0], "cuvee": __version__},
            message=_describe(error),
        )
    assert trial.id == run.id, f"the trainer gave the id {trial.id} to {run.id}"
    return trial


def _describe(error: Exception) -> str:
    """The error and the functions it came through, without paths of this machine."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " > ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames)
    return f"{type(error).__name__}: {error} [{places}]"


def _end_with_parent() -> None:
    """End this process at once when standard input closes: the runner that holds its other end has died."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os._exit(PartialError.exit_code)

    threading.Thread(target=wait, daemon=True, name="parent").start()


def main(arguments: Sequence[str], train: Trainer | None = None) -> int:
    """The command; `train` replaces the real training in tests."""
    parser = argparse.ArgumentParser(prog="python -m cuvee.study.worker", description="Make the runs of a study's job.")
    parser.add_argument("job", type=Path, help="a file in the study's jobs folder")
    parser.add_argument("--end-with-stdin", action="store_true", help="end when standard input closes")
    options = parser.parse_args(arguments)
    if options.end_with_stdin:
        _end_with_parent()
    try:
        work(options.job, train or _real_trainer())
    except CuveeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return PartialError.exit_code
    return 0


def _real_trainer() -> Trainer:
    try:
        import torch
    except ModuleNotFoundError:
        raise missing_extra("torch", "train", "training proxies") from None
    from cuvee.proxies.train import train

    torch.set_num_threads(1)
    return train


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
