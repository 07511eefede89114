"""What a mixer keeps: its state, the changes in it, and the history of what was served.

Letters: D domains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from cuvee.base.codec import LATER
from cuvee.base.errors import DataError, UsageError
from cuvee.mixture.schedule import Phase, Schedule, whole
from cuvee.mixture.weights import UNIT, Mixture
from cuvee.stream.repetition import Repetition, without

OrderKind = Literal["exact", "random"]


@dataclass(frozen=True)
class Weights:
    """From `start` tokens on, the mixture of these integer weights; a `Phase` without the names."""

    start: int
    units: tuple[int, ...]
    ramp: int = field(default=0, metadata=LATER)


@dataclass(frozen=True)
class Change:
    """A live change: from `start` tokens on these integer weights, reached over `ramp` tokens, because of `cause`."""

    start: int
    units: tuple[int, ...]
    cause: str = field(default="", metadata=LATER)
    ramp: int = field(default=0, metadata=LATER)

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", whole(self.start))
        object.__setattr__(self, "ramp", whole(self.ramp))


@dataclass(frozen=True)
class Exhausted:
    """A domain, by its index, that had reached its cap of epochs after `start` tokens."""

    start: int
    domain: int


@dataclass(frozen=True)
class MixerState:
    """Where a mixer is. `phases` were planned, `events` are live changes; `deficits` in 2^-32 sequences, shape D.

    Says nothing of ranks and workers, so any number of them may go on from it.
    """

    seed: int
    block: int
    seq_len: int
    batch: int
    domains: tuple[str, ...]
    phases: tuple[Weights, ...]
    events: tuple[Change, ...]
    batches: int
    deficits: tuple[int, ...]
    counts: tuple[int, ...]
    packing: str = field(default="Concat()", metadata=LATER)
    order: OrderKind = field(default="exact", metadata=LATER)
    repetition: Repetition | None = field(default=None, metadata=LATER)
    exhausted: tuple[Exhausted, ...] = field(default=(), metadata=LATER)


MOVING = ("corpus", "events", "batches", "deficits", "counts", "exhausted")
"""Fields of a state in which two of one run may differ, or that are compared on their own."""


@dataclass(frozen=True)
class Event:
    """From `start` tokens on `mixture` was served (a ramp's from its end on), because of `cause`."""

    start: int
    mixture: Mixture
    cause: str
    ramp: int = 0


@dataclass(frozen=True)
class Served:
    """What a run has had of a domain: tokens, passes over it, and tokens that it had had before."""

    tokens: int
    epochs: float
    repeated: int


@dataclass(frozen=True)
class History:
    """What was served, and why.

    A mixer or loader made with `schedule` and the same other settings serves the same batches again.

    Args:
        schedule: The phases and live changes that had taken effect.
        tokens: Of the run so far.
        log: Every change of what was served: phases, live changes, domains that ran out.
        domains: Domain -> what was served of it.
    """

    schedule: Schedule
    tokens: int
    log: tuple[Event, ...]
    domains: Mapping[str, Served]


def weights(phases: tuple[Phase, ...]) -> tuple[Weights, ...]:
    """Phases without the names."""
    return tuple(Weights(p.start, p.mixture.units, p.ramp) for p in phases)


def merged(planned: Schedule, events: tuple[Change, ...]) -> Schedule:
    """The planned phases with the live changes among them; of two at one start, the live one."""
    live = (Phase(e.start, Mixture(planned.domains, e.units), e.ramp) for e in events)
    phases = {p.start: p for p in (*planned.phases, *live)}
    return Schedule(tuple(phases[start] for start in sorted(phases)))


def changed(
    events: tuple[Change, ...], change: Change, mixture: Mixture, domains: tuple[str, ...], tokens: int
) -> tuple[Change, ...]:
    """The live changes with one more, in order; of two at one position the later call holds.

    Raises:
        UsageError: its mixture is over other domains, or `tokens` have been served, which are more than its position.
    """
    if mixture.domains != domains:
        raise UsageError(
            f"got a mixture of {', '.join(mixture.domains)}",
            wanted=f"one of {', '.join(domains)}, in that order",
            fix="name all of them in that order, with 0 for those that are not wanted",
        )
    if change.start < tokens:
        raise UsageError(
            f"a change at {change.start:,} tokens, which have been served",
            wanted=f"at least {tokens:,} tokens, the earliest possible",
            fix=f"change({tokens}, ...)",
        )
    kept = (e for e in events if e.start != change.start)
    return tuple(sorted((*kept, change), key=lambda e: e.start))


def log_of(
    planned: Schedule,
    events: tuple[Change, ...],
    gone: tuple[Exhausted, ...],
    caps: Mapping[int, str],
    out: Callable[[int], frozenset[int]],
) -> tuple[Event, ...]:
    """Every change of what is served, in order: phases, live changes, domains that have `gone`, each for its cause.

    Args:
        caps: Index of a domain -> its cap in words.
        out: Tokens -> the domains that have left by then.
    """

    def served(tokens: int, mixture: Mixture) -> Mixture:
        try:
            return Mixture(mixture.domains, without(mixture.units, out(tokens), mixture.domains))
        except DataError:  # none of its domains is left: nothing is served of it
            return mixture

    schedule, words = merged(planned, events), {e.start: e.cause for e in events}
    found = [Event(p.start, served(p.start, p.mixture), words.get(p.start, "planned"), p.ramp) for p in schedule.phases]
    for e in gone:
        what = "leaves" if e.domain in out(e.start) else "is repeated"
        cause = f"{schedule.domains[e.domain]} has reached its cap of {caps[e.domain]} and {what}"
        found.append(Event(e.start, served(e.start, schedule.at(e.start)), cause))
    return tuple(sorted(found, key=lambda e: e.start))


def history(
    schedule: Schedule, tokens: int, batch: int, log: tuple[Event, ...], domains: Mapping[str, Served]
) -> History:
    """What was served in `tokens` tokens, in batches of `batch` tokens: the phases that took effect, and the log till then."""
    done = tuple(p for p in schedule.phases if p.start == 0 or p.start <= tokens - batch)
    return History(Schedule(done), tokens, tuple(e for e in log if e.start < max(tokens, 1)), domains)


def refuse_another_corpus(saved: str, here: str) -> None:
    """Raise the DataError that says that a state was saved on another corpus, unless the fingerprints are equal."""
    if saved != here:
        raise DataError(
            f"this state was saved on the corpus {saved}",
            wanted=f"the corpus that is open here, {here}",
            fix="open the corpus that the run began with",
        )


def refuse_another_run(saved: Any, here: Any) -> None:
    """Raise the UsageError that says in what two states of one kind are of different runs, unless they are of one."""
    for name in (f.name for f in fields(here) if f.name not in MOVING):
        refuse_difference(name, getattr(saved, name), getattr(here, name), here.domains)


def refuse_difference(name: str, saved: Any, here: Any, domains: tuple[str, ...] = ()) -> None:
    """Raise the UsageError that says that a state was taken under another `name`, unless the two are equal."""
    if saved == here:
        return
    if name == "phases":
        saved, here = _apart(saved, here, domains)
    raise UsageError(
        f"this state was saved under another {name}: {saved}",
        wanted=f"{name} {here}, as here",
        fix="restore it with what it was saved under, or start afresh",
    )


def _apart(saved: tuple[Weights, ...], here: tuple[Weights, ...], domains: tuple[str, ...]) -> tuple[str, str]:
    """The first phase in which two schedules differ, in words; of its shares only those that do, eight at most."""
    place = next((n for n, (a, b) in enumerate(zip(saved, here, strict=False)) if a != b), min(len(saved), len(here)))
    pair = [phases[place] if place < len(phases) else None for phases in (saved, here)]
    differ = [i for i, _ in enumerate(domains) if len({w.units[i] for w in pair if w is not None}) > 1]
    shown = (differ or list(range(len(domains))))[:8]

    def words(w: Weights | None) -> str:
        if w is None:
            return f"no phase {place + 1}"
        shares = ", ".join(f"{domains[i]} {w.units[i] / UNIT:.6g}" for i in shown)
        more = ", ..." if len(differ) > len(shown) else ""
        return (
            f"phase {place + 1} from {w.start:,} tokens" + (f" over {w.ramp:,}" if w.ramp else "") + f": {shares}{more}"
        )

    return words(pair[0]), words(pair[1])
