"""What the files of a study say, as frozen values: the config, planned runs, line-ups of verification, jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cuvee.base.codec import to_json
from cuvee.methods.contract import Method
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Plan


@dataclass(frozen=True)
class MethodRef:
    """A method as a file holds it: its name, its fields, and its `repr`, which also tells nested classes apart."""

    name: str
    text: str
    fields: Mapping[str, Any]

    @classmethod
    def of(cls, method: Method) -> MethodRef:
        """The reference to a method in hand."""
        return cls(method.name, repr(method), to_json(method))


@dataclass(frozen=True)
class CorpusRef:
    """Which corpus: its fingerprint, and where it was, relative to the study's folder in POSIX form when possible."""

    fingerprint: str
    path: str
    vocab_size: int


@dataclass(frozen=True)
class Config:
    """`study.json`: the resolved question. `recipe` is that of the training code which began the study."""

    problem: Problem
    method: MethodRef
    corpus: CorpusRef
    recipe: int


@dataclass(frozen=True)
class Planned:
    """A plan with the id its trial will have. The id is stored, for a later recipe would give another."""

    id: str
    plan: Plan


@dataclass(frozen=True)
class Round:
    """`rounds/NNNN.json`: the runs proposed together."""

    plans: tuple[Planned, ...]


@dataclass(frozen=True)
class Lineup:
    """`verify/NNNN.json`: the runs of every arm, and the gain that they can detect, known before they are paid for."""

    detectable: float
    arms: Mapping[str, tuple[Planned, ...]]

    @property
    def plans(self) -> tuple[Planned, ...]:
        """Every run once; arms with equal mixtures share theirs."""
        return tuple({p.id: p for arm in self.arms.values() for p in arm}.values())


@dataclass(frozen=True)
class Job:
    """What a worker is told: study and corpus relative to the job's folder (POSIX), and trial ids in the order to try."""

    study: str
    corpus: str
    plans: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """A line of `history.jsonl`: when (UTC), what happened, which keys, and the config it replaced."""

    time: str
    event: str
    keys: tuple[str, ...]
    before: Mapping[str, Any] = field(default_factory=dict)
