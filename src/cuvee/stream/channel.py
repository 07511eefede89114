"""Live changes on their way to the processes that read batches, and how far those have begun to read.

The process that trains and its readers (DataLoader workers, or itself) share a folder of two files: changes, of which lines
are only ever added, and the number of batches begun, under a lock. A reader takes in the changes and says what it begins
in one hold of the lock, so a change at a position that nobody has begun reaches every reader in time. That takes a few
system calls a batch. A log that a user keeps has the same lines; it outlives the run.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cuvee.base.codec import LATER, SchemaError, from_json, to_json
from cuvee.base.errors import DataError
from cuvee.base.files import FORMAT, explained
from cuvee.mixture.weights import Mixture
from cuvee.stream.contract import Loads
from cuvee.stream.state import MOVING, Change


@dataclass(frozen=True)
class _Header:
    """The first line of a log: whose changes these are. `run` stands for all else that is fixed in a run: schedule, seed, batch ..."""

    corpus: str
    domains: tuple[str, ...]
    run: str = field(default="", metadata=LATER)
    format: int = FORMAT


def _run(loader: Loads[Any]) -> str:
    state = to_json(loader.state())
    return f"{hash_of({k: v for k, v in state.get('mixer', state).items() if k not in MOVING}):016x}"


def hash_of(value: Any) -> int:
    """Of what `to_json` takes: 63 bits, the same in every process."""
    text = json.dumps(to_json(value), sort_keys=True)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "little") >> 1


class Channel:
    """Opened anew in every process that uses it; the folder goes with the object that made it."""

    def __init__(self, begun: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="cuvee-changes-"))
        self._changes, self._lock = self._folder / "changes.jsonl", self._folder / "begun"
        self._changes.touch()
        self._lock.write_bytes(begun.to_bytes(8, "little"))
        self._files: tuple[int, int, int] | None = None
        weakref.finalize(self, _remove, self._folder, os.getpid())

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": None}

    def _opened(self) -> tuple[int, int]:
        """Descriptors of this process's own: a lock taken through one that was inherited would be shared."""
        if self._files is None or self._files[0] != os.getpid():
            self._files = os.getpid(), os.open(self._lock, os.O_RDWR), os.open(self._changes, os.O_RDWR | os.O_APPEND)
        return self._files[1:]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody begins to read a batch meanwhile."""
        lock, _ = self._opened()
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)

    @property
    def begun(self) -> int:
        """Batches that have been begun, counted from the start of the run; ask while holding."""
        return int.from_bytes(os.pread(self._opened()[0], 8, 0), "little")

    @begun.setter
    def begun(self, batches: int) -> None:
        os.pwrite(self._opened()[0], batches.to_bytes(8, "little"), 0)

    def add(self, change: Change) -> None:
        """Tell the readers; while holding, at a position that nobody has begun."""
        os.write(self._opened()[1], _line(change))

    def begin(self, loader: Loads[Any], end: int, place: int) -> int:
        """Give `loader` the changes after byte `place` and say that batches up to `end` are begun; the new place."""
        with self.held():
            changes = self._opened()[1]
            data = os.pread(changes, os.fstat(changes).st_size - place, place)
            if end > self.begun:
                self.begun = end
        for change in latest(_changes(data.splitlines())):
            take(loader, change)
        return place + len(data)

    def give_up(self, batches: int) -> None:
        """The one reader there is has begun a batch that could not be read: only the `batches` before it count as begun."""
        with self.held():
            self.begun = batches


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker drops its copy of the object too
        shutil.rmtree(folder, ignore_errors=True)


def take(loader: Loads[Any], change: Change) -> None:
    """Give `loader` a change.

    Raises:
        DataError: the loader is past it and went on without it.
    """
    if change.start >= loader.tokens:
        loader.change(change.start, Mixture(loader.schedule.domains, change.units), change.cause, ramp=change.ramp)
    elif change not in loader.events:
        raise DataError(
            f"the log has a change at {change.start:,} tokens ({change.cause}), which the loader has passed without it",
            wanted="the log of the run that the state is of",
            fix="give another log, or go on from a state saved before the change",
        )


def latest(changes: Iterable[Change]) -> list[Change]:
    """Of several changes at one position the last, since a run that took them all knows of that alone."""
    return list({change.start: change for change in changes}.values())


def _changes(lines: list[bytes]) -> list[Change]:
    return [from_json(Change, json.loads(line)) for line in lines]


def _line(value: Change | _Header) -> bytes:
    return json.dumps(to_json(value), separators=(",", ":")).encode("utf-8") + b"\n"


class Log:
    """The changes of a run in a file that outlives it. A last line that a kill cut short does not count."""

    def __init__(self, path: Path, loader: Loads[Any]) -> None:
        self.path, self._header = path, _Header(loader.fingerprint, loader.schedule.domains, _run(loader))

    def read(self) -> list[Change]:
        """The changes so far, in the order in which they were made; none if there is no file yet.

        Raises:
            DataError: no such log, or one of another run.
        """
        if self.path.is_dir():
            raise DataError(f"{self.path} is a folder", wanted="the path of a file for the log")
        data = self.path.read_bytes() if self.path.is_file() else b""
        lines = data[: data.rfind(b"\n") + 1].splitlines()
        try:
            header = from_json(_Header, json.loads(lines[0])) if lines else self._header
            if replace(header, run=header.run or self._header.run) != self._header:
                raise DataError(
                    f"{self.path} is the log of another run",
                    wanted="one of the same corpus, domains, planned schedule, seed, seq_len, batch, packing, repetition and order",
                    fix="give another log, or none",
                )
            return _changes(lines[1:])
        except (ValueError, SchemaError) as error:
            raise DataError(f"{self.path} is no log of changes: {error}", fix="give another log") from error

    def add(self, change: Change) -> None:
        """Write a change to the disk."""
        with explained(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab+") as file:
                file.seek(0)
                if not file.truncate(file.read().rfind(b"\n") + 1):
                    file.write(_line(self._header))
                file.write(_line(change))
                file.flush()
                os.fsync(file.fileno())
