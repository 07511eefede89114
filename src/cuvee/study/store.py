"""The study's folder: where each file lies, written once, read back strictly; an index in memory over trial files.

    study.json            the resolved config
    rounds/0003.json      the runs proposed together      verify/0000.json   the runs of one verification
    verify-large/0000.json   of one at a larger scale     transfer/0000.json the pairs of runs of one transfer check
    inputs/<hash>.npz     what runs are scored on besides the corpus, or start from
    trials/ab/<id>.json   a run that ended                claims/<id>.json   a run that somebody is making (advice only)
    checkpoints/<id>.pt   an unfinished run, <id>.json how far it is
    jobs/<hash>.json      what workers are told
    choice.json   verification.json   verification-large.json   transfer.json   history.jsonl
    alternatives.json   pareto.json    the choice asked otherwise
    retired/0000/         what an edit put aside

Every file is whole or absent. Files that start with a dot are leftovers of a process that was killed and mean nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from cuvee.base.codec import SchemaError, content_id, from_json, to_json
from cuvee.base.errors import DataError
from cuvee.base.files import FORMAT, dump_json, explained, load_json, publish, replace
from cuvee.plan.choice import Choice, Verification
from cuvee.plan.trial import Plan, Trial
from cuvee.proxies.progress import Progress, path_of, told
from cuvee.study.alternatives import Alternatives, Front
from cuvee.study.layout import Change, Config, Job, Lineup, Planned, Round
from cuvee.study.transfer import Transfer

T = TypeVar("T")
VerifyScale = Literal["proxy", "large"]
Scale = Literal["proxy", "large", "transfer"]
FOLDERS: dict[Scale, str] = {"proxy": "verify", "large": "verify-large", "transfer": "transfer"}
VERIFICATIONS: dict[VerifyScale, str] = {"proxy": "verification.json", "large": "verification-large.json"}


class Store:
    """Reads and writes the files of one study. Safe for many processes at once: what is written once stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index: dict[str, Trial] = {}
        self._unreadable: set[str] = set()

    # the question

    def exists(self) -> bool:
        """Whether there is a study here."""
        return (self.folder / "study.json").exists()

    def config(self) -> Config:
        """The resolved config.

        Raises:
            DataError: no study here, or written by a newer Cuvée.
        """
        if not self.exists():
            raise DataError(f"no study in {self.folder}", wanted="a folder with study.json", fix="check the path")
        return _read(Config, self.folder / "study.json")

    def create(self, config: Config) -> None:
        """Write the config unless there is one."""
        publish(self.folder / "study.json", _bytes(config))

    def edit(self, config: Config) -> None:
        """Replace the config."""
        replace(self.folder / "study.json", _bytes(config))

    def remember(self, change: Change) -> None:
        """Append a line to the history."""
        line = json.dumps({"format": FORMAT, **to_json(change)}, ensure_ascii=False) + "\n"
        path = self.folder / "history.jsonl"
        with explained(path), open(path, "a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def history(self) -> tuple[Change, ...]:
        """The changes in order; a last line cut short by a kill is left out."""
        path = self.folder / "history.jsonl"
        changes = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                data = json.loads(line)
            except json.JSONDecodeError:
                continue
            changes.append(from_json(Change, {k: v for k, v in data.items() if k != "format"}))
        return tuple(changes)

    # rounds and line-ups: written once

    def rounds(self) -> list[Round]:
        """The rounds in order."""
        return self._numbered(Round, "rounds")

    def write_round(self, number: int, round_: Round) -> bool:
        """Write a round unless it is there; False when another process was first."""
        return publish(self.folder / "rounds" / f"{number:04d}.json", _bytes(round_))

    def lineups(self, scale: Scale) -> list[Lineup]:
        """The verifications in order; for a transfer check, its runs of both sizes as two arms."""
        return self._numbered(Lineup, FOLDERS[scale])

    def write_lineup(self, lineup: Lineup, scale: Scale) -> None:
        """Write a line-up under the next free number unless the same arms are there already."""
        known = self.lineups(scale)
        while all(other.arms != lineup.arms for other in known):
            publish(self.folder / FOLDERS[scale] / f"{len(known):04d}.json", _bytes(lineup))
            known = self.lineups(scale)

    def _numbered(self, cls: type[T], name: str) -> list[T]:
        found: list[T] = []
        while (path := self.folder / name / f"{len(found):04d}.json").exists():
            found.append(_read(cls, path))
        return found

    def planned(self) -> dict[str, Planned]:
        """Every planned run by id, of rounds, verifications and transfer checks."""
        runs = [p for r in self.rounds() for p in r.plans]
        runs += [p for scale in FOLDERS for v in self.lineups(scale) for p in v.plans]
        return {p.id: p for p in runs}

    # trials

    def trial_path(self, trial: str) -> Path:
        """Where the trial of that id is or will be."""
        return self.folder / "trials" / trial[:2] / f"{trial}.json"

    def has(self, trial: str) -> bool:
        """Whether there is a file for the trial, readable or not: what workers ask."""
        return self.trial_path(trial).exists()

    def publish_trial(self, trial: Trial) -> bool:
        """Write a trial unless it is there; False when another worker was first."""
        return publish(self.trial_path(trial.id), _bytes(trial))

    def trial(self, trial: str) -> Trial | None:
        """The trial of that id; None when it has not ended or its file cannot be read (see `unreadable`)."""
        if trial not in self._index and self.has(trial):
            try:
                found = _read_trial(self.trial_path(trial))
            except _Broken:
                self._unreadable.add(trial)
                return None
            self._index[trial] = found
            self._unreadable.discard(trial)
        return self._index.get(trial)

    def trials(self, planned: Iterable[Planned]) -> tuple[Trial, ...]:
        """The trials of those runs that have ended, sorted by id, each once."""
        found = (self.trial(i) for i in sorted({p.id for p in planned}))
        return tuple(t for t in found if t is not None)

    def ended_and_left(self, planned: Iterable[Planned]) -> tuple[list[Plan], list[Plan]]:
        """Plans that have a trial, and those that have none."""
        done, left = list[Plan](), list[Plan]()
        for run in planned:
            (done if self.has(run.id) else left).append(run.plan)
        return done, left

    def unreadable(self) -> tuple[str, ...]:
        """Ids of trial files met so far that no one can read: cut short or damaged by a disk."""
        return tuple(sorted(self._unreadable))

    def take_stock(self, planned: Sequence[Planned], others: Sequence[Store]) -> list[tuple[str, Path]]:
        """Set aside the trials of those runs that cannot be read (id and where to), and copy those that other studies have
        made: the same id is the same run."""
        self.trials(planned)
        aside = [(trial, self.set_aside(trial)) for trial in self.unreadable()]
        for run in planned:
            for other in others:
                if not self.has(run.id) and (trial := other.trial(run.id)) is not None:
                    self.publish_trial(trial)
        return aside

    def set_aside(self, trial: str) -> Path:
        """Rename an unreadable trial file to `.bad`, so that the run is made again."""
        path = self.trial_path(trial)
        number = 0
        while (bad := path.with_name(f"{trial}.{number}.bad")).exists():
            number += 1
        with explained(path):
            path.rename(bad)
        self._unreadable.discard(trial)
        return bad

    def bad(self) -> tuple[str, ...]:
        """Names of the trial files that were set aside."""
        return tuple(sorted(p.name for p in self.folder.glob("trials/*/*.bad")))

    # work in progress

    @property
    def inputs(self) -> Path:
        """Where arrays lie that runs need besides the corpus, by their hash."""
        return self.folder / "inputs"

    def claim_path(self, trial: str) -> Path:
        """Where a worker says that it makes the run."""
        return self.folder / "claims" / f"{trial}.json"

    def checkpoint_path(self, trial: str) -> Path:
        """Where an unfinished run is kept."""
        return self.folder / "checkpoints" / f"{trial}.pt"

    def progress(self, trial: str) -> Progress | None:
        """How far an unfinished run is; None when it has said nothing so far."""
        return told(self.checkpoint_path(trial))

    def forget(self, trial: str) -> None:
        """Remove what is kept of a run until it has ended."""
        for path in (checkpoint := self.checkpoint_path(trial), path_of(checkpoint)):
            path.unlink(missing_ok=True)

    def write_job(self, corpus: Path, trials: tuple[str, ...]) -> Path:
        """The job file for those trials, named by its content: the same work is the same file."""
        folder = self.folder / "jobs"
        job = Job(study="..", corpus=portable(corpus, folder), plans=trials)
        path = folder / f"{content_id(job)}.json"
        publish(path, _bytes(job))
        return path

    def sweep(self, planned: Iterable[Planned]) -> None:
        """Remove checkpoints and claims of trials that are published: their worker was killed before it could."""
        for run in planned:
            if self.has(run.id):
                self.forget(run.id)
                self.claim_path(run.id).unlink(missing_ok=True)
                for leftover in self.folder.glob(f"checkpoints/.{run.id}.*.tmp"):
                    leftover.unlink(missing_ok=True)

    # results

    def write_choice(self, choice: Choice) -> None:
        """Write or replace the choice."""
        replace(self.folder / "choice.json", _bytes(choice))

    def choice(self) -> Choice | None:
        """The choice; None before there is one."""
        return self._optional(Choice, "choice.json")

    def write_verification(self, verification: Verification, scale: VerifyScale) -> None:
        """Write or replace the verification at a scale."""
        replace(self.folder / VERIFICATIONS[scale], _bytes(verification))

    def verification(self, scale: VerifyScale) -> Verification | None:
        """The latest verification at a scale; None before there is one."""
        return self._optional(Verification, VERIFICATIONS[scale])

    def write_transfer(self, transfer: Transfer) -> None:
        """Write or replace the transfer check."""
        replace(self.folder / "transfer.json", _bytes(transfer))

    def transfer(self) -> Transfer | None:
        """The latest transfer check; None before there is one."""
        return self._optional(Transfer, "transfer.json")

    def write_alternatives(self, found: Alternatives) -> None:
        """Write or replace what the choice would be under other objectives."""
        replace(self.folder / "alternatives.json", _bytes(found))

    def alternatives(self) -> Alternatives | None:
        """What the choice would be under other objectives; None before there is one."""
        return self._optional(Alternatives, "alternatives.json")

    def write_front(self, front: Front) -> None:
        """Write or replace the front of two objectives."""
        replace(self.folder / "pareto.json", _bytes(front))

    def front(self) -> Front | None:
        """The latest front of two objectives; None before there is one."""
        return self._optional(Front, "pareto.json")

    def transfer_runs(self) -> list[str]:
        """Ids of the larger runs of the latest transfer check; empty before there is one."""
        found = self.transfer()
        if found is None:
            return []
        arms = [{p.id for p in lineup.arms["large"]} for lineup in self.lineups("transfer")]
        fitting = [
            ids for ids in arms if {pair.large for pair in found.pairs} <= ids
        ]  # an earlier one may be asked for again
        smallest: set[str] = min(fitting, key=len, default=set())
        return sorted(smallest)

    def _optional(self, cls: type[T], name: str) -> T | None:
        path = self.folder / name
        return _read(cls, path) if path.exists() else None

    def retire(self, names: Iterable[str]) -> None:
        """Move files or folders of the study to `retired/NNNN/`; trials stay, they are found by content."""
        present = [n for n in names if (self.folder / n).exists()]
        if not present:
            return
        number = 0
        while (to := self.folder / "retired" / f"{number:04d}").exists():
            number += 1
        with explained(to):
            to.mkdir(parents=True)
            for name in present:
                (self.folder / name).rename(to / name)


def portable(path: Path, start: Path) -> str:
    """`path` relative to the folder `start`, in POSIX form, so that both can be moved together."""
    path, start = path.resolve(), start.resolve()
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:  # another drive
        return path.as_posix()


def read_job(path: Path) -> Job:
    """The job in a file.

    Raises:
        DataError: missing, not a job, or written by a newer Cuvée.
    """
    return _read(Job, path)


def _bytes(value: Any) -> bytes:
    return dump_json({"format": FORMAT, **to_json(value)})


def _read(cls: type[T], path: Path) -> T:
    data = load_json(path)
    if not isinstance(data, dict):
        raise DataError(f"{path} holds no {cls.__name__}", fix="restore the file")
    try:
        return from_json(cls, {k: v for k, v in data.items() if k != "format"})
    except SchemaError as error:
        raise DataError(f"{path}: {error.what}", wanted=error.wanted, fix="restore the file") from error


class _Broken(Exception):
    """A trial file that no version of Cuvée wrote like this."""


def _read_trial(path: Path) -> Trial:
    """The trial in a file; `_Broken` when it is damaged, DataError when it is of a newer format."""
    try:
        json.loads(path.read_bytes())
    except ValueError as error:
        raise _Broken from error
    data = load_json(path)
    try:
        trial = from_json(Trial, {k: v for k, v in data.items() if k != "format"})
    except (SchemaError, AttributeError) as error:
        raise _Broken from error
    if trial.id != path.stem:
        raise _Broken
    return trial
