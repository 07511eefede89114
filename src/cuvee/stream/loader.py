"""The loader of a final run: a mixer over a corpus, sliced by rank, with a state that checks what it is restored on."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Self

from cuvee.base.errors import UsageError
from cuvee.base.files import FORMAT
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.feed import Feed
from cuvee.stream.batch import Batch
from cuvee.stream.mixer import Mixer
from cuvee.stream.packing import CONCAT, Packing
from cuvee.stream.repetition import Repetition
from cuvee.stream.state import (
    Change,
    Event,
    History,
    MixerState,
    OrderKind,
    Served,
    refuse_another_corpus,
    refuse_difference,
)


@dataclass(frozen=True)
class LoaderState:
    """Where a run is. O(domains); survives JSON by `base.codec`; says nothing of ranks, so any world size may go on."""

    corpus: str
    mixer: MixerState
    format: int = FORMAT


class Loader:
    """An endless iterator over this rank's part of every global batch.

    Rank r of W gets rows r B/W to (r+1) B/W of each batch of B sequences: ranks together get the same batches at any W.

    Args:
        corpus: A `Corpus`, read from its train split, or the `Sources` of `cuvee.open_sources`.
        schedule: Over domains of the corpus.
        seq_len: Tokens of a sequence; `Batch.tokens` has one more, for the targets.
        batch: Sequences of a global batch.
        packing: How documents become sequences; laid end to end and cut by default.
        repetition: Caps on the passes over domains and what to do at them; None for no caps.
        order: "exact" holds every prefix to its shares (`stream.order`), "random" draws every sequence.

    Raises:
        UsageError: a batch that the ranks cannot share evenly, no such rank, an unknown domain, no corpus or no schedule.
        DataError: a domain with a weight is shorter than one sequence.
    """

    def __init__(
        self,
        corpus: Feed,
        schedule: Schedule,
        *,
        seq_len: int,
        seed: int,
        batch: int = 8,
        rank: int = 0,
        world_size: int = 1,
        packing: Packing = CONCAT,
        repetition: Repetition | None = None,
        order: OrderKind = "exact",
    ) -> None:
        if not isinstance(schedule, Schedule):
            raise UsageError(
                f"got a {type(schedule).__name__} for the schedule", fix="cuvee.Schedule.constant(mixture)"
            )
        if not hasattr(corpus, "source"):
            raise UsageError(f"got a {type(corpus).__name__} for the corpus", fix="cuvee.Corpus.open(path)")
        if not 0 <= rank < world_size:
            raise UsageError(f"got rank {rank} of world size {world_size}", wanted="0 <= rank < world size")
        if batch % world_size:
            raise UsageError(
                f"a global batch of {batch} sequences for {world_size} ranks",
                wanted="a batch that is a multiple of the world size",
                fix=f"batch={-(-batch // world_size) * world_size}",
            )
        sources = {d: corpus.source(d, "train") for d in corpus.domains}
        share = batch // world_size
        self._mixer = Mixer(
            sources,
            schedule,
            seq_len=seq_len,
            seed=seed,
            batch=batch,
            packing=packing,
            repetition=repetition,
            order=order,
            rows=slice(rank * share, (rank + 1) * share),
        )
        self.fingerprint, self.seq_len, self.batch = corpus.fingerprint, seq_len, batch
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        """This rank's rows of the next global batch.

        Raises:
            DataError: a domain has reached its cap, and the policy is to stop; or all have.
        """
        return next(self._mixer)

    def skip(self, batches: int = 1) -> None:
        """Pass over batches without reading their tokens."""
        self._mixer.skip(batches)

    def change(self, position: int, mixture: Mixture, cause: str, *, ramp: int = 0) -> None:
        """From `position` tokens on serve `mixture`, until the next planned phase; call it on every rank alike.

        It takes over at the first batch that begins at or after `position`: `loader.tokens` is the next one. Kept in the
        schedule, the state and the log with its cause.

        Args:
            cause: Why, in words.
            ramp: Tokens over which weights move there in a straight line.

        Raises:
            UsageError: the mixture is over other domains, or the position has been served.
            DataError: a domain that gets a weight is shorter than one sequence.
        """
        self._mixer.change(position, mixture, cause, ramp=ramp)

    def copy(self) -> Self:
        """Another loader at the same place, over the same open corpus; moving one does not move the other."""
        other = copy.copy(self)
        other._mixer = self._mixer.copy()
        return other

    @property
    def schedule(self) -> Schedule:
        """The planned phases and the live changes so far: a loader made with it gives the same batches."""
        return self._mixer.schedule

    @property
    def events(self) -> tuple[Change, ...]:
        """The live changes so far, with their causes."""
        return self._mixer.events

    @property
    def batch_tokens(self) -> int:
        """Tokens of a global batch."""
        return self._mixer.batch * self._mixer.seq_len

    @property
    def batches(self) -> int:
        """Global batches so far."""
        return self._mixer.batches

    @property
    def tokens(self) -> int:
        """Tokens trained on so far, by all ranks."""
        return self._mixer.tokens

    @property
    def served(self) -> dict[str, Served]:
        """Domain -> tokens served so far by all ranks, passes over it, tokens that repeat an earlier pass."""
        return self._mixer.served

    @property
    def fill(self) -> dict[str, float]:
        """Domain -> mean share of a row's targets that are tokens to learn, over a pass; of domains that have had a weight."""
        return self._mixer.fill

    @property
    def log(self) -> tuple[Event, ...]:
        """Every change of what is served, with its cause: phases, live changes, domains that ran out."""
        return self._mixer.log

    def history(self) -> History:
        """What was served so far, and why; a loader made with its schedule gives the same batches."""
        return self._mixer.history()

    @property
    def realised(self) -> dict[str, int]:
        """Domain -> tokens trained on so far, by all ranks."""
        return self._mixer.realised

    @property
    def epochs(self) -> dict[str, float]:
        """Domain -> passes over its sequences so far."""
        return {d: s.epochs for d, s in self.served.items()}

    def state(self) -> LoaderState:
        """Where the run is; the same on every rank."""
        return LoaderState(self.fingerprint, self._mixer.state())

    def restore(self, state: LoaderState) -> None:
        """Go on from `state`, on any rank and world size.

        Raises:
            DataError: it was saved on another corpus.
            UsageError: under another schedule, seed, seq_len, batch, packing, repetition or order; says which and how.
        """
        refuse_another_corpus(state.corpus, self.fingerprint)
        refuse_difference("format", state.format, FORMAT)
        self._mixer.restore(state.mixer)
