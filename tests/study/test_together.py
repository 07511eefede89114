"""One run by two processes under the real `torchrun`, against the same run by one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cuvee.plan.problem import Proxy
from cuvee.shards.corpus import Corpus
from cuvee.study.layout import Planned, Round
from cuvee.study.store import Store
from tests.study.fakes import problem

pytestmark = pytest.mark.slow
STEPS = 30


@pytest.fixture
def large(folder: Path, corpus: Corpus) -> Store:
    """A study with one run of 1M parameters, of batches that two processes cannot halve."""
    proxy = Proxy(tokens=STEPS * 5 * 16, size="1M", seq_len=16, batch=5, eval_points=2)
    question = replace(problem(corpus), proxy=proxy)
    plan = question.plan(question.natural, 0)
    made = Store(folder)
    made.write_round(0, Round((Planned(plan.id(corpus.fingerprint), plan),)))
    return made


def start(job: Path, processes: int) -> subprocess.Popen[bytes]:
    module = ["-m", "cuvee.study.together", str(job)]
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *module],
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def test_two_processes_give_the_losses_of_one(large: Store, corpus: Corpus) -> None:
    import torch

    from cuvee.proxies.train import train

    ((run, planned),) = large.planned().items()
    assert planned.plan.shape.parameters > 900_000
    process = start(large.write_job(corpus.path, (run,)), 2)
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr.decode()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    (alone,) = train([planned.plan], corpus)
    torch.set_num_threads(threads)
    together = large.trial(run)
    assert together is not None
    assert (together.status, together.provenance["processes"]) == ("done", "2")
    assert together.realised == alone.realised
    ours, theirs = (np.array([c.bits_per_byte for c in trial.curves]) for trial in (together, alone))
    drop = theirs[:, 0] - theirs[:, -1]
    assert (drop > 0.05).all(), "it learns, so that gradients count"
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5)
    assert not list((large.folder / "checkpoints").iterdir())
    assert not list((large.folder / "claims").iterdir())
