"""A loader of variable length: one document per row, all rows of a batch of one length, the same tokens in every batch.

Documents are cut into pieces of power-of-two lengths (`stream.lengths`); a curriculum says which lengths come when
(`stream.curricula`); domains and lengths are held to their shares together (`stream.joint`). Everything follows from (corpus,
schedule, curriculum, lengths, batch_tokens, repetition, seed) and the number of the batch. Batches are assigned some ahead,
which changes nothing but the cost.
Letters: D domains, K lengths from the shortest to the longest, C cells (domain, length), N batches ahead, R rows.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError, InfeasibleError, UsageError
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import UNIT, Mixture
from cuvee.shards.feed import Feed
from cuvee.stream import dealing
from cuvee.stream.batch import Batch
from cuvee.stream.curricula import Curriculum, Natural
from cuvee.stream.dealing import Ahead, DecompositionState, Mark, Rows
from cuvee.stream.gather import Gather
from cuvee.stream.joint import Dealt, JointOrder, Table, advanced
from cuvee.stream.lengths import Decomposed, Pieces
from cuvee.stream.repetition import UNBOUNDED, Repetition, without
from cuvee.stream.state import (
    Change,
    Event,
    Exhausted,
    History,
    Served,
    changed,
    history,
    log_of,
    merged,
    refuse_another_corpus,
    refuse_another_run,
    weights,
)

Ints = NDArray[np.int64]
NATURAL = Natural()
_AHEAD = 1 << 14
"""Rows that are assigned ahead, about, where a batch has fewer."""
_FEW = 6
"""Rows of a domain in a batch from which on reading them together costs less than one by one."""


class DecompositionLoader:
    """An endless iterator over this rank's part of every global batch of `batch_tokens` tokens.

    A batch of length S has `batch_tokens` / S rows of S + 1 tokens; rank r of W gets the r-th W-th of them. A new mixture and
    a new step of the curriculum take over at the first batch that begins at or after their position.

    Args:
        corpus: Read from its train split.
        schedule: Over domains of the corpus.
        shortest: Tokens of the shortest rows, a power of two; ends of documents below it are not used (`dropped`).
        longest: Tokens of the longest, a power of two.
        batch_tokens: A multiple of `longest` times `world_size`.
        curriculum: Which lengths come when.
        repetition: Caps on the passes over domains, counted in tokens whatever their lengths, and what to do before the
            batch that would go beyond one; None for no caps.

    Raises:
        UsageError: lengths that are no powers of two or the wrong way round, tokens that do not divide, no such rank, an
            unknown domain, a curriculum for another number of lengths.
        DataError: a domain with a weight has no document of the shortest length.
        InfeasibleError: the shares of lengths asked for do not fit the documents of the domains.
    """

    def __init__(
        self,
        corpus: Feed,
        schedule: Schedule,
        *,
        shortest: int = 64,
        longest: int = 8192,
        batch_tokens: int,
        seed: int,
        curriculum: Curriculum = NATURAL,
        repetition: Repetition | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._powers = dealing.powers_of(shortest, longest)
        if not 0 <= rank < world_size:
            raise UsageError(f"got rank {rank} of world size {world_size}", wanted="0 <= rank < world size")
        unit = longest * world_size
        if batch_tokens < 1 or batch_tokens % unit:
            raise UsageError(
                f"batches of {batch_tokens:,} tokens for rows of {longest:,} on {world_size} ranks",
                wanted="a multiple of the longest row times the world size",
                fix=f"batch_tokens={max(-(-batch_tokens // unit), 1) * unit}",
            )
        if missing := [d for d in schedule.domains if d not in corpus.domains]:
            what = f"the schedule names domains that the data lacks: {', '.join(missing)}"
            raise UsageError(what, wanted=f"some of {', '.join(corpus.domains)}")
        curriculum.check(len(self._powers))
        if repetition is not None:
            repetition.check(schedule.domains)
        self._corpus, self._planned, self.schedule = corpus, schedule, schedule
        self.events: tuple[Change, ...] = ()
        self._exhausted: tuple[Exhausted, ...] = ()
        self.fingerprint, self.seed, self.curriculum, self.repetition = corpus.fingerprint, seed, curriculum, repetition
        self.shortest, self.longest, self.batch_tokens = shortest, longest, batch_tokens
        self.rank, self.world_size = rank, world_size
        self._decomposed: dict[int, Decomposed] = {}
        self._gather: dict[int, Gather] = {}
        self.batches, self._base_DK = 0, np.zeros((len(schedule.domains), len(self._powers)), np.int64)
        self._natural_DK = np.zeros(self._base_DK.shape)
        self._ahead: Ahead | None = None
        self._rows: Rows | None = None
        self._open(*(phase.mixture for phase in schedule.phases))
        self._check_ahead(schedule, 0)
        self._joint = JointOrder(self._table(schedule, 0, ()), self._powers, batch_tokens)
        self._steady = self._next_change(0)

    def _open(self, *mixtures: Mixture) -> None:
        wanted = {i for mixture in mixtures for i, units in enumerate(mixture.units) if units}
        for i in sorted(wanted - self._decomposed.keys()):
            domain = self.schedule.domains[i]
            source = self._corpus.source(domain, "train")
            found = Decomposed(domain, source, self._powers[0], self._powers[-1])
            if self.repetition is not None and self.repetition.cap(domain, found.tokens) < self.shortest:
                raise UsageError(
                    f"domain {domain!r} may be used for less than one row of {self.shortest:,} tokens",
                    wanted="a cap that lets it have one",
                    fix="a higher max_epochs, or a weight of 0",
                )
            self._decomposed[i], self._gather[i] = found, Gather(source)
            self._natural_DK[i] = found.natural
            self._pieces: Pieces | None = None

    # weights and caps

    def _table(self, schedule: Schedule, tokens: int, exhausted: tuple[Exhausted, ...]) -> Table:
        units = without(schedule.at(tokens).units, self._out(tokens, exhausted), schedule.domains)
        return Table.of(self.curriculum.joint(tokens, np.array(units) / UNIT, self._natural_DK))

    def _out(self, tokens: int, exhausted: tuple[Exhausted, ...]) -> frozenset[int]:
        """Of the domains that run out, those that have left by then."""
        if self.repetition is None or self.repetition.then != "redistribute":
            return frozenset()
        return frozenset(e.domain for e in exhausted if e.start <= tokens)

    def _check_ahead(self, schedule: Schedule, tokens: int) -> None:
        """Make the tables at both ends of every stretch within which the mixture moves in a straight line and lengths stay.

        Tables that exist at both ends exist in between: any mean of the two has the mean of their margins.
        """
        if not self.curriculum.starts:
            return
        turns = {p for phase in schedule.phases for p in (phase.start, phase.start + phase.ramp)} | {
            *self.curriculum.starts
        }
        for position in sorted({max(p, tokens) for turn in turns for p in (turn - 1, turn)}):
            self._table(schedule, position, self._past)

    def _next_change(self, tokens: int) -> int | None:
        found = [p for p in (self.schedule.steady(tokens), self.curriculum.steady(tokens)) if p is not None]
        return min(found, default=None)

    @property
    def _caps(self) -> dict[int, int]:
        """The most tokens of each domain that has a cap."""
        if self.repetition is None:
            return {}
        found = ((i, self.repetition.cap(d.name, d.tokens)) for i, d in self._decomposed.items())
        return {i: cap for i, cap in found if cap < UNBOUNDED}

    @property
    def _limits(self) -> dict[int, int]:
        """The caps of the domains that have not reached theirs."""
        return {i: cap for i, cap in self._caps.items() if i not in {e.domain for e in self._exhausted}}

    # batches

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        """This rank's rows of the next global batch.

        Raises:
            DataError: it would take a domain beyond its cap, and the policy is to stop; or all have reached theirs.
            InfeasibleError: domains that ran out have left lengths whose stated shares nobody can give.
        """
        ahead = self._look_ahead()
        if self._rows is None:
            self._rows = self._locate(ahead)
        n, found = self.batches - ahead.before.batch, self._rows
        edges = found.edges_G1[found.groups_N1[n] : found.groups_N1[n + 1] + 1]
        here = slice(edges[0], edges[-1])
        at = found.at_R[here]
        domains, places = np.empty(at.size, np.int64), np.empty_like(at)
        tokens = np.empty((at.size, (1 << self._powers[ahead.dealt.lengths_N[n]]) + 1), np.int64)
        domains[at], places[at] = found.domain_R[here], found.place_R[here]
        if at.size < _FEW * len(edges):
            for i, place, row in zip(domains.tolist(), places.tolist(), tokens, strict=True):
                self._gather[i].one(place, row)
        else:
            for a, b in pairwise(edges):
                self._gather[int(found.domain_R[a])].write(found.place_R[a:b], found.at_R[a:b], tokens)
        self.batches += 1
        return Batch(tokens, domains, self._decomposed, places)

    def skip(self, batches: int = 1) -> None:
        """Pass over batches without reading their tokens.

        Raises:
            DataError, InfeasibleError: as from the next batch.
        """
        while batches > 0:
            ahead = self._look_ahead(batches)
            passed = min(batches, ahead.end - self.batches)
            self.batches += passed
            batches -= passed

    @property
    def _counts_DK(self) -> Ints:
        """Pieces served so far, shape (D, K)."""
        ahead = self._ahead
        if ahead is None:
            return self._base_DK
        return ahead.counts_DK + ahead.dealt.part(0, self.batches - ahead.before.batch).counts(len(self._powers))

    def _look_ahead(self, batches: int = 1) -> Ahead:
        """The batches that have been assigned, the next one among them; twice as many as before when they are used up."""
        ahead = self._ahead
        if ahead is None or self.batches == ahead.end:
            last = 0 if ahead is None else ahead.dealt.size
            sizes_K = self.batch_tokens >> np.array(self._powers)
            most = int(_AHEAD * UNIT // max(int(np.dot(self._joint.table.lengths, sizes_K)), 1))
            self._ahead, self._rows = self._deal(min(max(2 * last, batches), max(most, 1))), None
        assert self._ahead is not None
        return self._ahead

    def _now(self) -> Mark:
        """The order as the batches served so far left it."""
        ahead = self._ahead
        if ahead is None or self.batches == ahead.end:
            return Mark(self.batches, self._joint.table, self._joint.deficits)
        return ahead.at(self.batches)

    def _deal(self, batches: int) -> Ahead:
        """Assign the next batches; fewer where one of them cannot be."""
        before, end, counts_DK = self._now(), self.batches + batches, self._counts_DK
        served_DK = counts_DK
        marks, parts, at = list[Mark](), list[Dealt](), self.batches
        while at < end:
            try:
                self._take_table(at * self.batch_tokens)
                mark = Mark(at, self._joint.table, self._joint.deficits)
                until = end if self._steady is None else min(end, -(-self._steady // self.batch_tokens))
                dealt = self._joint.assign(until - at)
                reached = dealing.first_beyond(dealt, served_DK, self._powers, self._limits)
                if reached is not None:
                    dealt = dealt.part(0, reached[0])
                    kept = advanced(mark.table, mark.deficits, dealt)
                    self._joint = JointOrder(mark.table, self._powers, self.batch_tokens, kept)
                    if not dealt.size:
                        self._run_out(at * self.batch_tokens, reached[1])
                        continue
            except (DataError, InfeasibleError):  # no matter before its time
                # the table of a batch that is not dealt has moved deficits already: back to how the one before left them
                table, kept = before[1:]
                if parts:
                    table, kept = marks[-1].table, advanced(marks[-1].table, marks[-1].deficits, parts[-1])
                self._joint = JointOrder(table, self._powers, self.batch_tokens, kept)
                self._steady = at * self.batch_tokens
                if at == self.batches:
                    raise
                break
            marks.append(mark)
            parts.append(dealt)
            served_DK = served_DK + dealt.counts(len(self._powers))
            at += dealt.size
        whole = Dealt(np.concatenate([p.lengths_N for p in parts]), np.concatenate([p.rows_ND for p in parts]))
        return Ahead(before, tuple(marks), whole, counts_DK)

    def _take_table(self, tokens: int) -> None:
        """Go over to the table in force at `tokens`, if it is another."""
        if self._steady is not None and tokens >= self._steady:
            table = self._table(self.schedule, tokens, self._exhausted)
            if table != self._joint.table:
                self._joint.change(table)
            self._steady = self._next_change(tokens)

    def _run_out(self, tokens: int, domain: int) -> None:
        """What the policy says of a domain that the batch at `tokens` would take beyond its cap."""
        assert self.repetition is not None
        self.repetition.reached(self.schedule.domains[domain], f"{self._caps[domain]:,} tokens", tokens)
        self._exhausted = (*self._exhausted, Exhausted(tokens, domain))
        self._steady = tokens

    def _locate(self, ahead: Ahead) -> Rows:
        """This rank's rows."""
        if self._pieces is None:
            self._pieces = Pieces(self._decomposed, len(self._base_DK), self.seed)
        return dealing.located(ahead, self._pieces, self._powers, self.seed, self.rank, self.world_size)

    def change(self, position: int, mixture: Mixture, cause: str, *, ramp: int = 0) -> None:
        """From `position` tokens on serve `mixture`, until the next planned phase; call it on every rank alike.

        Args:
            cause: Why, in words; kept in the state and the log.
            ramp: Tokens over which weights move there in a straight line.

        Raises:
            UsageError: the mixture is over other domains, or the position has been served.
            DataError: a domain that gets a weight has no document of the shortest length.
            InfeasibleError: the shares of lengths do not fit the documents of its domains.
        """
        change = Change(position, mixture.units, cause, ramp)
        events = changed(self.events, change, mixture, self.schedule.domains, self.tokens)
        schedule = merged(self._planned, events)
        self._open(mixture)
        self._check_ahead(schedule, change.start)
        self._go_on(self._now(), self._counts_DK, self._past, events)

    def _go_on(self, now: Mark, counts_DK: Ints, exhausted: tuple[Exhausted, ...], events: tuple[Change, ...]) -> None:
        self.batches, self._base_DK = now.batch, counts_DK
        self._ahead = self._rows = None
        self.events, self._exhausted, self.schedule = events, exhausted, merged(self._planned, events)
        self._joint = JointOrder(now.table, self._powers, self.batch_tokens, now.deficits)
        self._steady = self.tokens

    # what was served

    @property
    def _past(self) -> tuple[Exhausted, ...]:
        """Of the domains known to run out, those that have."""
        return tuple(e for e in self._exhausted if e.start < self.tokens)

    @property
    def tokens(self) -> int:
        """Tokens trained on so far, by all ranks."""
        return self.batches * self.batch_tokens

    @property
    def served(self) -> dict[str, Served]:
        """Domain -> tokens served so far by all ranks, passes over its tokens, tokens that repeat an earlier pass."""
        found, counts_DK = {d: Served(0, 0.0, 0) for d in self.schedule.domains}, self._counts_DK
        for i, one in self._decomposed.items():
            parts = one.served(counts_DK[i]).values()
            tokens, repeated = sum(p.tokens for p in parts), sum(p.repeated for p in parts)
            found[one.name] = Served(tokens, tokens / one.tokens, repeated)
        return found

    @property
    def realised(self) -> dict[str, int]:
        """Domain -> tokens trained on so far, by all ranks."""
        return {d: s.tokens for d, s in self.served.items()}

    @property
    def epochs(self) -> dict[str, float]:
        """Domain -> passes over its tokens so far."""
        return {d: s.epochs for d, s in self.served.items()}

    @property
    def lengths(self) -> dict[str, dict[int, Served]]:
        """Domain -> length of rows that it has -> what was served of them."""
        counts_DK = self._counts_DK
        found = {one.name: one.served(counts_DK[i]) for i, one in self._decomposed.items()}
        return {d: found.get(d, {}) for d in self.schedule.domains}

    @property
    def dropped(self) -> dict[str, float]:
        """Domain -> share of its tokens in ends of documents shorter than `shortest`, which are not used; those with a weight."""
        return {d.name: 1 - d.tokens / d.source.tokens for _, d in sorted(self._decomposed.items())}

    @property
    def log(self) -> tuple[Event, ...]:
        """Every change of what was or will be served: phases, live changes, domains that ran out, in order."""
        caps = {i: f"{cap:,} tokens" for i, cap in self._caps.items()}
        past = self._past
        return log_of(self._planned, self.events, past, caps, lambda tokens: self._out(tokens, past))

    def history(self) -> History:
        """What was served so far, and why; a loader made with its schedule and the same settings gives the same batches."""
        return history(self.schedule, self.tokens, self.batch_tokens, self.log, self.served)

    # state

    def state(self) -> DecompositionState:
        """Where the run is; the same on every rank."""
        return DecompositionState(
            corpus=self.fingerprint,
            seed=self.seed,
            lengths=(self.shortest, self.longest),
            batch_tokens=self.batch_tokens,
            curriculum=repr(self.curriculum),
            domains=self.schedule.domains,
            phases=weights(self._planned.phases),
            events=self.events,
            batches=self.batches,
            deficits=dealing.packed_deficits(self._now().deficits),
            counts=dealing.packed(self._counts_DK.ravel().tolist()),
            repetition=self.repetition,
            exhausted=self._past,
        )

    def restore(self, state: DecompositionState) -> None:
        """Go on from `state`, on any rank and world size.

        Raises:
            DataError: it was saved on another corpus.
            UsageError: under other settings; says which.
        """
        refuse_another_corpus(state.corpus, self.fingerprint)
        refuse_another_run(state, self.state())
        self._open(*(Mixture(state.domains, event.units) for event in state.events))
        self._exhausted = state.exhausted
        # the table of the last batch, not of the next: a change between the two carries deficits at its own time
        last = max(state.batches - 1, 0) * self.batch_tokens
        table = self._table(merged(self._planned, state.events), last, state.exhausted)
        self._go_on(Mark(state.batches, table, state.owed), state.served, state.exhausted, state.events)

    def copy(self) -> Self:
        """Another loader at the same place, over the same open corpus; moving one does not move the other."""
        other = copy.copy(self)
        other._joint, other._natural_DK = copy.deepcopy(self._joint), self._natural_DK.copy()
        other._decomposed, other._gather = self._decomposed.copy(), self._gather.copy()
        return other
