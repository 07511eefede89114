"""A loader of variable length: one document per row, all rows of a batch of one length, the same tokens in every batch.

Documents are cut into pieces of power-of-two lengths (`stream.lengths`); a curriculum says which lengths come when
(`stream.curricula`); domains and lengths are held to their shares together (`stream.joint`). Everything follows from (corpus,
schedule, curriculum, lengths, batch_tokens, seed) and the number of the batch.
Letters: D domains, K lengths from the shortest to the longest, R rows of a batch.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError, UsageError
from cuvee.base.files import FORMAT
from cuvee.base.permutation import permute
from cuvee.base.rng import key64
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.corpus import Corpus
from cuvee.stream.batch import Batch
from cuvee.stream.curricula import Curriculum, Natural
from cuvee.stream.joint import Deficits, JointOrder, Table
from cuvee.stream.lengths import Bucket, Decomposed
from cuvee.stream.packing import Items
from cuvee.stream.state import Change, Weights, merged, refuse_difference, weights

Ints = NDArray[np.int64]
NATURAL = Natural()
_MOVING = ("corpus", "events", "batches", "deficits", "counts")


@dataclass(frozen=True)
class DecompositionState:
    """Where a run is: O(domains x lengths). Says nothing of ranks, so any world size may go on.

    Args:
        events: Live changes.
        deficits: What lengths and domains are owed.
        counts: Pieces served, [domain][length].
    """

    corpus: str
    seed: int
    shortest: int
    longest: int
    batch_tokens: int
    curriculum: str
    domains: tuple[str, ...]
    phases: tuple[Weights, ...]
    events: tuple[Change, ...]
    batches: int
    deficits: Deficits
    counts: tuple[tuple[int, ...], ...]
    format: int = FORMAT


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

    Raises:
        UsageError: lengths that are no powers of two or the wrong way round, tokens that do not divide, no such rank, an
            unknown domain, a curriculum for another number of lengths.
        DataError: a domain with a weight has no document of the shortest length.
        InfeasibleError: the shares of lengths asked for do not fit the documents of the domains.
    """

    def __init__(
        self,
        corpus: Corpus,
        schedule: Schedule,
        *,
        shortest: int = 256,
        longest: int = 8192,
        batch_tokens: int,
        seed: int,
        curriculum: Curriculum = NATURAL,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._powers = _powers(shortest, longest)
        if not 0 <= rank < world_size:
            raise UsageError(f"got rank {rank} of world size {world_size}", wanted="0 <= rank < world size")
        unit = longest * world_size
        if batch_tokens < 1 or batch_tokens % unit:
            raise UsageError(
                f"batches of {batch_tokens:,} tokens for rows of {longest:,} on {world_size} ranks",
                wanted="a multiple of the longest row times the world size",
                fix=f"batch_tokens={max(-(-batch_tokens // unit), 1) * unit}",
            )
        missing = [d for d in schedule.domains if d not in corpus.domains]
        if missing:
            raise UsageError(
                f"the schedule names domains that the data lacks: {', '.join(missing)}",
                wanted=f"some of {', '.join(corpus.domains)}",
            )
        curriculum.check(len(self._powers))
        self._corpus, self._planned, self.schedule = corpus, schedule, schedule
        self._events: tuple[Change, ...] = ()
        self.fingerprint, self.seed, self.curriculum = corpus.fingerprint, seed, curriculum
        self.shortest, self.longest, self.batch_tokens = shortest, longest, batch_tokens
        self.rank, self.world_size = rank, world_size
        self._decomposed: dict[int, Decomposed] = {}
        self._items: list[dict[int, Items]] = [{} for _ in self._powers]
        self.batches, self._counts_DK = 0, np.zeros((len(schedule.domains), len(self._powers)), np.int64)
        for phase in schedule.phases:
            self._open(phase.mixture)
        self._check_ahead(schedule, 0)
        self._joint = JointOrder(self._table(schedule, 0), self._powers, batch_tokens)
        self._steady = self._next_change(0)

    def _open(self, mixture: Mixture) -> None:
        for i, (domain, units) in enumerate(zip(mixture.domains, mixture.units, strict=True)):
            if units and i not in self._decomposed:
                source = self._corpus.source(domain, "train")
                found = Decomposed(domain, source, self._powers[0], self._powers[-1])
                self._decomposed[i] = found
                for k, items in enumerate(self._items):
                    if found.counts[k]:
                        items[i] = Bucket(found, k, self.seed)

    # weights

    def _table(self, schedule: Schedule, tokens: int) -> Table:
        natural_DK = np.zeros(self._counts_DK.shape)
        for i, found in self._decomposed.items():
            natural_DK[i] = found.natural
        shares_D = schedule.at(tokens).shares
        return Table.of(self.curriculum.joint(tokens, shares_D, natural_DK))

    def _check_ahead(self, schedule: Schedule, tokens: int) -> None:
        ends = {p.start + p.ramp for p in schedule.phases}
        for position in sorted({*ends, *self.curriculum.starts}):
            self._table(schedule, max(position, tokens))

    def _next_change(self, tokens: int) -> int | None:
        found = [p for p in (self.schedule.steady(tokens), self.curriculum.steady(tokens)) if p is not None]
        return min(found, default=None)

    # batches

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        """This rank's rows of the next global batch."""
        number, before_DK = self.batches, self._counts_DK.copy()
        length, domains_R = self._assign()
        served_D = np.bincount(domains_R, minlength=len(before_DK))
        items_R = np.empty_like(domains_R)
        offset_D = before_DK[:, length] - (np.cumsum(served_D) - served_D)
        items_R[np.argsort(domains_R, kind="stable")] = np.arange(domains_R.size) + np.repeat(offset_D, served_D)
        # equal distances of one domain's rows would turn into whole ranks of one domain
        place_R = permute(key64(self.seed, "decomposition", number), domains_R.size, np.arange(domains_R.size))
        share = domains_R.size // self.world_size
        mine = place_R[self.rank * share : (self.rank + 1) * share]
        domains, places = domains_R[mine], items_R[mine]
        for i in set(domains.tolist()):
            places[domains == i] = self._items[length][i].places(places[domains == i])
        tokens = np.empty((share, (1 << self._powers[length]) + 1), np.int64)
        for i, place, row in zip(domains.tolist(), places.tolist(), tokens, strict=True):
            self._items[length][i].read(place, row)
        return Batch(tokens, domains, self._items[length], places)

    def skip(self, batches: int = 1) -> None:
        """Pass over batches without reading their tokens."""
        for _ in range(batches):
            self._assign()

    def _assign(self) -> tuple[int, Ints]:
        """Length and domains of the next batch's rows, counted as served."""
        if self._steady is not None and self.tokens >= self._steady:
            table = self._table(self.schedule, self.tokens)
            if table != self._joint.table:
                self._joint.change(table)
            self._steady = self._next_change(self.tokens)
        length, domains_R = self._joint.assign()
        self._counts_DK[:, length] += np.bincount(domains_R, minlength=len(self._counts_DK))
        self.batches += 1
        return length, domains_R

    def change(self, position: int, mixture: Mixture, cause: str, *, ramp: int = 0) -> None:
        """From `position` tokens on serve `mixture`, until the next planned phase; call it on every rank alike.

        Args:
            cause: Why, in words; kept in the state.
            ramp: Tokens over which weights move there in a straight line.

        Raises:
            UsageError: the mixture is over other domains, or the position has been served.
            DataError: a domain that gets a weight has no document of the shortest length.
            InfeasibleError: the shares of lengths do not fit the documents of its domains.
        """
        if mixture.domains != self.schedule.domains:
            raise UsageError(
                f"got a mixture of {', '.join(mixture.domains)}",
                wanted=f"one of {', '.join(self.schedule.domains)}, in that order",
            )
        if position < self.tokens:
            raise UsageError(
                f"a change at {position:,} tokens, which have been served",
                wanted=f"at least {self.tokens:,} tokens, the earliest possible",
                fix=f"change({self.tokens}, ...)",
            )
        kept = (e for e in self._events if e.start != position)
        events = tuple(sorted((*kept, Change(position, mixture.units, cause, ramp)), key=lambda e: e.start))
        schedule = merged(self._planned, events)
        self._open(mixture)
        self._check_ahead(schedule, position)
        self._events, self.schedule, self._steady = events, schedule, self.tokens

    # what was served

    @property
    def events(self) -> tuple[Change, ...]:
        """The live changes so far, with their causes."""
        return self._events

    @property
    def tokens(self) -> int:
        """Tokens trained on so far, by all ranks."""
        return self.batches * self.batch_tokens

    @property
    def realised(self) -> dict[str, dict[int, int]]:
        """Domain -> length of rows -> tokens trained on so far, by all ranks."""
        tokens_DK = self._counts_DK << np.array(self._powers)
        lengths = [1 << p for p in self._powers]
        return {
            d: dict(zip(lengths, row, strict=True))
            for d, row in zip(self.schedule.domains, tokens_DK.tolist(), strict=True)
        }

    @property
    def epochs(self) -> dict[str, dict[int, float]]:
        """Domain -> length -> passes over its pieces so far; lengths that it has."""
        domains = enumerate(self.schedule.domains)
        return {
            d: {
                1 << p: float(self._counts_DK[i, k] / self._decomposed[i].counts[k])
                for k, p in enumerate(self._powers)
                if i in self._decomposed and self._decomposed[i].counts[k]
            }
            for i, d in domains
        }

    @property
    def dropped(self) -> dict[str, float]:
        """Domain -> share of its tokens in ends of documents shorter than `shortest`, which are not used; those with a weight."""
        found = ((i, d.tokens / d.source.tokens) for i, d in sorted(self._decomposed.items()))
        return {self.schedule.domains[i]: 1 - kept for i, kept in found}

    # state

    def state(self) -> DecompositionState:
        """Where the run is; the same on every rank."""
        return DecompositionState(
            corpus=self.fingerprint,
            seed=self.seed,
            shortest=self.shortest,
            longest=self.longest,
            batch_tokens=self.batch_tokens,
            curriculum=repr(self.curriculum),
            domains=self.schedule.domains,
            phases=weights(self._planned.phases),
            events=self._events,
            batches=self.batches,
            deficits=self._joint.deficits,
            counts=tuple(tuple(row) for row in self._counts_DK.tolist()),
        )

    def restore(self, state: DecompositionState) -> None:
        """Go on from `state`, on any rank and world size.

        Raises:
            DataError: it was saved on another corpus.
            UsageError: under other settings; says which.
        """
        if state.corpus != self.fingerprint:
            raise DataError(
                f"this state was saved on the corpus {state.corpus}",
                wanted=f"the corpus that is open here, {self.fingerprint}",
                fix="open the corpus that the run began with",
            )
        mine = self.state()
        for name in (f.name for f in fields(state) if f.name not in _MOVING):
            refuse_difference(name, getattr(state, name), getattr(mine, name), state.domains)
        for event in state.events:
            self._open(Mixture(state.domains, event.units))
        self._events, self.schedule = state.events, merged(self._planned, state.events)
        self.batches, self._counts_DK = state.batches, np.array(state.counts, np.int64)
        # the table of the last batch, not of the next: a change between the two carries deficits at its own time
        last = max(state.batches - 1, 0) * self.batch_tokens
        self._joint = JointOrder(self._table(self.schedule, last), self._powers, self.batch_tokens, state.deficits)
        self._steady = self._next_change(last)

    def copy(self) -> Self:
        """Another loader at the same place, over the same open corpus; moving one does not move the other."""
        other = copy.copy(self)
        other._joint, other._counts_DK = copy.deepcopy(self._joint), self._counts_DK.copy()
        other._decomposed, other._items = self._decomposed.copy(), [items.copy() for items in self._items]
        return other


def _powers(shortest: int, longest: int) -> tuple[int, ...]:
    for size in (shortest, longest):
        if size < 1 or size & (size - 1):
            raise UsageError(
                f"got a length of {size} tokens", wanted="a power of two", fix="256 and 8192, for instance"
            )
    if longest < shortest:
        raise UsageError(
            f"got rows of at most {longest:,} tokens and at least {shortest:,}", wanted="shortest <= longest"
        )
    return tuple(range(shortest.bit_length() - 1, longest.bit_length()))
