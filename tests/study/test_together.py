"""One run by several processes under the real `torchrun`, against the same run by one; killed, and started again."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cuvee.base.errors import PartialError
from cuvee.plan.problem import Proxy
from cuvee.plan.trial import Trial
from cuvee.shards.corpus import Corpus
from cuvee.study import claims
from cuvee.study.layout import Planned, Round
from cuvee.study.store import Store
from cuvee.study.together import _all_here
from cuvee.study.worker import slower
from tests.study.fakes import problem
from tests.study.fleet import ROOT

STEPS = 30
TOLERANCE = 2e-5
"""Bits/byte between one process and several (`docs/runners.md`)."""


def make_large(folder: Path, corpus: Corpus) -> Store:
    """A study with one run of 1M parameters, of batches that two processes cannot halve."""
    proxy = Proxy(tokens=STEPS * 5 * 16, size="1M", seq_len=16, batch=5, eval_points=2)
    question = replace(problem(corpus), proxy=proxy)
    plan = question.plan(question.natural, 0)
    made = Store(folder)
    made.write_round(0, Round((Planned(plan.id(corpus.fingerprint), plan),)))
    return made


def start(
    store: Store, corpus: Corpus, processes: int, module: str = "cuvee.study.together"
) -> subprocess.Popen[bytes]:
    job = store.write_job(corpus.path, tuple(store.planned()))
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"),
            *("-m", module, str(job)),
        ],
        env={
            **os.environ,
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": ROOT + os.pathsep + os.environ.get("PYTHONPATH", ""),
        },
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[bytes], store: Store) -> Trial:
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr.decode()
    (run,) = store.planned()
    trial = store.trial(run)
    assert trial is not None
    assert trial.status == "done", trial.message
    assert not list((store.folder / "checkpoints").iterdir())
    assert not list((store.folder / "claims").iterdir())
    return trial


def losses(trial: Trial) -> NDArray[np.float64]:
    return np.array([c.bits_per_byte for c in trial.curves])


@pytest.fixture(scope="module")
def undisturbed(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """The run by two processes that nobody kills."""
    large = make_large(tmp_path_factory.mktemp("undisturbed") / "study", corpus)
    return ended(start(large, corpus, 2), large)


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(undisturbed: Trial, corpus: Corpus) -> None:
    import torch

    from cuvee.proxies.train import train

    assert undisturbed.plan.shape.parameters > 900_000
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    (alone,) = train([undisturbed.plan], corpus)
    torch.set_num_threads(threads)
    assert undisturbed.provenance["processes"] == "2"
    assert undisturbed.realised == alone.realised
    drop = losses(alone)[:, 0] - losses(alone)[:, -1]
    assert (drop > 0.05).all(), "it learns, so that gradients count"
    np.testing.assert_allclose(losses(undisturbed), losses(alone), rtol=0, atol=TOLERANCE)


def kill(store: Store, corpus: Corpus, victims: tuple[str, ...]) -> None:
    """Start the run with two processes and kill -9 those of these ranks after some steps; with all of them `torchrun` too."""
    process = start(store, corpus, 2, "tests.study.fake_together")
    (run,) = store.planned()
    while not store.checkpoint_path(run).exists():
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.01)
    notes = {p.name.split(".")[0]: p for p in store.folder.glob("*.first")}
    if len(victims) == 2:
        process.kill()
    for rank in victims:
        os.kill(int(notes[rank].name.split(".")[1]), 9)
    _, stderr = process.communicate()
    assert process.returncode != 0
    for note in notes.values():  # without its agent nobody waits for a process that has to find out by itself
        while claims.alive(int(note.name.split(".")[1])):
            time.sleep(0.05)
        note.unlink()
    assert store.trial(run) is None, f"no result of the run itself: {stderr.decode()}"


@pytest.mark.slow
def test_one_that_lost_the_other_publishes_no_result(corpus: Corpus, folder: Path) -> None:
    kill(make_large(folder, corpus), corpus, ("1",))


@pytest.mark.slow
def test_killed_and_run_again_it_is_the_same_run(undisturbed: Trial, corpus: Corpus, folder: Path) -> None:
    large = make_large(folder, corpus)
    kill(large, corpus, ("0", "1"))
    others = folder.with_name("others")
    shutil.copytree(folder, others)
    again = ended(start(large, corpus, 2, "tests.study.fake_together"), large)
    first = {int(note.read_text(encoding="utf-8")) for note in folder.glob("*.first")}
    assert len(first) == 1
    assert 1 < first.pop() <= STEPS, "not from the beginning"
    assert (again.curves, again.realised) == (undisturbed.curves, undisturbed.realised)
    store = Store(others)  # a checkpoint does not depend on the number of processes
    other = ended(start(store, corpus, 1), store)
    assert other.provenance["processes"] == "1"
    assert other.realised == undisturbed.realised
    np.testing.assert_allclose(losses(other), losses(undisturbed), rtol=0, atol=TOLERANCE)


@pytest.mark.slow
def test_an_error_or_a_divergence_is_the_result_of_a_run_and_the_next_is_made(corpus: Corpus, folder: Path) -> None:
    large = make_large(folder, corpus)
    (run,) = large.planned().values()
    small = replace(run.plan, size="0.1M", steps=4)
    plans = [replace(small, targets=("nowhere",)), replace(small, learning_rate=1e30), small]
    large.retire(["rounds"])
    large.write_round(0, Round(tuple(Planned(plan.id(corpus.fingerprint), plan) for plan in plans)))
    process = start(large, corpus, 2)
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr.decode()
    failed, diverged, done = (large.trial(run) for run in large.planned())
    assert failed is not None
    assert diverged is not None
    assert done is not None
    again = slower(diverged.plan, corpus.fingerprint)
    assert (failed.status, diverged.status) == ("failed", "diverged")
    assert f"at half the learning rate it ended diverged (trial {again.id})" in diverged.message
    assert "nowhere" in failed.message
    assert (done.status, done.provenance["processes"]) == ("done", "2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch": 1}, "2 processes for batches of 1 sequences"),
        ({"together": 4}, "4 together, on cpu, by several processes"),
    ],
)
def test_what_cannot_be_shared_is_refused_and_gets_no_result(
    corpus: Corpus, folder: Path, change: dict[str, int], said: str
) -> None:
    large = make_large(folder, corpus)
    (run,) = large.planned().values()
    plan = replace(run.plan, batch=change.get("batch", run.plan.batch), together=change.get("together", 1))
    large.retire(["rounds"])
    large.write_round(0, Round((Planned(plan.id(corpus.fingerprint), plan),)))
    process = start(large, corpus, 2)
    _, stderr = process.communicate()
    assert process.returncode != 0
    assert said in stderr.decode()
    assert "Traceback (most recent call last):\n  File" not in stderr.decode().partition(said)[0]
    assert not any(large.trial(run) for run in large.planned())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "I/O"), "failed alone: OSError: .*I/O"),
        (PartialError("the disk is full"), "^the disk is full"),
    ],
)
def test_what_only_one_process_met_is_said(error: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(timeout: timedelta) -> None:
        raise RuntimeError("rank 1 failed to pass monitoredBarrier")

    monkeypatch.setattr("torch.distributed.monitored_barrier", nobody)
    with pytest.raises(PartialError, match=said) as raised:
        _all_here(error)
    assert error in (raised.value, raised.value.__cause__)
