from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from cuvee.base.errors import DataError, UsageError
from cuvee.interop.metrics import MetricsWarning, Point, read_metrics

REAL = Path(__file__).parent / "fixtures" / "events.out.tfevents.torch"  # written by torch.utils.tensorboard 2.13
STEPS = (0, 10, 20)


def test_without_the_package_the_install_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.backend.event_processing.event_file_loader", None)
    with pytest.raises(UsageError, match="needs tensorboard") as caught:
        read_metrics(REAL)
    assert "pip install 'cuvee[tensorboard]'" in str(caught.value)


@pytest.fixture
def package() -> Any:
    return pytest.importorskip("tensorboard")


def write(folder: Path, values: dict[int, float], suffix: str, tag: str = "loss") -> Path:
    """An event file by the package's own writer."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder), filename_suffix=suffix)
    for step, value in values.items():
        writer.add_event(Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)])))
    writer.close()
    (path,) = folder.glob(f"*{suffix}")
    return path.rename(folder / f"events.out.tfevents.{suffix}")


@pytest.mark.usefixtures("package")
def test_a_file_of_torch() -> None:
    (run,) = read_metrics(REAL)
    assert run.run == ""
    assert {m.name: m.points for m in run.metrics} == {
        "val/loss": tuple(Point(3 - s / 16, tokens=s * 1000, step=s) for s in STEPS),
        "val/acc": tuple(Point(s / 64, tokens=s * 1000, step=s) for s in STEPS),
    }, "simple values and tensors; the tag that counts tokens is the position; the text is no metric"
    assert [m.higher_is_better for m in run.metrics] == [True, False]


@pytest.mark.usefixtures("package")
def test_a_folder_is_one_run_a_folder(tmp_path: Path) -> None:
    for run in ("a", "b/v1.5"):
        (tmp_path / run).mkdir(parents=True)
        shutil.copy(REAL, tmp_path / run)
    assert [r.run for r in read_metrics(tmp_path)] == ["a", "b/v1.5"]
    assert [r.run for r in read_metrics(tmp_path / "a")] == [""]


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_cut_file_gives_what_is_whole_and_says_so(cut: int, tmp_path: Path) -> None:
    path = write(tmp_path, {s: float(s) for s in range(100)}, "x")
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with pytest.warns(MetricsWarning, match=rf"cut short after [\d,]+ of {len(whole) - cut:,} bytes"):
        (run,) = read_metrics(path)
    points = run.metrics[0].points
    assert 97 <= len(points) < 100
    assert points == tuple(Point(float(s), step=s) for s in range(len(points)))


@pytest.mark.usefixtures("package")
def test_a_broken_record_ends_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, {s: float(s) for s in range(100)}, "x")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.warns(MetricsWarning, match="broken or cut short"):
        (run,) = read_metrics(path)
    assert 40 <= len(run.metrics[0].points) <= 60


@pytest.mark.usefixtures("package")
def test_a_run_that_was_begun_again(tmp_path: Path) -> None:
    write(tmp_path, {0: 4.0, 10: 3.0, 20: 2.0, 30: 1.0}, "1")
    write(tmp_path, {20: 2.0, 25: 1.5}, "2")
    write(tmp_path, {0: 7.0}, "3", tag="other")
    with pytest.warns(MetricsWarning, match="begun again at an earlier step .*: loss"):
        (run,) = read_metrics(tmp_path)
    loss, other = run.metrics
    assert [(p.step, p.value) for p in loss.points] == [(0, 4.0), (10, 3.0), (20, 2.0), (25, 1.5)]
    assert [(p.step, p.value) for p in other.points] == [(0, 7.0)]


@pytest.mark.usefixtures("package")
def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        read_metrics(path)
    path.write_bytes(b"hello, this is no event file at all")
    with pytest.raises(DataError, match="no whole record"):
        read_metrics(path)
    path = write(tmp_path / "none", {}, "1")
    with pytest.raises(DataError, match="holds no measurement"):
        read_metrics(path)
