"""A real Ray cluster of several node processes on this machine: nodes and drivers are killed, the study does not notice."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cuvee.base.errors import DataError, UsageError
from cuvee.shards.corpus import Corpus
from cuvee.study import claims
from cuvee.study.runners.ray import Ray
from cuvee.study.runners.task import OWN, work
from cuvee.study.store import Store
from cuvee.testing.corpora import synthetic
from tests.study.fleet import ROOT, finish, same, start, trials

pytestmark = pytest.mark.slow

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every address is the loopback's
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PYTHONPATH": ROOT + os.pathsep + os.environ.get("PYTHONPATH", ""),
}
SMALL = {"include_dashboard": False, "object_store_memory": 80 << 20}
EAGER = "command=('-m', 'tests.study.fake_worker', 'eager')"


def test_without_ray_it_says_what_to_install(store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"cuvee\[ray\]"):
        Ray().run([store.write_job(corpus.path, tuple(store.planned()))], lambda: None)


@pytest.mark.filterwarnings("default")
def test_no_cluster(store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="ray start --head"):
        Ray("auto").run([store.write_job(corpus.path, tuple(store.planned()))], lambda: None)


def test_a_node_makes_the_runs_of_a_job(
    store: Store, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", ROOT)
    job = store.write_job(corpus.path, tuple(store.planned()))
    assert work(str(job), ("-m", "tests.study.fake_worker", "fake")) == (0, "")
    assert trials(store.folder) == 3
    code, said = work(str(store.write_job(tmp_path / "nothing", tuple(store.planned()))), ("-m", "cuvee.study.worker"))
    assert code == DataError.exit_code
    assert "nothing" in said
    code, said = work(str(tmp_path / "elsewhere.json"), ("-m", "cuvee.study.worker"))
    assert code == DataError.exit_code
    assert "same path on all nodes" in said


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return synthetic(tmp_path_factory.mktemp("ray") / "corpus", documents=60)


@pytest.fixture(scope="module")
def reference(small: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "study"
    finish(start(folder, small.path))
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head without room for tasks, and two nodes with room for one each; they keep corpora in a folder of the test's."""
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.syspath_prepend(ROOT)
        from ray.cluster_utils import Cluster

        made = Cluster()
        for cpus in (0, 1, 1):
            add_node(made, cpus)
        yield made
        made.shutdown()


def add_node(cluster: Any, cpus: int = 1) -> None:
    """With room for so many tasks. Ray gives a node half a minute to start, which is little on a busy machine: try again."""
    for last in (False, False, True):
        try:
            cluster.add_node(num_cpus=cpus, **SMALL)
            return
        except Exception:
            if last:
                raise


def owners(folder: Path) -> set[int]:
    """Processes that make runs of a study just now, in its folder or in those of tasks."""
    here = [*folder.glob("claims/*.json"), *Path(tempfile.gettempdir()).glob(f"{OWN}*/study/claims/*.json")]
    planned = Store(folder).planned()
    found = (claims.read_owner(path) for path in here if path.stem in planned)
    return {owner.pid for owner in found if owner is not None and claims.alive(owner.pid)}


def until(happened: Any, process: subprocess.Popen[bytes]) -> None:
    while not happened():
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.01)


@pytest.mark.filterwarnings("default")
def test_a_node_and_a_driver_die(cluster: Any, small: Corpus, reference: Path, tmp_path: Path) -> None:
    die_and_go_on(cluster, small, tmp_path / "study", f"Ray({cluster.address!r}, {EAGER})")
    same(tmp_path / "study", reference)


@pytest.mark.filterwarnings("default")
def test_nodes_that_share_nothing_but_an_exchange(cluster: Any, small: Corpus, reference: Path, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    exchange, folder = tmp_path / "exchange", tmp_path / "study"
    die_and_go_on(cluster, small, folder, f"Ray({cluster.address!r}, exchange='file://{exchange}', every=0.1, {EAGER})")
    same(folder, reference)
    assert not (folder / "claims").exists(), "no task works in the study's folder"
    assert not (folder / "checkpoints").exists()
    assert len(list((exchange / "trials").iterdir())) == 10
    assert not list((exchange / "checkpoints").iterdir())
    assert not list(exchange.rglob("*.tmp"))


def die_and_go_on(cluster: Any, small: Corpus, folder: Path, runner: str) -> None:
    """A node is killed with a run in it, then the driver; the same command again makes the rest."""
    driver = start(folder, small.path, 2, runner)
    until(lambda: trials(folder) >= 1 and len(owners(folder)) == 2, driver)
    before = owners(folder)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    until(lambda: len([pid for pid in before if claims.alive(pid)]) == 1, driver)
    add_node(cluster)
    had = trials(folder)
    until(lambda: trials(folder) > had, driver)
    driver.kill()
    driver.communicate()
    assert trials(folder) < 10, "killed in the middle"
    left = time.monotonic() + 30
    while owners(folder) and time.monotonic() < left:
        time.sleep(0.1)
    assert not owners(folder), "workers end with their driver"
    finish(start(folder, small.path, 2, runner))


@pytest.mark.filterwarnings("default")
def test_crashes_are_started_again_and_errors_keep_their_kind(cluster: Any, small: Corpus, tmp_path: Path) -> None:
    def said(mode: str, restarts: int) -> str:
        runner = f"Ray({cluster.address!r}, restarts={restarts}, command=('-m', 'tests.study.fake_worker', {mode!r}))"
        process = start(tmp_path / mode, small.path, 1, runner)
        stderr = process.communicate()[1].decode()
        return stderr if process.returncode else ""

    assert said("crash-once", 10) == ""
    assert trials(tmp_path / "crash-once") == 10
    crash = said("crash", 1)
    assert "by signal 9" in crash
    assert "after 1 restarts" in crash
    assert "about to die" in crash
    assert "disk is full" in said("full", 1) or "No space left" in said("full", 1)
