"""TensorBoard event files: the scalars in them, by the package `tensorboard` (an extra), of one file or a folder of runs.

The package's own loader stops at a broken record without a word. A record takes its length and 16 bytes of frame, so what was
read can be counted against the file, and a lost tail is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from cuvee.base.errors import DataError, missing_extra
from cuvee.interop.metrics import Measurement, Point, direction_of, listed, readable_size, warn, whole

_FRAME = 16
"""Bytes around a record: its length in 8, and two checksums of 4."""


def measurements(files: list[Path], root: Path) -> Iterator[Measurement]:
    """The scalars of all runs, simple values and tensors of one number. Histograms, texts and images are no metrics.

    A run is a folder with event files, named by its path in `root`. Where the steps of a tag go back, in a file or from one to the
    next, a run was begun again from there: the later values replace those from that step on, with a warning where they differ.

    Raises:
        UsageError: the package `tensorboard` is not installed.
        DataError: a file with no whole record.
    """
    for folder, group in groupby(sorted(files, key=lambda f: (f.parent, f.name)), key=lambda f: f.parent):
        run = "" if folder == root or root.is_file() else folder.relative_to(root).as_posix()
        kinds: dict[str, str] = {}
        series: dict[str, list[tuple[int, float]]] = {}
        replaced: set[str] = set()
        for file in group:
            for tag, step, value in _scalars(file, kinds):
                points = series.setdefault(tag, [])
                while points and points[-1][0] >= step:
                    if repr(points.pop()) != repr((step, value)):
                        replaced.add(tag)
                points.append((step, value))
        if replaced:
            warn(
                f"begun again at an earlier step in {folder.name}, the later values are kept: {listed(sorted(replaced))}"
            )
        for tag, points in series.items():
            for step, value in points:
                yield Measurement(run, tag, Point(value, step=step), direction_of(tag))


def _scalars(file: Path, kinds: dict[str, str]) -> Iterator[tuple[str, int, float]]:
    """Tag, step and value of the scalars in a file. `kinds` is the run's tag -> plugin: a tag's first value alone may name it."""
    try:
        from google.protobuf.message import DecodeError
        from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
        from tensorboard.compat.proto.event_pb2 import Event
    except ImportError as error:
        raise missing_extra("tensorboard", "tensorboard", f"reading {file.name}") from error

    size, whole_records = readable_size(file), 0
    for record in RawEventFileLoader(str(file)).Load():
        try:
            event = Event.FromString(record)
        except DecodeError:
            break  # whole by its checksum, but no event: records of something else
        whole_records += len(record) + _FRAME
        for value in event.summary.value:
            plugin = kinds.setdefault(value.tag, value.metadata.plugin_data.plugin_name)
            number = _number(value, plugin)
            if number is not None:
                yield value.tag, whole(event.step, f"the step of {value.tag} in {file.name}"), number
    if not whole_records:
        raise DataError(
            f"{file} holds no whole record of TensorBoard's",
            wanted="an events.out.tfevents file",
            fix="copy it again, or leave it out",
        )
    if whole_records < size:
        warn(
            f"{file.name} is broken or cut short after {whole_records:,} of {size:,} bytes: what was logged after that is lost"
        )


def _number(value: Any, plugin: str) -> float | None:
    """The number in a summary's value, if it is a scalar."""
    from tensorboard.util.tensor_util import make_ndarray

    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind == "tensor" and plugin == "scalars" and math.prod(d.size for d in value.tensor.tensor_shape.dim) == 1:
        return float(make_ndarray(value.tensor).item())
    return None
