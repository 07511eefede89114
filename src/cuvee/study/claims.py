"""Claims: who makes which run. Advice only, so that two workers seldom make one run; publishing the trial is the truth.

A claim is a small file made by exclusive create, kept alive by touching it. It is stale when its process is known to
be dead (same host, same process namespace) or when it was not touched for a minute, by the clock of the file system
that holds it, which all hosts share, unlike their own.
"""

from __future__ import annotations

import os
import platform
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cuvee.base.codec import SchemaError, from_json, to_json
from cuvee.base.errors import DataError
from cuvee.base.files import FORMAT, dump_json, explained, load_json, publish, replace

PATIENCE = 60.0
"""Seconds without a touch after which a claim is stale."""
HEARTBEAT = 10.0
"""Seconds between touches."""


@dataclass(frozen=True)
class Owner:
    """Who holds a claim. `host` includes the process namespace where the system has them: containers share host names."""

    host: str
    pid: int
    nonce: str

    @classmethod
    def me(cls) -> Owner:
        """This process, with a nonce of its own for every claim."""
        return cls(host(), os.getpid(), uuid.uuid4().hex)


class Claim:
    """A claim that is held: a thread touches it until it is released."""

    def __init__(self, path: Path, owner: Owner) -> None:
        self.path, self.owner = path, owner
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="claim")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Stop touching and remove the file, if it is still this claim's."""
        self._released.set()
        self._thread.join()
        if read_owner(self.path) == self.owner:
            self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT):
            try:
                os.utime(self.path)
            except OSError:
                return  # taken over or removed: publishing decides


def take(path: Path) -> Claim | None:
    """The claim, taken over if stale; None when somebody alive holds it."""
    owner = Owner.me()
    content = dump_json({"format": FORMAT, **to_json(owner)})
    if publish(path, content):
        return Claim(path, owner)
    stale = read_owner(path)
    if not is_stale(path):
        return None
    # whoever holds the claim on this stale claim may replace it, so that of many who see it stale one wins
    lock = take(path.with_name(f".{path.name}.{stale.nonce if stale else 'unreadable'}"))
    if lock is None:
        return None
    with lock:
        if read_owner(path) != stale or not is_stale(path):
            return None
        replace(path, content)
    return Claim(path, owner)


def read_owner(path: Path) -> Owner | None:
    """Who holds the claim; None when there is no claim or it cannot be read."""
    try:
        return from_json(Owner, {k: v for k, v in load_json(path).items() if k != "format"})
    except (DataError, SchemaError, AttributeError, OSError):
        return None


def is_stale(path: Path) -> bool:
    """Whether the claim's process is dead or has been silent for a minute; False when there is no claim."""
    owner = read_owner(path)
    if owner is not None and owner.host == host() and not alive(owner.pid):
        return True
    try:
        touched = path.stat().st_mtime
    except FileNotFoundError:
        return False
    return _now(path.parent) - touched > PATIENCE


def held(path: Path) -> bool:
    """Whether somebody alive holds the claim, as far as reading alone can tell: for display, works on read-only disks."""
    owner = read_owner(path)
    if owner is None:
        return False
    if owner.host == host():
        return alive(owner.pid)
    try:
        return time.time() - path.stat().st_mtime <= PATIENCE
    except FileNotFoundError:
        return False


def _now(folder: Path) -> float:
    """The time by the file system of `folder`."""
    probe = folder / f".now.{uuid.uuid4().hex}"
    with explained(probe):
        probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def host() -> str:
    """This host and, where there are any, its process namespace: within one, process numbers mean the same."""
    try:
        return f"{platform.node()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and only waits to be reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state not in ("Z", "X")
