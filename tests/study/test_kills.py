"""The real command, killed at random moments, run twice at a time: always the same choice, to the byte."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cuvee.shards.corpus import Corpus
from cuvee.study import claims
from cuvee.study.study import Study
from cuvee.testing.corpora import synthetic

pytestmark = pytest.mark.slow

ROOT = str(Path(__file__).resolve().parent.parent.parent)
KILLS = 12
COMMAND = """
import sys
import cuvee
from cuvee.methods import Regression
from cuvee.study.runners.local import Local

folder, corpus, workers, worker = sys.argv[1], cuvee.Corpus.open(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
proxy = cuvee.plan.problem.Proxy(tokens=2048, size="0.1M", seq_len=8, batch=16, eval_points=1)
problem = cuvee.Problem.from_corpus(corpus, target_tokens=12_000, targets={"a": 1, "c": 1}, max_epochs=4, proxy=proxy)
study = cuvee.Study.open(folder, problem, corpus, Regression(runs=16, blocks=4))
study.run(workers=workers, runner=Local(command=(sys.executable, "-m", *worker)) if worker else None)
study.choose()
"""
EAGER = ("tests.study.fake_worker", "eager")


def start(folder: Path, corpus: Path, workers: int = 2, worker: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder), str(corpus), str(workers), *worker],
        env={**os.environ, "PYTHONPATH": ROOT},
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr.decode()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return synthetic(tmp_path_factory.mktemp("kills") / "corpus", documents=60)


@pytest.fixture(scope="module")
def reference(small: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "study"
    finish(start(folder, small.path))
    return folder


def same(folder: Path, reference: Path) -> None:
    """The same choice, rounds and trials, and nothing left lying about."""
    assert (folder / "choice.json").read_bytes() == (reference / "choice.json").read_bytes()
    for room in ("rounds", "trials"):
        names = [sorted(p.name for p in (f / room).rglob("*.json")) for f in (folder, reference)]
        assert names[0] == names[1]
    assert all((folder / "rounds" / p.name).read_bytes() == p.read_bytes() for p in (reference / "rounds").iterdir())
    ours, theirs = Study.load(folder).trials(), Study.load(reference).trials()
    assert [t.curves for t in ours] == [t.curves for t in theirs]
    assert list((folder / "checkpoints").iterdir()) == []


def trials(folder: Path) -> int:
    return len(list(folder.glob("trials/*/*.json")))


def until_killed(process: subprocess.Popen[bytes], folder: Path, chance: random.Random) -> bool:
    """Kill -9 the command at a random moment of its start, or soon after its next trial; or one of its workers. Whether
    the command was killed (it may have been faster)."""
    had, deadline = trials(folder), time.monotonic() + chance.uniform(0.1, 2.5)
    wait_for_trial = chance.random() < 0.5
    while process.poll() is None and (trials(folder) == had if wait_for_trial else time.monotonic() < deadline):
        time.sleep(0.01)
    time.sleep(chance.uniform(0, 0.3))
    if chance.random() < 0.2:
        owners = [claims.read_owner(p) for p in folder.glob("claims/*.json")]
        for pid in {o.pid for o in owners if o is not None and claims.alive(o.pid)} - {os.getpid()}:
            os.kill(pid, 9)
    if process.poll() is not None:
        finish(process)
        return False
    process.kill()
    process.communicate()
    return True


def test_killed_again_and_again_it_makes_the_same_choice(small: Corpus, reference: Path, tmp_path: Path) -> None:
    chance, kills, studies = random.Random(0), 0, 0
    while kills < KILLS:
        folder, finished = tmp_path / str(studies), False
        while not finished and kills < KILLS:
            worker = EAGER if chance.random() < 0.5 else ()
            killed = until_killed(start(folder, small.path, chance.choice((1, 2)), worker), folder, chance)
            kills, finished = kills + killed, not killed
        finish(start(folder, small.path))
        same(folder, reference)
        studies += 1


def test_two_processes_on_one_study_make_one_choice(small: Corpus, reference: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    processes = [start(folder, small.path) for _ in range(2)]
    for process in processes:
        finish(process)
    same(folder, reference)
