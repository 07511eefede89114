from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cuvee.base.errors import DataError, PartialError
from cuvee.corpus.readers import Fields
from cuvee.corpus.scan import ScanJob, load_result
from cuvee.corpus.sources import find_files
from cuvee.corpus.workers import _Worker, run_jobs
from tests.corpus.writing import jsonl, texts


def jobs(folder: Path, out: Path, *, fatal: bool = False) -> list[ScanJob]:
    files = find_files([folder], "auto", leave_out=out, text_field="text").files
    return [ScanJob(str(out / str(i)), (file,), Fields("text", None), fatal, 1) for i, file in enumerate(files)]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_are_done_whatever_the_number_of_workers(tmp_path: Path, workers: int) -> None:
    done: list[ScanJob] = []
    todo = jobs(texts(tmp_path / "in", 5, ("a", "b", "c")), tmp_path / "out")
    run_jobs(todo, workers, done.append)
    assert sorted(job.out for job in done) == [job.out for job in todo]
    assert [load_result(Path(job.out)).domains for job in todo] == [("a",), ("b",), ("c",)]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["0", "1", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_job_arrives_as_it_was(tmp_path: Path, workers: int) -> None:
    jsonl(texts(tmp_path / "in", 5) / "c.jsonl", ["{"])
    with pytest.raises(DataError, match=r"c.jsonl:1: not JSON") as caught:
        run_jobs(jobs(tmp_path / "in", tmp_path / "out", fatal=True), workers, lambda job: None)
    assert "on_bad_line" in caught.value.fix


def test_a_worker_that_dies_is_explained(tmp_path: Path) -> None:
    (job, _) = jobs(texts(tmp_path / "in", 5), tmp_path / "out")
    worker = _Worker()
    try:
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(PartialError, match="signal 9"):
            worker.ask(job)
    finally:
        worker.end()


def test_a_worker_ends_when_its_parent_is_gone() -> None:
    worker = _Worker()
    assert worker._process.stdin is not None
    worker._process.stdin.close()
    assert worker._process.wait(timeout=60) == 1
    worker.end()
