from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cuvee.base.errors import DataError, PartialError
from cuvee.base.processes import environment
from cuvee.shards.corpus import Corpus
from cuvee.study import claims
from cuvee.study.runners.local import Local
from cuvee.study.store import Store

pytestmark = pytest.mark.slow

ROOT = str(Path(__file__).resolve().parent.parent.parent)


@pytest.fixture(autouse=True)
def tests_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ROOT)


def local(mode: str) -> Local:
    return Local(command=(sys.executable, "-m", "tests.study.fake_worker", mode))


def jobs(store: Store, corpus: Corpus, count: int) -> list[Path]:
    ids = tuple(store.planned())
    return [store.write_job(corpus.path, (*ids[k:], *ids[:k])) for k in range(count)]


def test_two_workers_share_the_runs(store: Store, corpus: Corpus) -> None:
    polls: list[int] = []
    outcomes = local("fake").run(jobs(store, corpus, 2), lambda: polls.append(1))
    assert [o.restarts for o in outcomes] == [0, 0]
    assert polls
    assert len(store.trials(store.planned().values())) == 3


def test_a_worker_that_dies_is_started_again(store: Store, corpus: Corpus) -> None:
    runner = Local(restarts=2, command=local("crash-once").command)
    job = store.write_job(corpus.path, tuple(store.planned())[:2])
    (outcome,) = runner.run([job], lambda: None)
    assert outcome.restarts == 2
    assert len(store.trials(store.planned().values())) == 2


def test_one_that_always_dies_is_given_up_with_its_last_words(store: Store, corpus: Corpus) -> None:
    with pytest.raises(PartialError, match=r"(?s)by signal 9 .* 1 times.*about to die"):
        Local(restarts=1, command=local("crash").command).run(jobs(store, corpus, 1), lambda: None)
    assert store.trials(store.planned().values()) == ()


def test_errors_of_workers_keep_their_kind(store: Store, corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(PartialError, match="disk is full"):
        local("full").run(jobs(store, corpus, 1), lambda: None)
    with pytest.raises(DataError, match="nothing"):
        local("fake").run([store.write_job(tmp_path / "nothing", tuple(store.planned()))], lambda: None)


def test_an_error_here_stops_the_workers(store: Store, corpus: Corpus) -> None:
    first = next(iter(store.planned()))
    pids: list[int] = []

    def poll() -> None:
        owner = claims.read_owner(store.claim_path(first))
        if owner is not None:
            pids.append(owner.pid)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local("hang").run(jobs(store, corpus, 1), poll)
    assert not claims.alive(pids[0])


def test_a_dead_workers_run_goes_on_in_another(store: Store, corpus: Corpus) -> None:
    import torch

    from cuvee.proxies.train import train

    first, *others = store.planned()
    command = [sys.executable, "-m", "tests.study.fake_worker", "witness"]
    dies = subprocess.Popen([*command, str(store.write_job(corpus.path, (first,)))], env=environment())
    lives = subprocess.Popen([*command, str(store.write_job(corpus.path, (*others, first)))], env=environment())
    note = store.folder / f"{first}.{dies.pid}.first"
    while not note.exists() or not store.checkpoint_path(first).exists():
        assert dies.poll() is None
    dies.kill()
    dies.wait()
    assert not store.has(first)
    assert lives.wait() == 0
    assert note.read_text(encoding="utf-8") == "1"
    assert int((store.folder / f"{first}.{lives.pid}.first").read_text(encoding="utf-8")) > 1, "not from the beginning"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    (undisturbed,) = train([store.planned()[first].plan], corpus)
    torch.set_num_threads(threads)
    trial = store.trial(first)
    assert trial is not None
    assert (trial.curves, trial.realised) == (undisturbed.curves, undisturbed.realised)


def test_workers_end_when_their_parent_is_killed(store: Store, corpus: Corpus) -> None:
    (job,) = jobs(store, corpus, 1)
    code = (
        "import sys; from pathlib import Path; from cuvee.study.runners.local import Local\n"
        "Local(command=(sys.executable, '-m', 'tests.study.fake_worker', 'hang')).run([Path(sys.argv[1])], lambda: None)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(job)], env={**os.environ, "PYTHONPATH": ROOT})
    path = store.claim_path(next(iter(store.planned())))
    while (owner := claims.read_owner(path)) is None:
        assert parent.poll() is None
    assert claims.alive(owner.pid)
    parent.kill()
    parent.wait()
    while claims.alive(owner.pid):  # the test's own time limit is the suite's
        pass
    assert claims.is_stale(path)
