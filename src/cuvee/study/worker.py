"""The worker command, the same under every runner: `python -m cuvee.study.worker JOB`.

For each trial of the job, or batch of those trained together, that is not there yet: claim it, train, publish, remove the
checkpoint and the claim. It ends when every trial of the job exists, whoever made it. An exception in training is a
result (a trial with status `failed`), and so is a divergence, after one retry at half the learning rate; an interrupt, a
full disk or memory that ran out is not, and ends the worker with the exit code 5.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
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
RETRY = 0.5
"""Share of the learning rate at which a run that diverged is made once more."""


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
    corpus = Corpus.open((here / job.corpus).resolve())
    planned = store.planned()
    if gone := [i for i in job.plans if i not in planned]:
        raise UsageError(
            f"the study no longer has run {gone[0]}", wanted="a job of the study as it is", fix="cuvee run"
        )
    runs = [planned[i] for i in job.plans]
    for run in runs:
        check_applies(run, corpus.fingerprint)
    groups = together(runs)
    while groups := [group for group in groups if not all(store.has(run.id) for run in group)]:
        if not [group for group in groups if _make(store, group, corpus, train)]:
            time.sleep(POLL)


def together(runs: Sequence[Planned]) -> list[tuple[Planned, ...]]:
    """What is trained as one batch: as many as plans say of those that differ in mixture only, the same from any order of them."""
    alike: dict[Plan, list[Planned]] = {}
    for run in runs:
        key = replace(run.plan, schedule=runs[0].plan.schedule) if members(run.plan) > 1 else run.plan
        alike.setdefault(key, []).append(run)
    groups = []
    for key, found in alike.items():
        size = members(key)
        if size > 1:
            found.sort(key=lambda run: run.id)
        groups += [tuple(found[i : i + size]) for i in range(0, len(found), size)]
    return groups


def members(plan: Plan) -> int:
    """How many runs like this one are trained as one batched model; n-gram models are counted one by one."""
    return 1 if plan.kind == "ngram" else plan.together


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


def _make(store: Store, group: tuple[Planned, ...], corpus: Corpus, train: Trainer) -> bool:
    """Make runs that are trained together unless they are made or claimed; whether they are done now."""
    if all(store.has(run.id) for run in group):
        return True
    claim = claims.take(store.claim_path(group[0].id))
    if claim is None:
        return False
    with claim:
        left = [run for run in group if not store.has(run.id)]
        try:
            trials = _train(left, corpus, train, store) if left else ()
            # not before all retries: with fewer runs left, what is kept of the batch would be of no use
            for trial in [_retried(trial, corpus, train, store) for trial in trials]:
                store.publish_trial(trial)
        except PartialError:
            # whoever took this claim over, thinking this worker dead, may have published and swept the checkpoint away
            if not all(store.has(run.id) for run in group):
                raise
        for run in group:
            store.forget(run.id)
    return True


def _retried(trial: Trial, corpus: Corpus, train: Trainer, store: Store) -> Trial:
    """The trial; if it diverged, after one more run at half the learning rate, of which its message tells.

    The other run has an id of its own and lies among the trials, yet stands in for nothing: trials of a block are compared
    at one learning rate. It tells whether the rate was at fault.
    """
    again = slower(trial.plan, corpus.fingerprint)
    if trial.status != "diverged" or again.id == trial.id:
        return trial
    if not store.has(again.id):
        store.publish_trial(*_train([again], corpus, train, store))
        store.forget(again.id)
    found = store.trial(again.id)
    ended = "could not be read" if found is None else f"ended {found.status}"
    return replace(trial, message=f"{trial.message}; at half the learning rate it {ended} (trial {again.id})")


def slower(plan: Plan, fingerprint: str) -> Planned:
    """The run that is made once this one has diverged."""
    plan = replace(plan, learning_rate=plan.learning_rate * RETRY)
    return Planned(plan.id(fingerprint), plan)


def _train(runs: Sequence[Planned], corpus: Corpus, train: Trainer, store: Store) -> tuple[Trial, ...]:
    checkpoint = store.checkpoint_path(runs[0].id)
    started, cpu = time.monotonic(), time.process_time()
    plans = [run.plan for run in runs]
    plans += plans[-1:] * (members(plans[0]) - len(plans))  # a model's numbers depend on how many are trained with it
    try:
        with explained(checkpoint):
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            trials = train(plans, corpus, checkpoint=checkpoint, inputs=store.inputs)[: len(runs)]
    except PartialError:
        raise
    except Exception as error:
        if isinstance(error, OSError) or _out_of_memory(error):
            raise PartialError(
                f"run {runs[0].id} was broken off: {type(error).__name__}: {error}",
                wanted="a machine with memory and disk to spare",
                fix="mend that and run the same command again; what was finished is kept",
            ) from error
        cost = Cost((time.monotonic() - started) / len(runs), (time.process_time() - cpu) / len(runs), 0.0)
        return tuple(_failed(run, cost, error) for run in runs)
    for run, trial in zip(runs, trials, strict=True):
        assert trial.id == run.id, f"the trainer gave the id {trial.id} to {run.id}"
    return trials


def _out_of_memory(error: Exception) -> bool:
    """torch has a RuntimeError for it: of a kind of its own on a GPU, told by its words alone on a CPU."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"MemoryError", "OutOfMemoryError"}) or "DefaultCPUAllocator: can't allocate" in str(error)


def _failed(run: Planned, cost: Cost, error: Exception) -> Trial:
    return Trial(
        id=run.id,
        plan=run.plan,
        status="failed",
        curves=(),
        realised=(0,) * len(run.plan.pools),
        cost=cost,
        provenance={"python": sys.version.split()[0], "cuvee": __version__},
        message=_describe(error),
    )


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
