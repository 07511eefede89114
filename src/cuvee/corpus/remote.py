"""Bytes in an object store, through fsspec: fetched in blocks, kept in a bounded cache, retried a bounded number of times.

The cache is a folder that any number of processes share: a block appears whole by renaming, the least recently used go first,
and a block that vanished or was torn is fetched again. So kill -9 at any moment leaves at most a temporary file, which the
next sweep removes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import CuveeError, DataError, UsageError, missing_extra
from cuvee.base.files import explained

T = TypeVar("T")
_STALE = 3600.0
"""Seconds after which a temporary file is what a killed process left behind."""
_LONGEST_WAIT = 30.0
_MAPS = 4096
"""Blocks that a process keeps mapped; Linux allows 65,530 maps."""

_MARKS = (
    *("ETag", "etag", "LastModified", "last_modified", "mtime", "updated", "md5Hash", "checksum", "created"),
    *("Last-Modified", "Content-MD5", "Digest"),  # HTTP
    *("blob_id", "xet_hash"),  # the Hugging Face hub
)
"""What fsspec's file systems call that by which a store tells two contents of an object apart."""


@dataclass(frozen=True)
class Access:
    """How an object store is read.

    Args:
        cache: Folder of the cache.
        cache_bytes: Most that its blocks may take. Each process looks after every 1/16 of it that it added.
        block: Bytes fetched at once.
        timeout: Seconds after which a fetch that has not ended counts as stalled.
        attempts: Times that a block is asked for before giving up.
        wait: Seconds before the second attempt; doubled before each further one, at most 30.
    """

    cache: Path
    cache_bytes: int = 64 << 30
    block: int = 1 << 20
    timeout: float = 60.0
    attempts: int = 5
    wait: float = 0.5

    def __post_init__(self) -> None:
        if self.block < 1 or self.cache_bytes < self.block or self.attempts < 1 or self.timeout <= 0 or self.wait < 0:
            raise UsageError(
                f"got cache_bytes {self.cache_bytes:,}, block {self.block:,}, attempts {self.attempts}, "
                f"timeout {self.timeout}, wait {self.wait}",
                wanted="a block of at least 1 byte, a cache of at least one block, an attempt, a timeout above 0",
            )

    def insist(self, what: str, call: Callable[[], T]) -> T:
        """The result of `call`, tried until it succeeds within the timeout.

        Raises:
            DataError: it does not exist, is forbidden, or failed every time.
            UsageError: the package for this kind of store is not installed.
        """
        failures, forbidden = list[str](), False
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(min(self.wait * 2 ** (attempt - 1), _LONGEST_WAIT) * (0.5 + SystemRandom().random() / 2))
            try:
                return _within(self.timeout, call)
            except CuveeError:
                raise
            except FileNotFoundError:
                raise DataError(f"there is no {what}", wanted="a file there", fix="check the address") from None
            except ImportError as error:
                raise UsageError(
                    f"{what} cannot be read: {error}",
                    wanted="the package for this kind of store beside fsspec (s3fs, gcsfs, adlfs, aiohttp)",
                    fix="pip install it in this environment",
                ) from error
            except Exception as error:  # every store has errors of its own
                status = getattr(error, "status", 0)
                failures.append(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
                forbidden = _forbidden(error)
                if forbidden or (400 <= status < 500 and status not in (408, 429)):
                    break
        unanswered = Unanswered(
            f"could not read {what}: {len(failures)} attempt(s), the last one said {failures[-1]}",
            wanted=f"an answer within {self.timeout:g} s in one of {self.attempts} attempts",
            fix="check the network, the address and the right to read it; the same command goes on from what is cached",
        )
        unanswered.forbidden = forbidden
        raise unanswered


class Unanswered(DataError):
    """A store that did not answer, or that forbids the answer."""

    forbidden = False


def _forbidden(error: BaseException) -> bool:
    return isinstance(error, PermissionError) or getattr(error, "status", 0) == 403


def _within(seconds: float, call: Callable[[], T]) -> T:
    """The result of `call`, made in a thread that is left alone once the time is over: a stalled read cannot be stopped."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(call())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return done[0]


@dataclass
class BlockCache:
    """Files by key in a folder, the least recently used removed when they exceed `budget` bytes."""

    folder: Path
    budget: int
    _mapped: OrderedDict[str, NDArray[np.uint8]] = field(default_factory=OrderedDict, repr=False)
    _held: int = 0
    _added: int | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def get(self, key: str, size: int, make: Callable[[], bytes]) -> NDArray[np.uint8]:
        """The `size` bytes of `key`, from the cache or as `make` makes them.

        Raises:
            PartialError: the disk is full.
        """
        with self._lock:
            if (found := self._mapped.get(key)) is not None:
                self._mapped.move_to_end(key)
                return found
        path = self.folder / key[:2] / key
        found = _map(path, size)
        if found is None:
            self._publish(path, make())
            found = _map(path, size)
        if found is None:  # swept away at once by another process: the budget is too small for all
            found = np.frombuffer(make(), np.uint8)
        with self._lock:
            self._remember(key, found)
        return found

    def _remember(self, key: str, found: NDArray[np.uint8]) -> None:
        # a mapped file that was swept away still takes its place on the disk
        self._held += found.size - (self._mapped[key].size if key in self._mapped else 0)
        self._mapped[key] = found
        while len(self._mapped) > 1 and (self._held > self.budget // 8 or len(self._mapped) > _MAPS):
            self._held -= self._mapped.popitem(last=False)[1].size

    def _publish(self, path: Path, data: bytes) -> None:
        temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(data)
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        self._added = self.budget if self._added is None else self._added + len(data)
        if self._added > self.budget // 16:
            self._added = 0
            self._sweep()

    def _sweep(self) -> None:
        """Remove the least recently used files until the rest fits; one process at a time."""
        with open(self.folder / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return
            files, now = [], time.time()
            for path in self.folder.glob("??/*"):
                try:
                    stat = path.stat()
                except FileNotFoundError:
                    continue
                if path.name.startswith("."):
                    if now - stat.st_mtime > _STALE:
                        path.unlink(missing_ok=True)
                    continue
                files.append((stat.st_mtime_ns, stat.st_size, path))
            total = sum(size for _, size, _ in files)
            for _, size, path in sorted(files):
                if total <= self.budget:
                    break
                path.unlink(missing_ok=True)
                total -= size


def _map(path: Path, size: int) -> NDArray[np.uint8] | None:
    """The file's bytes, marked as used now; None if it is not there whole."""
    try:
        if path.stat().st_size != size:
            return None
        os.utime(path)
        return np.asarray(np.memmap(path, np.uint8, "r")) if size else np.empty(0, np.uint8)
    except (FileNotFoundError, ValueError):
        return None


_OPEN: dict[tuple[int, str], Any] = {}
_CACHES: dict[tuple[int, Path, int], BlockCache] = {}


def cache_of(access: Access) -> BlockCache:
    """This process's view of the cache folder."""
    key = (os.getpid(), access.cache, access.cache_bytes)
    return _CACHES.setdefault(key, BlockCache(access.cache / "blocks", access.cache_bytes))


def filesystem(address: str) -> Any:
    """The fsspec file system of an address, one per process: its sessions do not survive a fork.

    Raises:
        UsageError: fsspec or the package for this kind of store is not installed, or the kind is unknown.
    """
    try:
        import fsspec
    except ImportError:
        raise missing_extra("fsspec", "remote", f"reading {address}") from None
    protocol = address.partition("://")[0]
    key = (os.getpid(), protocol)
    if key not in _OPEN:
        try:
            # an instance of our own, for _loud changes it
            _OPEN[key] = _loud(fsspec.filesystem(protocol, use_listings_cache=False, skip_instance_cache=True))
        except ImportError as error:
            raise UsageError(
                f"{address} cannot be read: {error}",
                wanted=f"the package that fsspec needs for {protocol}://",
                fix="pip install it in this environment",
            ) from error
        except ValueError as error:
            raise UsageError(
                f"{address}: {error}", wanted="a kind of store that fsspec knows: s3, gs, az, http, ..."
            ) from error
    return _OPEN[key]


def _loud(store: Any) -> Any:
    """The file system, failing where a folder cannot be listed: fsspec leaves such out, below the first level whatever is asked."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for name in ("walk", "_walk"):
        if hasattr(store, name):
            setattr(store, name, partial(getattr(store, name), on_error=refuse))
    return store


@dataclass(frozen=True)
class RemoteBlob:
    """An object, read in blocks through the cache.

    Args:
        name: Its address.
        stamp: Size, time and tag that the store gave it: another content is another object.
    """

    name: str
    size: int
    stamp: str
    access: Access

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Bytes `start` to `stop`.

        Raises:
            DataError: the store did not give them.
            PartialError: the disk of the cache is full.
        """
        block, stop = self.access.block, min(stop, self.size)
        first, last = start // block, max(stop - 1, start) // block
        pieces = [self._block(i)[max(start - i * block, 0) : stop - i * block] for i in range(first, last + 1)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _block(self, i: int) -> NDArray[np.uint8]:
        block = self.access.block
        start, stop = i * block, min((i + 1) * block, self.size)
        key = hashlib.blake2b(f"{self.name}\0{self.stamp}\0{start}\0{stop}".encode(), digest_size=16).hexdigest()
        return cache_of(self.access).get(key, max(stop - start, 0), lambda: self._fetch(start, stop))

    def _fetch(self, start: int, stop: int) -> bytes:
        if start >= stop:
            return b""
        store = filesystem(self.name)

        def fetch() -> bytes:
            data: bytes = store.cat_file(self.name, start=start, end=stop)
            if len(data) != stop - start:
                raise OSError(f"got {len(data):,} bytes instead of {stop - start:,}: cut off, or ranges are not served")
            return data

        return self.access.insist(f"{self.name} (bytes {start:,} to {stop:,})", fetch)


def info_of(address: str, access: Access) -> dict[str, Any] | None:
    """What the store says of an address; None: nothing is there.

    Raises:
        DataError: the store does not answer.
    """
    store = filesystem(address)

    def ask() -> dict[str, Any] | None:
        try:
            info: dict[str, Any] = store.info(address)
        except FileNotFoundError as error:
            cause = error.__cause__  # fsspec's HTTP calls every failure so
            absent = isinstance(cause, FileNotFoundError) or getattr(cause, "status", 0) in (404, 410)
            if address.startswith(("http:", "https:")) and cause is not None and not absent:
                raise cause from None
            return None
        return info

    return access.insist(address, ask)


def blob_of(address: str, access: Access, info: dict[str, Any] | None = None) -> RemoteBlob:
    """The object at an address, its size asked of the store unless a listing said it.

    Raises:
        DataError: there is none, or the store does not answer.
    """
    # a list of links, which is all that a web server gives, says no sizes
    found = info if info and info.get("size") is not None else info_of(address, access)
    if found is None:
        raise DataError(f"there is no {address}", wanted="a file there", fix="check the address")
    if found.get("size") is None:
        raise DataError(f"the store does not say how large {address} is", wanted="a server that gives sizes and ranges")
    stamp = repr([int(found["size"]), *(str(found[m]) for m in _MARKS if found.get(m) is not None)])
    return RemoteBlob(address, int(found["size"]), stamp, access)


def find(address: str, access: Access) -> dict[str, dict[str, Any]]:
    """Files at an address, below it or matching its `*`: address -> what the listing says of each, sorted.

    Raises:
        DataError: the store does not answer.
    """
    store, pattern = filesystem(address), any(c in address for c in "*?[")
    info, refused = None, None
    try:
        info = None if pattern else info_of(address, access)
    except Unanswered as error:  # a folder may be listed by those who may not ask for it
        if not error.forbidden:
            raise
        refused = error
    if info is not None and info.get("type", "file") == "file":
        return {address: info}

    def listing() -> dict[str, dict[str, Any]]:
        try:
            return dict((store.glob if pattern else store.find)(address, detail=True))
        except (FileNotFoundError, NotImplementedError):  # a plain web server has no listings
            return {}

    found = access.insist(address, listing)
    if refused is not None and not found:
        raise refused
    return _addressed(found, address)


def beside(address: str, access: Access) -> dict[str, dict[str, Any]]:
    """Files in the folder of a file, as `find` gives them; none where a store has no listings.

    Raises:
        DataError: the store does not answer.
    """
    folder, store = address.rpartition("/")[0], filesystem(address)

    def listing() -> dict[str, dict[str, Any]]:
        try:
            return {str(info["name"]): info for info in store.ls(folder, detail=True)}
        except (FileNotFoundError, NotImplementedError):
            return {}

    return _addressed(access.insist(folder, listing), address)


def _addressed(found: dict[str, dict[str, Any]], address: str) -> dict[str, dict[str, Any]]:
    """The files of a listing by their addresses, sorted; a store leaves out its own name, `s3://`."""
    protocol = address.partition("://")[0]
    files = sorted(path for path, info in found.items() if info.get("type", "file") == "file")
    return {p if "://" in p else f"{protocol}://{p.lstrip('/')}": found[p] for p in files}
