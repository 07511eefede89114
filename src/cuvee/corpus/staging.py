"""The folder `.prepare` inside a corpus that is being made: what each stage finished, so that a killed run resumes.

Every stage has a folder and a signature (what its output depends on, its predecessors' included). A stage whose signature
changed is thrown away with all after it. Inside a stage, results appear whole by renaming.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cuvee.base.errors import UsageError
from cuvee.base.files import explained, replace

FOLDER = ".prepare"
_DRAFT = ".draft"


def draft(final: Path) -> Path:
    """A new hidden folder beside `final` to write into."""
    folder = final.parent / f".{final.name}.{uuid.uuid4().hex}{_DRAFT}"
    with explained(folder):
        folder.mkdir(parents=True)
    return folder


def publish_folder(folder: Path, final: Path) -> None:
    """Give a finished folder its name; if another process was first with the same content, its copy stays."""
    with explained(final):
        try:
            os.rename(folder, final)
        except OSError:
            if not final.is_dir():
                raise


class Staging:
    """The stages in `out/.prepare`, held by one process at a time.

    Args:
        out: The folder of the corpus.
        stages: Name and signature of each stage, in order.
    """

    def __init__(self, out: Path, stages: tuple[tuple[str, str], ...]) -> None:
        self.out, self.root, self.stages = out, out / FOLDER, stages

    @contextmanager
    def held(self) -> Iterator[list[str]]:
        """Take the folder for this process and throw away what no longer fits; yields the names of the stages dropped.

        Raises:
            UsageError: another process is preparing this corpus.
        """
        with explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        with open(self.root / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"another process is preparing {self.out}", fix="wait for it, or choose another folder"
                ) from None
            except OSError:
                pass  # some network file systems know no locks; results are published whole in any case
            yield self._drop_stale()

    def folder(self, stage: str) -> Path:
        """The folder of a stage."""
        return self.root / stage

    def _drop_stale(self) -> list[str]:
        dropped: list[str] = []
        for name, signature in self.stages:
            mark = self.folder(name) / "signature"
            old = mark.read_text(encoding="utf-8") if mark.exists() else ""
            if dropped or old != signature:
                if old:
                    dropped.append(name)
                shutil.rmtree(self.folder(name), ignore_errors=True)
                replace(mark, signature.encode("utf-8"))
            for left in self.folder(name).glob(f".*{_DRAFT}"):
                shutil.rmtree(left, ignore_errors=True)
        return dropped
