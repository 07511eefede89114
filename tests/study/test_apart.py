"""Tasks on nodes that see nothing of the driver's but an exchange, without Ray: in this process, and dealt out by a stand-in."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from cuvee.base.errors import DataError, PartialError, UsageError
from cuvee.plan.problem import Proxy
from cuvee.shards.corpus import Corpus
from cuvee.study.layout import Planned, Round
from cuvee.study.runners import ray as module
from cuvee.study.runners import remote, task
from cuvee.study.runners.exchange import Exchange
from cuvee.study.runners.ray import Ray
from cuvee.study.runners.task import LOST, OWN, work_apart
from cuvee.study.store import Store
from cuvee.study.study import Study
from cuvee.study.worker import work
from tests.study.fakes import Grid, Inline, fake_train, problem
from tests.study.fleet import ROOT

pytest.importorskip("fsspec")
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def a_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests can be imported by workers, caches and temporary folders are the test's own, and nobody waits."""
    monkeypatch.setenv("PYTHONPATH", ROOT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(remote, "WAIT", 0.0)


@pytest.fixture
def exchange(tmp_path: Path) -> Exchange:
    return Exchange(f"file://{tmp_path}/exchange")


def command(mode: str) -> tuple[str, ...]:
    return ("-m", "tests.study.fake_worker", mode)


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


# one task


def test_a_task_makes_a_batch_and_touches_nothing_but_the_exchange(
    exchange: Exchange, store: Store, corpus: Corpus, tmp_path: Path
) -> None:
    before = files(store.folder)
    runs = tuple(store.planned().values())[:2]
    exchange.send_corpus(corpus)
    assert work_apart(exchange.url, corpus.fingerprint, runs, command("fake")) == (0, "")
    assert files(store.folder) == before
    assert list((tmp_path / "tmp").iterdir()) == []
    exchange.bring_home(store, runs, corpus.fingerprint)
    assert [store.has(run.id) for run in runs] == [True, True]


def test_a_task_whose_worker_dies_leaves_its_checkpoint_and_the_next_one_goes_on(
    exchange: Exchange, store: Store, corpus: Corpus
) -> None:
    pytest.importorskip("torch")
    from cuvee.proxies.train import train

    run = next(iter(store.planned().values()))
    exchange.send_corpus(corpus)
    told = (exchange.url, corpus.fingerprint, [run], command("halfway"))
    assert work_apart(*told)[0] == -9
    assert exchange.size(f"checkpoints/{run.id}.pt")
    assert work_apart(*told) == (0, ""), "it dies again where it begins anew"
    exchange.bring_home(store, [run], corpus.fingerprint)
    found, (alone,) = store.trial(run.id), train([run.plan], corpus)
    assert found is not None
    assert (found.curves, found.realised) == (alone.curves, alone.realised)
    assert exchange.size(f"checkpoints/{run.id}.pt") is None


def test_a_task_that_is_killed_has_sent_checkpoints_and_its_folder_goes_with_the_next(
    exchange: Exchange, store: Store, corpus: Corpus, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    run = next(iter(store.planned().values()))
    exchange.send_corpus(corpus)
    code = f"""
import pickle, sys, tempfile
from cuvee.study.runners.task import work_apart
tempfile.tempdir = {str(tmp_path / "tmp")!r}
work_apart(*pickle.load(sys.stdin.buffer))
"""
    killed = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path()}
    )
    assert killed.stdin is not None
    pickle.dump((exchange.url, corpus.fingerprint, [run], command("witness"), 0.05), killed.stdin)
    killed.stdin.close()
    while exchange.size(f"checkpoints/{run.id}.pt") is None:
        assert killed.poll() is None
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    assert [p.name.startswith(OWN) for p in (tmp_path / "tmp").iterdir()] == [True]
    assert work_apart(exchange.url, corpus.fingerprint, [run], command("halfway")) == (0, ""), "went on, not anew"
    assert list((tmp_path / "tmp").iterdir()) == []


def path() -> str:
    return os.pathsep.join([ROOT, str(Path(module.__file__).parents[3]), os.environ.get("PYTHONPATH", "")])


def test_a_task_says_what_is_wrong_with_the_exchange(
    exchange: Exchange, store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = list(store.planned().values())
    code, said = work_apart(exchange.url, corpus.fingerprint, runs, command("fake"))
    assert code == DataError.exit_code
    assert "no whole corpus" in said
    exchange.send_corpus(corpus)

    def fail(path: Path, to: Path) -> None:
        raise OSError(5, "the network is down")

    monkeypatch.setattr(remote, "_copy", fail)
    code, said = work_apart(exchange.url, corpus.fingerprint, runs, command("fake"))
    assert code == LOST
    assert "the network is down" in said


# dealt out by a stand-in for Ray, which makes a task when it is asked how it ended


class Lost(Exception):
    """What a node that died leaves."""


@dataclass
class StandIn:
    """As much of Ray as the runner uses; `node` says what becomes of a task."""

    node: Callable[[Callable[..., Any], tuple[Any, ...]], Any] = lambda function, told: function(*told)
    told: list[tuple[Any, ...]] = field(default_factory=list)
    most: int = 0

    class exceptions:
        RayTaskError = type("RayTaskError", (Exception,), {})
        RayError = Lost

    def is_initialized(self) -> bool:
        return True

    def remote(self, **resources: float) -> Callable[[Callable[..., Any]], StandIn.Task]:
        return lambda function: StandIn.Task(self, function)

    @dataclass
    class Task:
        ray: StandIn
        function: Callable[..., Any]

        def remote(self, *told: Any) -> int:
            self.ray.told.append(told)
            self.ray.functions.append(self.function)
            return len(self.ray.told) - 1

    functions: list[Callable[..., Any]] = field(default_factory=list)

    def wait(self, refs: Sequence[int], timeout: float) -> tuple[list[int], list[int]]:
        self.most = max(self.most, len(refs))
        return [refs[0]], list(refs[1:])

    def get(self, ref: int) -> Any:
        return self.node(self.functions[ref], self.told[ref])

    def cancel(self, ref: int, force: bool) -> None:
        return None


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of tasks are this process: many runs in little time."""

    def worker(job: str, command: Sequence[str], meanwhile: Callable[[], None], every: float) -> tuple[int, str]:
        work(Path(job), fake_train)
        meanwhile()
        return 0, ""

    monkeypatch.setattr(task, "_work", worker)


def study(folder: Path, corpus: Corpus) -> Study:
    return Study.open(folder, problem(corpus), corpus, Grid())


def told(study: Study) -> list[tuple[Any, ...]]:
    return [(t.id, t.curves, t.realised) for t in study.trials()]


@pytest.mark.usefixtures("here")
def test_a_study_by_way_of_an_exchange_is_the_study_of_one_machine(
    exchange: Exchange, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = study(tmp_path / "alone", corpus)
    alone.run(1, None, Inline())
    ray = StandIn()
    monkeypatch.setattr(module, "_import", lambda: ray)
    apart = study(tmp_path / "apart", corpus)
    apart.run(3, None, Ray(exchange=exchange.url))
    assert told(apart) == told(alone)
    assert (len(ray.told), ray.most) == (10, 3), "a task a run, so many at a time as there are workers"
    assert files(tmp_path / "exchange" / "checkpoints") == set()
    assert {"claims", "checkpoints"} & {p.name for p in (tmp_path / "apart").iterdir()} == set()


@pytest.mark.usefixtures("here")
def test_a_driver_that_begins_again_makes_nothing_twice(
    exchange: Exchange, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(function: Callable[..., Any], told: tuple[Any, ...]) -> Any:
        function(*told)
        raise KeyboardInterrupt  # the run has been sent up, and the driver has not heard of it

    runner = Ray(exchange=exchange.url)
    monkeypatch.setattr(module, "_import", lambda: StandIn(dies))
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "study", corpus).run(1, None, runner)
    assert study(tmp_path / "study", corpus).trials() == ()
    ray = StandIn()
    monkeypatch.setattr(module, "_import", lambda: ray)
    study(tmp_path / "study", corpus).run(1, None, runner)
    assert len(ray.told) == 9
    # another driver, in another place, has all of it without a task
    elsewhere = study(tmp_path / "elsewhere", corpus)
    elsewhere.run(1, None, runner)
    assert len(ray.told) == 9
    assert told(elsewhere) == told(study(tmp_path / "study", corpus))


@pytest.mark.usefixtures("here")
def test_lost_tasks_are_started_again_unless_their_run_was_sent_up(
    exchange: Exchange, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, ...]] = []

    def node(function: Callable[..., Any], told: tuple[Any, ...]) -> Any:
        seen.append(told)
        if len(seen) == 1:
            raise Lost("before it began")
        ended = function(*told)
        if len(seen) == 2:
            raise Lost("after it had sent up all")
        return ended

    monkeypatch.setattr(module, "_import", lambda: StandIn(node))
    study(tmp_path / "study", corpus).run(2, None, Ray(exchange=exchange.url, restarts=1))
    assert len(seen) == 11
    seen.clear()
    with pytest.raises(PartialError, match=r"(?s)Lost.*after 0 restarts"):
        Ray(exchange=exchange.url, restarts=0).run([job(tmp_path, corpus)], lambda: None)


def job(folder: Path, corpus: Corpus) -> Path:
    question = problem(corpus)
    plan = question.plan(question.natural, 5)
    made = Store(folder / "job")
    made.write_round(0, Round((Planned(plan.id(corpus.fingerprint), plan),)))
    return made.write_job(corpus.path, tuple(made.planned()))


@pytest.mark.usefixtures("here")
def test_a_task_that_ends_without_its_trial_is_lost(
    exchange: Exchange, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def node(function: Callable[..., Any], told: tuple[Any, ...]) -> Any:
        ended = function(*told)
        for trial in (tmp_path / "exchange" / "trials").iterdir():
            trial.write_bytes(trial.read_bytes()[:-9])
        return ended

    monkeypatch.setattr(module, "_import", lambda: StandIn(node))
    runner = Ray(exchange=exchange.url, restarts=1)
    with pytest.raises(PartialError, match="without a trial that can be read"):
        runner.run([job(tmp_path, corpus)], lambda: None)
    monkeypatch.setattr(module, "_import", StandIn)
    runner.run([job(tmp_path, corpus)], lambda: None)
    assert len(files(tmp_path / "job" / "trials")) == 1


def test_errors_of_workers_keep_their_kind(
    exchange: Exchange, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_import", StandIn)
    with pytest.raises(PartialError, match="disk is full"):
        Ray(exchange=exchange.url, command=command("full")).run([job(tmp_path, corpus)], lambda: None)
    with pytest.raises(UsageError, match="nowhere"):
        Ray(exchange="nowhere://x/y", command=command("fake")).run([job(tmp_path, corpus)], lambda: None)


@pytest.mark.usefixtures("here")
def test_of_a_batch_only_what_is_missing_is_made(
    exchange: Exchange, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy(tokens=4096, size="0.1M", seq_len=16, batch=16, eval_points=1, together=2)
    question = replace(problem(corpus), proxy=proxy)
    uniform = problem(corpus).natural
    mixtures = [uniform, *(type(uniform).from_shares(s) for s in ({"a": 1, "b": 1, "c": 2}, {"a": 2, "b": 1, "c": 1}))]
    plans = [question.plan(mixture, 0) for mixture in mixtures]
    store = Store(tmp_path / "study")
    store.write_round(0, Round(tuple(Planned(p.id(corpus.fingerprint), p) for p in plans)))
    first = min(store.planned().values(), key=lambda run: run.id)
    store.publish_trial(*fake_train([first.plan], corpus))
    ray = StandIn()
    monkeypatch.setattr(module, "_import", lambda: ray)
    Ray(exchange=exchange.url, command=command("fake")).run(
        [store.write_job(corpus.path, tuple(store.planned()))], lambda: None
    )
    assert [len(told[2]) for told in ray.told] == [1, 1]
    assert len(store.trials(store.planned().values())) == 3
