"""A folder in an object store, through fsspec: files that are whole or absent, asked for a bounded number of times."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cuvee.base.errors import DataError, PartialError, UsageError, missing_extra

T = TypeVar("T")
ATTEMPTS = 6
WAIT = 1.0
"""Seconds before the second attempt; doubled before each further one."""
LOCAL = ("file", "local")
"""How addresses begin whose files lie in folders of this machine, as those of a mounted file system do."""
AT_ONCE = 16
"""Files on their way at a time."""


class Unanswered(PartialError):
    """A store that failed at every attempt; it may answer later."""


class Forbidden(DataError):
    """What the store does not allow."""


def check_address(url: str) -> None:
    """Refuse what is no address of a folder that all machines see alike, and one that holds a password.

    Raises:
        UsageError: see above.
    """
    try:
        parts = urlsplit(url)
        secret = parts.password is not None
    except ValueError:
        parts, secret = urlsplit(""), False
    if secret:
        raise UsageError(
            "the address of the exchange holds a password",
            wanted="credentials where the store's own tools look for them: the environment, or a file on every machine",
        )
    local = parts.scheme in LOCAL and not url.startswith(f"{parts.scheme}:///")
    if not parts.scheme or local or "://" not in url or any(c in url for c in ("*", "?", "[", "]", "#", "::")):
        # what is before an @ may be a password, what is behind a ? a signature
        said = "an address with ? or @" if {*"?@"} & {*url} else repr(url)
        raise UsageError(
            f"exchange: {said}", wanted="the address of a folder, such as s3://bucket/cuvee or file:///mnt/cuvee"
        )


@dataclass(frozen=True)
class Remote:
    """The folder at an address."""

    url: str

    def __post_init__(self) -> None:
        check_address(self.url)

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """The file system and the folder in it."""
        try:
            import fsspec
        except ModuleNotFoundError:
            raise missing_extra("fsspec", "remote", f"an exchange at {self.url}") from None
        try:
            store, root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"exchange: {self.url}: {error}",
                wanted="an address that fsspec knows, on every machine its package for this kind of store",
                fix="pip install s3fs, gcsfs, adlfs, ... as the address says",
            ) from error
        except Exception as error:  # some stores connect here, and each has errors of its own
            raise Unanswered(
                f"{self.url}: connecting failed: {type(error).__name__}: {error}",
                wanted="a store that answers",
                fix="check the network, the address and the credentials, then run the same command again",
            ) from error
        return store, root.rstrip("/")

    def _insist(self, what: str, call: Callable[[Any, str], T]) -> T:
        """The result of `call`, tried several times.

        Raises:
            FileNotFoundError: what is read is not there.
            Forbidden: the store says so.
            Unanswered: it failed every time.
        """
        store, root = self._place
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(WAIT * 2 ** (attempt - 1))
            try:
                return call(store, root)
            except FileNotFoundError:
                raise
            except PermissionError as error:
                raise Forbidden(
                    f"{self.url}: {what} is not allowed: {error}",
                    wanted="credentials, here and on every node, that may read, write and delete there",
                ) from error
            except Exception as error:  # every store has errors of its own
                said = f"{type(error).__name__}: {error}"
        raise Unanswered(
            f"{self.url}: {what} failed {ATTEMPTS} times, at last by {said}",
            wanted="a store that answers",
            fix="check the network, the address and the credentials, then run the same command again",
        )

    def put(self, path: Path, name: str) -> None:
        """Send a file; others see it whole or not at all.

        Raises:
            DataError: there is no such bucket, or writing is forbidden.
            Unanswered: see `_insist`.
        """

        def call(store: Any, root: str) -> None:
            if urlsplit(self.url).scheme in LOCAL:
                _copy(path, Path(root) / name)
            else:  # an object appears when it is complete
                store.put_file(str(path), f"{root}/{name}")

        try:
            self._insist(f"writing {name}", call)
        except FileNotFoundError as error:
            raise DataError(
                f"{self.url}: {name} could not be written: {error}", wanted="a bucket that exists", fix="create it"
            ) from error

    def get(self, name: str, path: Path) -> bool:
        """Bring a file to `path`; False when there is none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            self._insist(f"reading {name}", lambda store, root: store.get_file(f"{root}/{name}", str(part)))
            part.replace(path)
        except FileNotFoundError:
            return False
        finally:
            part.unlink(missing_ok=True)
        return True

    def size(self, name: str) -> int | None:
        """Bytes of a file; None when there is none."""
        try:
            return int(self._insist(f"reading {name}", lambda store, root: store.info(f"{root}/{name}")["size"]))
        except FileNotFoundError:
            return None

    def remove(self, names: Iterable[str]) -> None:
        """Remove those files that are there."""

        def remove(name: str) -> None:
            try:
                self._insist(f"removing {name}", lambda store, root: store.rm_file(f"{root}/{name}"))
            except FileNotFoundError:
                return

        each(remove, names)

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """The contents of those files that are there, by the last part of their names."""

        def call(store: Any, root: str) -> dict[str, bytes]:
            found = store.cat([f"{root}/{name}" for name in names], on_error="return")
            there = {path.rpartition("/")[2]: c for path, c in found.items() if not isinstance(c, FileNotFoundError)}
            for content in there.values():
                if isinstance(content, BaseException):
                    raise content
            return there

        return self._insist(f"reading {names[0]} and others", call)


def each(function: Callable[[str], object], names: Iterable[str]) -> None:
    """Call the function with every name, several at a time; the first error is raised."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(function, names):
            pass


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(f".{to.name}.{uuid.uuid4().hex}.tmp")
    try:
        shutil.copyfile(path, part)
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)
