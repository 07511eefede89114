"""Sources and a schedule to batches: the code that feeds proxies and final runs alike.

Everything follows from (sources, schedule, packing, repetition, order, seq_len, seed, batch, block) and the number of the
batch; the state is the position, a deficit and a counter per domain, and the schedule with its changes. Slots are assigned
some batches ahead, which changes nothing but the cost.
Letters: D domains, N batches ahead, B sequences of a global batch, L sequence length.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError, UsageError
from cuvee.base.permutation import permute_all
from cuvee.base.rng import key64
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import UNIT, Mixture, apportion
from cuvee.shards.sources import Source
from cuvee.stream.ahead import Ahead, Mark, Rows, Slots
from cuvee.stream.batch import Batch
from cuvee.stream.order import Assigns, Order, RandomOrder, advanced
from cuvee.stream.packing import CONCAT, Items, Packing
from cuvee.stream.repetition import UNBOUNDED, Repetition, first_reached, without
from cuvee.stream.state import (
    Change,
    Event,
    Exhausted,
    History,
    MixerState,
    OrderKind,
    Served,
    changed,
    history,
    log_of,
    merged,
    refuse_another_run,
    weights,
)

_AHEAD = 4096
"""Slots that are assigned ahead, at most, where a batch is smaller."""


class Mixer:
    """An endless iterator of global batches of `batch` sequences of `seq_len` tokens.

    A phase of the schedule takes over at the first batch that begins at or after its start; a ramp's weights are those at
    each batch's start. Runs of one (seed, block) read the same sequences of a domain in the same order, whatever the mixture.

    Args:
        sources: Domain -> source; those of the schedule are used.
        packing: How documents become sequences.
        repetition: Caps on passes over domains; None for no caps.
        order: "exact" for Tijdeman's rule, "random" for a draw per sequence.
        rows: The rows of each global batch that are read; None for all.

    Raises:
        UsageError: a domain of the schedule has no source; seq_len or batch below 1; a cap for an unknown domain.
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
        repetition: Repetition | None = None,
        order: OrderKind = "exact",
        rows: slice | None = None,
    ) -> None:
        if seq_len < 1 or batch < 1:
            raise UsageError(f"got seq_len {seq_len} and batch {batch}", wanted="both at least 1")
        if order not in ("exact", "random"):
            raise UsageError(f"got the order {order!r}", wanted="'exact' or 'random'")
        missing = [d for d in schedule.domains if d not in sources]
        if missing:
            raise UsageError(
                f"the schedule names domains that the data lacks: {', '.join(missing)}",
                wanted=f"some of {', '.join(sources)}",
            )
        if repetition is not None:
            repetition.check(schedule.domains)
        self._sources = {d: sources[d] for d in schedule.domains}
        self.seq_len, self.seed, self.batch, self.block = seq_len, seed, batch, block
        self.packing, self.repetition, self.order = packing, repetition, order
        self._size = batch * seq_len
        self._rows = slice(0, batch) if rows is None else rows
        self._planned, self.schedule = schedule, schedule
        self.events: tuple[Change, ...] = ()
        self._exhausted: tuple[Exhausted, ...] = ()
        self._items: dict[int, Items] = {}
        self.batches, self._counts = 0, np.zeros(len(schedule.domains), np.int64)
        self._ahead: Ahead | None = None
        self._ahead_rows: Rows | None = None
        for phase in schedule.phases:
            self._open(phase.mixture)
        self._order = self._make_order(self._slot_units(0, ()), (0,) * len(schedule.domains), 0)

    def _open(self, mixture: Mixture) -> None:
        for i, (domain, units) in enumerate(zip(mixture.domains, mixture.units, strict=True)):
            if units and i not in self._items:
                source = self._sources[domain]
                items = self.packing.items(domain, source, self.seq_len, self.seed, self.block)
                if self.repetition is not None and self.repetition.cap(domain, items.count) < 1:
                    raise UsageError(
                        f"domain {domain!r} may be used for less than one of its {items.count:,} sequences",
                        wanted="a cap that lets it have one",
                        fix="a higher max_epochs, or a weight of 0",
                    )
                self._items[i] = items

    def _make_order(self, units: tuple[int, ...], deficits: tuple[int, ...], slot: int) -> Assigns:
        if self.order == "exact":
            return Order(units, deficits)
        return RandomOrder(units, key64(self.seed, "order", self.block), slot)

    # what was served

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains of the schedule."""
        return self.schedule.domains

    @property
    def tokens(self) -> int:
        """Tokens trained on so far, by all ranks; padding included."""
        return self.batches * self._size

    @property
    def served(self) -> dict[str, Served]:
        """Domain -> tokens served so far, passes over it, and tokens that repeat an earlier pass."""
        found = {}
        for i, (domain, count) in enumerate(zip(self.domains, self._counts.tolist(), strict=True)):
            one = self._items[i].count if i in self._items else 1
            repeats = self._tokens_of(i, max(count - one, 0))
            found[domain] = Served(self._tokens_of(i, count), count / one, repeats)
        return found

    def _tokens_of(self, i: int, items: int) -> int:
        fill = self._items[i].fill if i in self._items else 1.0
        return items * self.seq_len if fill == 1 else round(items * self.seq_len * fill)

    @property
    def fill(self) -> dict[str, float]:
        """Domain -> mean share of a row's targets that are tokens to learn, over a pass; of domains that have had a weight."""
        return {self.domains[i]: items.fill for i, items in sorted(self._items.items())}

    @property
    def realised(self) -> dict[str, int]:
        """Domain -> tokens trained on so far."""
        return {d: s.tokens for d, s in self.served.items()}

    @property
    def log(self) -> tuple[Event, ...]:
        """Every change of what was or will be served: phases, live changes, domains that ran out, in order."""
        caps = {i: f"{cap:,} sequences" for i, cap in enumerate(self._caps)}

        def out(tokens: int) -> frozenset[int]:
            return self._out(tuple(e for e in self._past if e.start <= tokens))

        return log_of(self._planned, self.events, self._past, caps, out)

    @property
    def _past(self) -> tuple[Exhausted, ...]:
        """Of the domains that are known to run out, those that have: a batch that could not be read was assigned all the same."""
        return tuple(e for e in self._exhausted if e.start <= self.tokens)

    def history(self) -> History:
        """What was served so far, and why; with its schedule and the same settings the same batches come again."""
        return history(self.schedule, self.tokens, self._size, self.log, self.served)

    # changes

    def change(self, position: int, mixture: Mixture, cause: str, *, ramp: int = 0) -> None:
        """From `position` tokens on serve `mixture`, until the next planned phase or change; kept in the state and the log.

        It takes over at the first batch that begins at or after `position`. Of two changes at one position the later call
        holds.

        Args:
            cause: Why, in words, for the log.
            ramp: Tokens over which weights move there in a straight line.

        Raises:
            UsageError: the mixture is over other domains; the position has been served; a ramp below 0, or one at 0 tokens.
            DataError: a domain that gets a weight is shorter than one sequence.
        """
        change = Change(position, mixture.units, cause, ramp)
        events = changed(self.events, change, mixture, self.domains, self.tokens)
        schedule = merged(self._planned, events)
        self._open(mixture)
        now = self._now()
        self._order = self._make_order(now.units, now.deficits, self.batches * self.batch)
        self._ahead = self._ahead_rows = None
        self.events, self._exhausted, self.schedule = events, self._past, schedule

    # batches

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        """The next global batch, or the rows of it that are read here.

        Raises:
            DataError: a domain has reached its cap, and the policy is to stop; or all have.
        """
        ahead = self._look_ahead()
        if self._ahead_rows is None:
            self._ahead_rows = self._locate(ahead)
        n = self.batches - ahead.before.batch
        domains, places = self._ahead_rows.domains_NR[n], self._ahead_rows.places_NR[n]
        tokens = np.empty((domains.size, self.seq_len + 1), np.int64)
        for i, place, row in zip(domains.tolist(), places.tolist(), tokens, strict=True):
            self._items[i].read(place, row)
        self._pass(ahead, 1)
        return Batch(tokens, domains, self._items, places)

    def skip(self, batches: int = 1) -> None:
        """Pass over batches without reading their tokens.

        Raises:
            DataError: as from the next batch.
        """
        while batches > 0:
            ahead = self._look_ahead(batches)
            passed = min(batches, ahead.end - self.batches)
            self._pass(ahead, passed)
            batches -= passed

    def _pass(self, ahead: Ahead, batches: int) -> None:
        n = self.batches - ahead.before.batch
        self._counts += np.bincount(ahead.slots_NB[n : n + batches].ravel(), minlength=self._counts.size)
        self.batches += batches

    def _look_ahead(self, batches: int = 1) -> Ahead:
        """The batches that have been assigned, the next one among them; twice as many as before when they are used up."""
        ahead = self._ahead
        if ahead is None or self.batches == ahead.end:
            last = 0 if ahead is None else len(ahead.slots_NB)
            ahead = self._deal(min(max(2 * last, batches, 1), -(-_AHEAD // self.batch)))
            self._ahead, self._ahead_rows = ahead, None
        return ahead

    def _now(self) -> Mark:
        """The order as the batches served so far left it."""
        ahead = self._ahead
        if ahead is None or self.batches == ahead.end:
            return Mark(self.batches, self._order.units, self._order.deficits)
        mark, slots = ahead.since(self.batches)
        return mark._replace(batch=self.batches, deficits=self._carried(mark, slots))

    def _carried(self, mark: Mark, slots: Slots) -> tuple[int, ...]:
        return advanced(mark.units, mark.deficits, slots) if self.order == "exact" else mark.deficits

    def _locate(self, ahead: Ahead) -> Rows:
        """Domain and place of the rows wanted, in the batches' permuted order."""
        n, slots = len(ahead.slots_NB), ahead.slots_NB.ravel()
        by_domain = np.argsort(slots, kind="stable")
        served_D = np.bincount(slots, minlength=self._counts.size)
        items = np.empty_like(slots)
        items[by_domain] = np.arange(slots.size) + np.repeat(
            ahead.counts_D - (np.cumsum(served_D) - served_D), served_D
        )
        # slots of one domain come at even distances, which equal slices for ranks would turn into whole ranks of one domain
        keys = [key64(self.seed, "batch", self.block, b) for b in range(ahead.before.batch, ahead.end)]
        wanted_NR = permute_all(keys, self.batch)[:, self._rows] + np.arange(n)[:, None] * self.batch
        domains_NR, items_NR = slots[wanted_NR], items[wanted_NR]
        places_NR = np.empty_like(items_NR)
        for i in np.flatnonzero(served_D).tolist():
            mine = domains_NR == i
            places_NR[mine] = self._items[i].places(items_NR[mine])
        return Rows(domains_NR, places_NR)

    # weights and caps

    def _deal(self, batches: int) -> Ahead:
        """Assign the slots of the next batches: as many of them as no domain runs out in, or the one in which one does."""
        before, at, counts_D = self._now(), self.batches, self._counts.copy()
        limits_D = self._limits(self._exhausted)
        marks: list[Mark] = []
        parts: list[Slots] = []
        reached = None
        while at < self.batches + batches and reached is None:
            try:
                units = self._slot_units(at * self._size, self._exhausted)
            except DataError:  # no domain is left then, which is no matter before
                if at == self.batches:
                    raise
                break
            if units != self._order.units:
                self._order.change(units)
            mark = Mark(at, units, self._order.deficits)
            slots = self._order.assign(min(self.batches + batches - at, self._steady(at)) * self.batch)
            reached = first_reached(slots, counts_D, limits_D)
            if reached is not None:
                slots = slots[: reached[0] // self.batch * self.batch]
                if not slots.size:  # until that batch is dealt by itself, the order stands as the one before left it
                    mark, slots = (marks[-1], parts[-1]) if marks else (before, slots)
                    self._order = self._make_order(mark.units, self._carried(mark, slots), at * self.batch)
                    break
                self._order = self._make_order(units, self._carried(mark, slots), at * self.batch + slots.size)
            marks.append(mark)
            parts.append(slots)
            counts_D += np.bincount(slots, minlength=counts_D.size)
            at += slots.size // self.batch
        if at == self.batches:
            return self._deal_and_run_out(before)
        return Ahead(np.concatenate(parts).reshape(-1, self.batch), self._counts.copy(), before, tuple(marks))

    def _steady(self, batch: int) -> int:
        """Batches from the number `batch` on that begin at the same weights, as far as the schedule goes."""
        until = self.schedule.steady(batch * self._size)
        return -(-until // self._size) - batch if until is not None else UNBOUNDED

    def _deal_and_run_out(self, before: Mark) -> Ahead:
        """Assign the slots of one batch, taking domains out at the slot where they reach their caps."""
        exhausted, counts_D, first = self._exhausted, self._counts.copy(), self.batches * self.batch
        order, parts, done = copy.deepcopy(self._order), list[Slots](), 0
        order.change(self._slot_units(self.tokens, exhausted))
        while done < self.batch:
            mark = Mark(self.batches, order.units, order.deficits)
            slots = order.assign(self.batch - done)
            reached = first_reached(slots, counts_D, self._limits(exhausted))
            if reached is not None:
                assert self.repetition is not None
                i = reached[1]
                self.repetition.reached(self.domains[i], f"{self._caps[i]:,} sequences", self.tokens)
                slots = slots[: reached[0] + 1]
                exhausted = (*exhausted, Exhausted((first + done + slots.size) * self.seq_len, reached[1]))
            parts.append(slots)
            counts_D += np.bincount(slots, minlength=counts_D.size)
            done += slots.size
            if reached is not None:
                order = self._make_order(mark.units, self._carried(mark, slots), first + done)
                if done < self.batch:  # at the batch's end the next batch sees to it
                    order.change(self._slot_units(self.tokens, exhausted))
        self._order, self._exhausted = order, exhausted
        return Ahead(np.concatenate(parts)[None, :], self._counts.copy(), before, ())

    @property
    def _caps(self) -> list[int]:
        """The most items of each domain."""
        counted = ((d, self._items[i].count if i in self._items else 0) for i, d in enumerate(self.domains))
        return [self.repetition.cap(d, n) if self.repetition and n else UNBOUNDED for d, n in counted]

    def _limits(self, exhausted: tuple[Exhausted, ...]) -> NDArray[np.int64]:
        """Counts at which something is to be done about a domain, shape D."""
        limits_D = np.array(self._caps)
        if self.repetition is not None and self.repetition.then == "error":
            limits_D[limits_D < UNBOUNDED] += 1  # all up to the cap is allowed
        limits_D[[e.domain for e in exhausted]] = UNBOUNDED
        return limits_D

    def _out(self, exhausted: tuple[Exhausted, ...]) -> frozenset[int]:
        redistribute = self.repetition is not None and self.repetition.then == "redistribute"
        return frozenset(e.domain for e in exhausted) if redistribute else frozenset()

    def _slot_units(self, tokens: int, exhausted: tuple[Exhausted, ...]) -> tuple[int, ...]:
        """Shares of slots after `tokens` tokens: of tokens, less the domains that ran out, over how full their items are."""
        units = without(self.schedule.at(tokens).units, self._out(exhausted), self.domains)
        fills = {item.fill for item in self._items.values()}
        if fills <= {1.0}:
            return units
        fill_D = np.array([self._items[i].fill if i in self._items else 1.0 for i in range(len(units))])
        return tuple(apportion(np.array(units) / fill_D, UNIT))

    # state

    def state(self) -> MixerState:
        """Where the mixer is, between two batches."""
        return MixerState(
            seed=self.seed,
            block=self.block,
            seq_len=self.seq_len,
            batch=self.batch,
            domains=self.domains,
            phases=weights(self._planned.phases),
            events=self.events,
            batches=self.batches,
            deficits=self._now().deficits,
            counts=tuple(self._counts.tolist()),
            packing=repr(self.packing),
            order=self.order,
            repetition=self.repetition,
            exhausted=self._past,
        )

    def restore(self, state: MixerState) -> None:
        """Go on from `state`, taken from a mixer of the same settings; rows may differ.

        Raises:
            UsageError: it was taken from another one; says in what they differ.
        """
        refuse_another_run(state, self.state())
        schedule = merged(self._planned, state.events)
        for event in state.events:
            self._open(Mixture(state.domains, event.units))
        self.events, self._exhausted, self.schedule = state.events, state.exhausted, schedule
        self.batches, self._counts = state.batches, np.array(state.counts, np.int64)
        self._ahead = self._ahead_rows = None
        # the weights of the last batch, not of the next: a change between the two settles deficits at its own time
        last = max(state.batches - 1, 0) * self._size
        out = tuple(e for e in state.exhausted if e.start < self.tokens)
        self._order = self._make_order(self._slot_units(last, out), state.deficits, state.batches * self.batch)

    def copy(self) -> Self:
        """Another mixer at the same place over the same sources, which are not opened anew."""
        other = copy.copy(self)
        other._counts, other._order, other._items = self._counts.copy(), copy.deepcopy(self._order), self._items.copy()
        return other
