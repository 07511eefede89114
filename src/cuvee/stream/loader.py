"""The loader of a final run: a mixer over a corpus, sliced by rank, with a state that checks what it is restored on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from cuvee.base.errors import DataError, UsageError
from cuvee.base.files import FORMAT
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.feed import Feed
from cuvee.stream.mixer import Batch, Mixer, MixerState, refuse_difference


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

    Raises:
        UsageError: a batch that the ranks cannot share evenly, no such rank, an unknown domain.
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
    ) -> None:
        if not 0 <= rank < world_size:
            raise UsageError(f"got rank {rank} of world size {world_size}", wanted="0 <= rank < world size")
        if batch % world_size:
            raise UsageError(
                f"a global batch of {batch} sequences for {world_size} ranks",
                wanted="a batch that is a multiple of the world size",
                fix=f"batch={-(-batch // world_size) * world_size}",
            )
        sources = {d: corpus.source(d, "train") for d in corpus.domains}
        self._mixer = Mixer(sources, schedule, seq_len=seq_len, seed=seed, batch=batch)
        self.fingerprint, self.batch, self.world_size = corpus.fingerprint, batch, world_size
        share = batch // world_size
        self._rows = slice(rank * share, (rank + 1) * share)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        return self._mixer.take(self._rows)

    def skip(self, batches: int = 1) -> None:
        """Pass over batches without reading their tokens."""
        self._mixer.skip(batches)

    def reweight(self, mixture: Mixture) -> None:
        """Change to `mixture` from the next batch on; call it on every rank at the same batch.

        Raises:
            UsageError: the mixture is over other domains.
            DataError: a domain that gets a weight is shorter than one sequence.
        """
        self._mixer.reweight(mixture)

    @property
    def schedule(self) -> Schedule:
        """The planned phases and the live changes so far: a loader made with it gives the same batches."""
        return self._mixer.schedule

    @property
    def batches(self) -> int:
        """Global batches so far."""
        return self._mixer.batches

    @property
    def tokens(self) -> int:
        """Tokens trained on so far, by all ranks."""
        return self._mixer.tokens

    @property
    def realised(self) -> dict[str, int]:
        """Domain -> tokens trained on so far, by all ranks."""
        return self._mixer.realised

    @property
    def epochs(self) -> dict[str, float]:
        """Domain -> passes over its sequences so far."""
        return self._mixer.epochs

    def state(self) -> LoaderState:
        """Where the run is; the same on every rank."""
        return LoaderState(self.fingerprint, self._mixer.state())

    def restore(self, state: LoaderState) -> None:
        """Go on from `state`, on any rank and world size.

        Raises:
            DataError: it was saved on another corpus.
            UsageError: under another schedule, seed, seq_len or batch; says which.
        """
        if state.corpus != self.fingerprint:
            raise DataError(
                f"this state was saved on the corpus {state.corpus}",
                wanted=f"the corpus that is open here, {self.fingerprint}",
                fix="open the corpus that the run began with",
            )
        refuse_difference("format", state.format, FORMAT)
        self._mixer.restore(state.mixer)
