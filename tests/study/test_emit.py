"""Emitted commands, run for real: as arrays by a stand-in for Slurm, twice at a time, killed and run again."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cuvee.mixture.weights import Mixture
from cuvee.shards.corpus import Corpus
from cuvee.study import claims
from cuvee.study.layout import Planned, Round
from cuvee.study.runners.emit import Emit, Emitted
from cuvee.study.store import Store, read_job
from cuvee.study.worker import together
from cuvee.testing.corpora import synthetic
from tests.study.fakes import fake_train, problem
from tests.study.fleet import finish, same, start, trials


def emit(store: Store, corpus: Corpus, tasks: int, folder: Path, kind: str) -> Emitted:
    ids = tuple(store.planned())
    jobs = [store.write_job(corpus.path, (*ids[k:], *ids[:k])) for k in range(tasks)]
    with pytest.raises(Emitted) as found:
        Emit("slurm" if kind == "slurm" else "bash", folder).run(jobs, lambda: None)
    return found.value


def tasks_of(script: Path) -> list[Path]:
    text = script.read_text(encoding="utf-8").partition("job=(")[2].partition("\n)")[0]
    return [Path(word) for word in shlex.split(text)]


def test_runs_are_dealt_out_each_once(store: Store, corpus: Corpus, tmp_path: Path) -> None:
    found = emit(store, corpus, 2, tmp_path / "out", "slurm")
    assert (found.runs, found.tasks, found.exit_code) == (3, 2, 5)
    assert "--array=0-1 " in found.script.read_text(encoding="utf-8")
    dealt = [read_job(task).plans for task in tasks_of(found.script)]
    assert [len(part) for part in dealt] == [2, 1]
    assert sorted(run for part in dealt for run in part) == sorted(store.planned())
    assert f"sbatch {found.script}" in str(found)


def test_runs_that_are_there_are_left_out(store: Store, corpus: Corpus, tmp_path: Path) -> None:
    first, *rest = store.planned()
    store.publish_trial(fake_train([store.planned()[first].plan], corpus)[0])
    found = emit(store, corpus, 3, tmp_path / "a folder's", "bash")
    assert (found.runs, found.tasks) == (2, 2), "no task without a run"
    assert {run for task in tasks_of(found.script) for run in read_job(task).plans} == set(rest)


def test_runs_trained_together_go_to_one_task(tmp_path: Path, corpus: Corpus) -> None:
    question = problem(corpus)
    question = replace(question, proxy=replace(question.proxy, together=3))
    shares = [(0.2, 0.3, 0.5), (0.3, 0.3, 0.4), (0.4, 0.3, 0.3)]
    mixtures = [Mixture.from_array(question.domains, np.array(row)) for row in shares]
    plans = [question.plan(mixture, block) for mixture in mixtures for block in range(3)]
    store = Store(tmp_path / "study")
    store.write_round(0, Round(tuple(Planned(p.id(corpus.fingerprint), p) for p in plans)))
    found = emit(store, corpus, 2, tmp_path / "out", "slurm")
    planned = store.planned()
    dealt = [[planned[run] for run in read_job(task).plans] for task in tasks_of(found.script)]
    assert [[len(batch) for batch in together(part)] for part in dealt] == [[3, 3], [3]], (
        "no batch is filled with copies"
    )
    batch = together(dealt[1])[0]
    store.publish_trial(fake_train([batch[0].plan], corpus)[0])
    found = emit(store, corpus, 3, tmp_path / "again", "bash")
    assert (found.runs, found.tasks) == (8, 3)
    assert batch in [together([planned[i] for i in read_job(t).plans])[0] for t in tasks_of(found.script)], (
        "the same claim"
    )


def test_the_script_holds_the_compiler_and_its_cache(
    store: Store, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/shared/a cache")
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared/caches")
    monkeypatch.setenv("CC", "clang")
    monkeypatch.delenv("CXX", raising=False)
    text = emit(store, corpus, 1, tmp_path / "out", "slurm").script.read_text(encoding="utf-8")
    assert "export TORCHINDUCTOR_CACHE_DIR='/shared/a cache'" in text
    assert "export MALLOC_TOP_PAD_=" in text
    assert "export XDG_CACHE_HOME=/shared/caches" in text
    assert "export CC=clang" in text
    assert "CXX" not in text


def sbatch(script: Path) -> list[subprocess.Popen[bytes]]:
    """A stand-in: what the array of a script would start, all at once, with the variables that Slurm sets."""
    array = re.search(r"^#SBATCH.* --array=0-(\d+) ", script.read_text(encoding="utf-8"), re.MULTILINE)
    assert array is not None
    last = int(array[1])
    bare = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
    return [
        subprocess.Popen(
            ["bash", str(script)],
            env={
                **bare,
                "SLURM_ARRAY_JOB_ID": "77",
                "SLURM_ARRAY_TASK_COUNT": str(last + 1),
                "SLURM_ARRAY_TASK_ID": str(task),
            },
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for task in range(last + 1)
    ]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return synthetic(tmp_path_factory.mktemp("emit") / "corpus", documents=60)


@pytest.fixture(scope="module")
def reference(small: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "study"
    finish(start(folder, small.path))
    return folder


def emitted(folder: Path, corpus: Corpus, kind: str, out: Path, workers: int = 2) -> Path | None:
    """The script that the study's command writes; None when the study is done."""
    process = start(folder, corpus.path, workers, f"Emit({kind!r}, cuvee.study.runners.emit.Path({str(out)!r}))")
    _, stderr = process.communicate()
    if process.returncode == 0:
        return None
    assert b"runs are to be made by" in stderr, stderr.decode()
    return out / f"{kind}.sh"


@pytest.mark.slow
def test_arrays_submitted_twice_and_killed(small: Corpus, reference: Path, tmp_path: Path) -> None:
    folder, killed = tmp_path / "study", 0
    while script := emitted(folder, small, "slurm", tmp_path / "out"):
        had = trials(folder)
        tasks = [*sbatch(script), *sbatch(script)]  # submitted twice
        while not killed and trials(folder) == had and any(task.poll() is None for task in tasks):
            time.sleep(0.01)
        owners = [claims.read_owner(path) for path in folder.glob("claims/*.json")] if not killed else []
        for pid in {owner.pid for owner in owners if owner is not None and claims.alive(owner.pid)}:
            os.kill(pid, 9)
            killed += 1
        for task in tasks:
            task.communicate()
    assert killed > 0
    same(folder, reference)


@pytest.mark.slow
def test_a_shell_makes_all_tasks_or_one(small: Corpus, reference: Path, tmp_path: Path) -> None:
    folder, rounds = tmp_path / "a study's", 0
    while script := emitted(folder, small, "bash", tmp_path / "out put"):
        if not rounds:
            subprocess.run(["bash", script, "1"], check=True)
            assert trials(folder) == len(read_job(tasks_of(script)[1]).plans)
        subprocess.run(["bash", script], check=True)
        rounds += 1
    assert rounds == len(list((reference / "rounds").iterdir()))
    same(folder, reference)
