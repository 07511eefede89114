"""What a study has done and what is left, read from its files alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cuvee.plan.trial import Trial
from cuvee.study import claims
from cuvee.study.layout import Planned
from cuvee.study.pace import Pace, pace
from cuvee.study.store import Scale, Store

NAMES: dict[Scale, str] = {
    "transfer": "transfer check",
    "proxy": "verification",
    "large": "verification at the larger scale",
}


@dataclass(frozen=True)
class Stage:
    """One round or one verification: runs planned, how those that ended did, and how many are being made now."""

    name: str
    planned: int
    done: int
    diverged: int
    failed: int
    running: int

    @property
    def left(self) -> int:
        """Runs that have not ended."""
        return self.planned - self.done - self.diverged - self.failed


@dataclass(frozen=True)
class StudyStatus:
    """Where a study stands.

    Args:
        folder: The study's folder.
        method: The method's name.
        stages: Rounds in order, then verifications.
        chosen, verified: Whether there is a choice, and a verification.
        set_aside: Trial files that could not be read, renamed; their runs are made again.
        unreadable: Ids of trial files that cannot be read and are still in place.
        seconds: Summed over the runs that ended.
        pace: How fast its runs end and how long those that are planned will take.
        messages: One line for each run that failed or diverged.
        edits: Entries of the history.
    """

    folder: str
    method: str
    stages: tuple[Stage, ...]
    chosen: bool
    verified: bool
    set_aside: tuple[str, ...]
    unreadable: tuple[str, ...]
    seconds: float
    pace: Pace
    messages: tuple[str, ...]
    edits: int

    def __str__(self) -> str:
        lines = [f"{self.folder}: {self.method}"]
        for s in self.stages:
            lines.append(
                f"  {s.name}: {s.done} of {s.planned} runs done, {s.diverged} diverged, {s.failed} failed, "
                f"{s.running} running, {s.left - s.running} waiting"
            )
        lines += [f"  {self.pace}" if self.stages else "  nothing planned yet"]
        lines.append(
            f"  choice: {'yes' if self.chosen else 'not yet'}; verified: {'yes' if self.verified else 'not yet'}"
        )
        lines.append(f"  {self.seconds:,.0f} s of training")
        lines += [f"  {m}" for m in self.messages]
        lines += [f"  set aside, could not be read: {name}" for name in (*self.set_aside, *self.unreadable)]
        return "\n".join(lines)


def status(store: Store) -> StudyStatus:
    """The status of the study in that folder."""
    parts = [(f"round {i}", r.plans) for i, r in enumerate(store.rounds())]
    parts += [(f"{NAMES[scale]} {i}", v.plans) for scale in NAMES for i, v in enumerate(store.lineups(scale))]
    config = store.config()
    ended = store.trials(p for _, planned in parts for p in planned)
    return StudyStatus(
        folder=store.folder.resolve().name,
        method=config.method.name,
        stages=tuple(_stage(store, name, planned, ended) for name, planned in parts),
        chosen=store.choice() is not None,
        verified=store.verification("proxy") is not None,
        set_aside=store.bad(),
        unreadable=store.unreadable(),
        seconds=sum(t.cost.seconds for t in ended),
        pace=pace(store, [planned for _, planned in parts], ended, config.corpus.vocab_size),
        messages=tuple(f"{t.id[:8]} {t.status}: {t.message}".rstrip(": ") for t in ended if t.status != "done"),
        edits=len(store.history()),
    )


def _stage(store: Store, name: str, planned: Sequence[Planned], ended: Sequence[Trial]) -> Stage:
    ids = {p.id for p in planned}
    states = [t.status for t in ended if t.id in ids]
    left = ids - {t.id for t in ended}
    running = sum(claims.held(store.claim_path(i)) for i in left)
    return Stage(name, len(ids), states.count("done"), states.count("diverged"), states.count("failed"), running)
