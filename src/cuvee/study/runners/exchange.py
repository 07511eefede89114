"""An exchange: a folder in an object store, all that a driver and nodes far apart share.

    corpora/<fingerprint>/...   a corpus; its inventory comes last, and without it there is none
    inputs/<hash>.npz           what runs are scored on besides the corpus, or start from
    trials/<id>.json            runs that ended
    checkpoints/<id>.pt         unfinished runs

Names say what is in a file, so nothing there changes but checkpoints, and several studies may share one. Nothing is claimed
there: a store of objects cannot create one only if there is none. So the driver deals the runs out, and its study's folder
is where they count, once. Whatever comes from there is checked before it is used.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cuvee.base.errors import DataError
from cuvee.base.files import replace
from cuvee.plan.trial import Trial
from cuvee.shards.corpus import Corpus
from cuvee.shards.inventory import FILE, Inventory
from cuvee.study.layout import Planned
from cuvee.study.runners.remote import Forbidden, Remote, each
from cuvee.study.store import Store
from cuvee.study.worker import slower

PART = 64
"""Trials that are held in memory at a time."""


@dataclass(frozen=True)
class Exchange(Remote):
    """The exchange at an address."""

    # corpora and inputs, which never change

    def send_corpus(self, corpus: Corpus) -> None:
        """Send a corpus unless it is there. A file of the same size is there from an upload that was broken off."""
        base = f"corpora/{corpus.fingerprint}"
        if self.size(f"{base}/{FILE}") is not None:
            return

        def send(name: str) -> None:
            if self.size(f"{base}/{name}") != (corpus.path / name).stat().st_size:
                self.put(corpus.path / name, f"{base}/{name}")

        each(send, _files(corpus.inventory))
        self.put(corpus.path / FILE, f"{base}/{FILE}")

    def bring_corpus(self, fingerprint: str, cache: Path) -> Path:
        """The corpus on this machine's own disk, brought there and read through once.

        Raises:
            DataError: it is not there, or not whole.
        """
        base = f"corpora/{fingerprint}"

        def bring(folder: Path) -> None:
            try:
                self.get(f"{base}/{FILE}", folder / FILE)
                each(lambda name: self.get(f"{base}/{name}", folder / name), _files(Inventory.load(folder)))
                found = Corpus.open(folder)
                found.check()
            except Forbidden:
                raise
            except DataError as error:
                raise DataError(
                    f"{self.url}/{base} is no whole corpus: {error.what}",
                    fix="remove it there and run the same command again, which sends it anew",
                ) from error
            if found.fingerprint != fingerprint:
                raise DataError(f"{self.url}/{base} holds corpus {found.fingerprint}", fix="remove it there")

        return _cached(cache / "corpora" / fingerprint, bring)

    def send_inputs(self, runs: Sequence[Planned], folder: Path) -> None:
        """Send the arrays that those runs need from the `inputs` of their study, unless they are there."""
        for name in _inputs(runs):
            if self.size(f"inputs/{name}") is None and (folder / name).exists():
                self.put(folder / name, f"inputs/{name}")

    def bring_inputs(self, runs: Sequence[Planned], cache: Path, folder: Path) -> None:
        """Bring them to `folder`, by way of this machine's disk."""
        folder.mkdir(parents=True, exist_ok=True)

        def bring(to: Path) -> None:
            if not self.get(f"inputs/{to.name}", to):
                raise DataError(f"{self.url} has no inputs/{to.name}", fix="run the same command again, which sends it")
            if not _whole(to):  # in training it would make all runs fail, and that would be their result
                raise DataError(
                    f"{self.url}/inputs/{to.name} is not whole",
                    fix="remove it there and run the same command again, which sends it anew",
                )

        for name in _inputs(runs):
            (folder / name).symlink_to(_cached(cache / "inputs" / name, bring))

    # trials and checkpoints

    def bring_trials(self, store: Store, ids: Sequence[str], fingerprint: str) -> None:
        """Publish in a study those trials that are there, in the order given. One that is not what its name says is passed over."""
        for trials in self._trials(ids, fingerprint):
            for trial in trials:
                store.publish_trial(trial)

    def bring_home(self, store: Store, runs: Sequence[Planned], fingerprint: str) -> None:
        """Publish the trials of those runs, and of their retries; their checkpoints go first, or a kill would leave them."""
        for trials in self._trials(with_retries(runs, fingerprint), fingerprint):
            self.remove(f"checkpoints/{trial.id}.pt" for trial in trials)
            for trial in trials:
                store.publish_trial(trial)

    def _trials(self, ids: Sequence[str], fingerprint: str) -> Iterator[list[Trial]]:
        for part in (ids[i : i + PART] for i in range(0, len(ids), PART)):
            found = self.read([f"trials/{i}.json" for i in part])
            with tempfile.TemporaryDirectory() as folder:
                apart = Store(Path(folder))
                for name, content in found.items():
                    replace(apart.trial_path(name.removesuffix(".json")), content)
                read = [trial for i in part if (trial := apart.trial(i)) is not None]
            yield [trial for trial in read if trial.plan.id(fingerprint) == trial.id]


class Courier:
    """Carries what is new in a task's own study to the exchange, and what it goes on from the other way."""

    def __init__(self, exchange: Exchange, store: Store) -> None:
        self.exchange, self.store = exchange, store
        self._sent = dict[Path, int]()

    def bring(self, ids: Sequence[str]) -> None:
        """Bring the checkpoints that there are of those runs. One that is not whole is ignored by whoever loads it."""
        for path in map(self.store.checkpoint_path, ids):
            if self.exchange.get(f"checkpoints/{path.name}", path):
                self._sent[path] = path.stat().st_mtime_ns

    def send(self) -> None:
        """Send trials, retries before the runs that tell of them, then checkpoints.

        Raises:
            Unanswered: see `Exchange`.
        """
        planned = dict.fromkeys(map(self.store.trial_path, self.store.planned()))
        ended = [path for path in planned if path.exists()]
        # a retry is there before its run is, so looked for afterwards it is found; times of files may be equal
        retries = [path for path in self.store.folder.glob("trials/*/*.json") if path not in planned]
        for path in (*retries, *ended):
            self._send(path, f"trials/{path.name}")
        for path in self.store.folder.glob("checkpoints/*.pt"):
            self._send(path, f"checkpoints/{path.name}")

    def _send(self, path: Path, name: str) -> None:
        copy = self.store.folder / f".{uuid.uuid4().hex}.tmp"
        try:
            os.link(path, copy)  # the worker may put the next one in its place meanwhile
            if self._sent.get(path) != (stamp := copy.stat().st_mtime_ns):
                self.exchange.put(copy, name)
                self._sent[path] = stamp
        except FileNotFoundError:  # its run has ended
            return
        finally:
            copy.unlink(missing_ok=True)


def with_retries(runs: Sequence[Planned], fingerprint: str) -> list[str]:
    """Ids of the runs, each after that of the run that is made where it diverges."""
    return list(dict.fromkeys(i for run in runs for i in (slower(run.plan, fingerprint).id, run.id)))


def cache_folder() -> Path:
    """Where this machine keeps corpora and inputs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "cuvee"


def _files(inventory: Inventory) -> list[str]:
    """Names of a corpus's files besides the inventory.

    Raises:
        DataError: one is outside the corpus's folder.
    """
    shards = [shard.path for d in inventory.domains for i in (d.train, d.search, d.verify) for shard in i.shards]
    names = [f"{path}.{end}" for path in dict.fromkeys(shards) for end in ("bin", "idx")]
    names += [inventory.tokenizer.path] if inventory.tokenizer.path else []
    for path in map(PurePosixPath, names):
        if path.is_absolute() or ".." in path.parts:
            raise DataError(f"the corpus has the file {path}", wanted="files in its own folder", fix="prepare it anew")
    return names


def _inputs(runs: Sequence[Planned]) -> list[str]:
    plans = [run.plan for run in runs]
    hashes = [sha for plan in plans for m in plan.measures for sha in (m.search, m.verify)]
    hashes += [plan.start.sha for plan in plans if plan.start]
    return [f"{sha}.npz" for sha in dict.fromkeys(hashes) if sha]


def _whole(path: Path) -> bool:
    """Whether all arrays of an .npz have the checksums that it says."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError):
        return False


def _cached(path: Path, fill: Callable[[Path], object]) -> Path:
    """The file or folder, made by one of the processes of this machine that ask for it at a time, and never half."""
    with _only_one(path.with_name(f".{path.name}.lock")):
        if not path.exists():
            apart = path.with_name(f".{path.name}.tmp")
            shutil.rmtree(apart, ignore_errors=True)  # of a process that was killed
            apart.mkdir()
            fill(apart / path.name)
            (apart / path.name).rename(path)
            apart.rmdir()
    return path


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    import fcntl  # Windows has none, and no nodes either

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
