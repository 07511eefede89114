"""Sources and a schedule to batches: the code that feeds proxies and final runs alike.

Everything follows from (sources, schedule, seq_len, seed, batch, block) and the number of the batch; the state is the
position, a deficit and a counter per domain, and the schedule with its changes.
Letters: D domains, B sequences of a global batch, L sequence length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import UsageError
from cuvee.base.permutation import permute
from cuvee.base.rng import key64
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.sources import Source
from cuvee.stream.order import Order
from cuvee.stream.packing import CONCAT, Items, Packing


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences to train on: `tokens[:, :-1]` are inputs, `tokens[:, 1:]` targets.

    Args:
        tokens: int64, shape (B, L + 1).
        domains: Index of each sequence's domain in the schedule, shape B.
        documents: int32, shape (B, L + 1): the document of its domain that each token belongs to; -1 where padding.
    """

    tokens: NDArray[np.int64]
    domains: NDArray[np.int64]
    documents: NDArray[np.int32]


@dataclass(frozen=True)
class Weights:
    """From `start` tokens on, the mixture of these integer weights; a `Phase` without the names."""

    start: int
    units: tuple[int, ...]


@dataclass(frozen=True)
class MixerState:
    """Where a mixer is. `phases` were planned, `events` are live changes; `deficits` in 2^-32 sequences."""

    seed: int
    block: int
    seq_len: int
    batch: int
    domains: tuple[str, ...]
    phases: tuple[Weights, ...]
    events: tuple[Weights, ...]
    batches: int
    deficits: tuple[int, ...]
    counts: tuple[int, ...]


class Mixer:
    """An endless iterator of global batches of `batch` sequences of `seq_len` tokens.

    A phase of the schedule takes over at the first batch that begins at or after its start. Runs of one (seed, block)
    read the same sequences of a domain in the same order, whatever the mixture.

    Args:
        sources: Domain -> source; those of the schedule are used.

    Raises:
        UsageError: a domain of the schedule has no source; seq_len or batch below 1.
        DataError: a domain with a weight is shorter than one sequence.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        schedule: Schedule,
        *,
        seq_len: int,
        seed: int,
        batch: int,
        block: int = 0,
        packing: Packing = CONCAT,
    ) -> None:
        if seq_len < 1 or batch < 1:
            raise UsageError(f"got seq_len {seq_len} and batch {batch}", wanted="both at least 1")
        missing = [d for d in schedule.domains if d not in sources]
        if missing:
            raise UsageError(
                f"the schedule names domains that the data lacks: {', '.join(missing)}",
                wanted=f"some of {', '.join(sources)}",
            )
        self._sources = {d: sources[d] for d in schedule.domains}
        self.seq_len, self.seed, self.batch, self.block = seq_len, seed, batch, block
        self._planned, self.schedule, self._events = schedule, schedule, ()
        self._packing = packing
        self._items: dict[int, Items] = {}
        self.batches, self._counts = 0, [0] * len(schedule.domains)
        for phase in schedule.phases:
            self._open(phase.mixture)
        self._order = Order(schedule.phases[0].mixture.units)

    _events: tuple[Phase, ...]

    def _open(self, mixture: Mixture) -> None:
        for i, (domain, units) in enumerate(zip(mixture.domains, mixture.units, strict=True)):
            if units and i not in self._items:
                self._items[i] = self._packing.items(domain, self._sources[domain], self.seq_len, self.seed, self.block)

    @property
    def tokens(self) -> int:
        """Tokens trained on so far, by all ranks."""
        return self.batches * self.batch * self.seq_len

    @property
    def realised(self) -> dict[str, int]:
        """Domain -> tokens trained on so far."""
        return {d: c * self.seq_len for d, c in zip(self.schedule.domains, self._counts, strict=True)}

    @property
    def epochs(self) -> dict[str, float]:
        """Domain -> passes over its sequences so far."""
        counts = enumerate(zip(self.schedule.domains, self._counts, strict=True))
        return {d: c / self._items[i].count if i in self._items else 0.0 for i, (d, c) in counts}

    def reweight(self, mixture: Mixture) -> None:
        """Change to `mixture` from the next batch on, until the next planned phase; kept in `schedule` and the state.

        Raises:
            UsageError: the mixture is over other domains.
            DataError: a domain that gets a weight is shorter than one sequence.
        """
        if mixture.domains != self.schedule.domains:
            raise UsageError(
                f"got a mixture of {', '.join(mixture.domains)}",
                wanted=f"one of {', '.join(self.schedule.domains)}, in that order",
            )
        events = (*(e for e in self._events if e.start < self.tokens), Phase(self.tokens, mixture))
        schedule = _merge(self._planned, events)
        self._open(mixture)
        self._events, self.schedule = events, schedule

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        return self.take(slice(0, self.batch))

    def skip(self, batches: int = 1) -> None:
        """Pass over batches without reading their tokens."""
        for _ in range(batches):
            self._assign()

    def take(self, rows: slice) -> Batch:
        """The next global batch, of which only `rows` are read."""
        domains_B, items_B = self._next_slots()
        domains, items = domains_B[rows], items_B[rows]
        tokens = np.empty((domains.size, self.seq_len + 1), np.int64)
        documents = np.empty((domains.size, self.seq_len + 1), np.int32)
        for row, (i, k) in enumerate(zip(domains.tolist(), items.tolist(), strict=True)):
            place = int(self._items[i].places(np.array([k]))[0])
            self._items[i].read(place, tokens[row])
            self._items[i].documents(place, documents[row])
        return Batch(tokens, domains, documents)

    def _next_slots(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Domain and item of every sequence of the next batch, shape B both, in the batch's permuted order."""
        # slots of one domain come at even distances, which equal slices for ranks would turn into whole ranks of one domain
        place_B = permute(key64(self.seed, "batch", self.block, self.batches), self.batch, np.arange(self.batch))
        items, counts = [], self._counts.copy()
        domains_B = self._assign()
        for i in domains_B.tolist():
            items.append(counts[i])
            counts[i] += 1
        return domains_B[place_B], np.array(items, np.int64)[place_B]

    def _assign(self) -> NDArray[np.int64]:
        """The domain of every slot of the next batch, shape B, in order; counted as served."""
        units = self.schedule.at(self.tokens).units
        if units != self._order.units:
            self._order.change(units)
        domains_B = self._order.assign(self.batch)
        for i, count in enumerate(np.bincount(domains_B, minlength=len(self._counts)).tolist()):
            self._counts[i] += count
        self.batches += 1
        return domains_B

    def state(self) -> MixerState:
        """Where the mixer is, between two batches."""
        return MixerState(
            seed=self.seed,
            block=self.block,
            seq_len=self.seq_len,
            batch=self.batch,
            domains=self.schedule.domains,
            phases=_weights(self._planned.phases),
            events=_weights(self._events),
            batches=self.batches,
            deficits=self._order.deficits,
            counts=tuple(self._counts),
        )

    def restore(self, state: MixerState) -> None:
        """Go on from `state`, taken from a mixer of the same schedule, seed, block, seq_len and batch.

        Raises:
            UsageError: it was taken from another one; says in what they differ.
        """
        mine, theirs = self.state(), state
        moving = ("events", "batches", "deficits", "counts")
        for name in (f.name for f in fields(MixerState) if f.name not in moving):
            refuse_difference(name, getattr(theirs, name), getattr(mine, name))
        events = tuple(Phase(e.start, Mixture(state.domains, e.units)) for e in state.events)
        schedule = _merge(self._planned, events)
        for event in events:
            self._open(event.mixture)
        self._events, self.schedule = events, schedule
        self.batches, self._counts = state.batches, list(state.counts)
        # the weights of the last batch, not of the next: a change between the two settles deficits at its own time
        last = max(state.batches - 1, 0) * self.batch * self.seq_len
        self._order = Order(schedule.at(last).units, state.deficits)


def refuse_difference(name: str, saved: object, here: object) -> None:
    """Raise the UsageError that says that a state was taken under another `name`, unless the two are equal."""
    if saved != here:
        raise UsageError(
            f"this state was saved under another {name}: {saved}",
            wanted=f"{name} {here}, as here",
            fix="restore it with what it was saved under, or start afresh",
        )


def _weights(phases: tuple[Phase, ...]) -> tuple[Weights, ...]:
    return tuple(Weights(p.start, p.mixture.units) for p in phases)


def _merge(planned: Schedule, events: tuple[Phase, ...]) -> Schedule:
    """The planned phases with the live changes among them; of two at one start, the live one."""
    phases = {p.start: p for p in (*planned.phases, *events)}
    return Schedule(tuple(phases[start] for start in sorted(phases)))
