"""Files that are whole or absent: publishing by fsync and link, atomic replacement, content hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cuvee.base.errors import DataError, PartialError

FORMAT = 1


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into an error that says so and what to do; everything already published stays."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PartialError(
                f"the disk is full: could not write {path}",
                wanted="free space",
                fix="free some space and run the same command again; what was finished is kept",
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise DataError(
                f"cannot write {path}: {error.strerror}", fix="choose a folder that can be written"
            ) from error
        raise


def publish(path: Path, data: bytes) -> bool:
    """Write `data` to `path` unless it exists: fsync, then link. True if this call was the first writer.

    A reader sees the whole file or none, also after kill -9 or a power cut; a second writer changes nothing.
    """
    temporary = _write_temporary(path, data)
    try:
        with explained(path):
            os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def replace(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically; the last writer wins."""
    temporary = _write_temporary(path, data)
    with explained(path):
        os.replace(temporary, path)
    _sync_folder(path.parent)


def _write_temporary(path: Path, data: bytes) -> Path:
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    return temporary


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        with explained(folder):
            os.fsync(handle)
    finally:
        os.close(handle)


def dump_json(value: Any) -> bytes:
    """JSON as the files of a study hold it: UTF-8, indented, a final newline."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def load_json(path: Path) -> Any:
    """The JSON in `path`, its `format` checked.

    Raises:
        DataError: missing, not JSON, or written by a newer Cuvée.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"no such file: {path}", fix="check the path") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is not valid JSON: {error}", fix="restore the file, or remove it to have it remade"
        ) from error
    found = value.get("format", FORMAT) if isinstance(value, dict) else FORMAT
    if not isinstance(found, int) or found > FORMAT:
        raise DataError(f"{path} has format {found}", wanted=f"format {FORMAT} or older", fix="upgrade cuvee")
    return value


def hash_file(path: Path) -> str:
    """blake2b-128 of a file's bytes, read in pieces of 1 MiB."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def slug(name: str) -> str:
    """A file name for any domain name: readable part plus a hash, so that `C/C++` and `c/c++` never meet."""
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "domain"
    return f"{readable}-{hashlib.blake2b(name.encode('utf-8'), digest_size=4).hexdigest()}"
