"""What the front ends ask of a loader, whatever its rows are: `Loader` and `DecompositionLoader` both offer it."""

from __future__ import annotations

from typing import Protocol, Self, TypeVar

from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.stream.batch import Batch
from cuvee.stream.state import Change, Event, History, Served

State = TypeVar("State")


class Loads(Protocol[State]):
    """Endless batches of one rank, of `batch_tokens` tokens over all ranks each; rows may differ in length between batches.

    `State` is a frozen dataclass that survives JSON by `base.codec`: `from_json(type(loader.state()), ...)`.
    """

    @property
    def fingerprint(self) -> str:
        """Of the corpus."""

    @property
    def batch_tokens(self) -> int:
        """Tokens of a global batch."""

    @property
    def rank(self) -> int:
        """Whose rows these are."""

    @property
    def world_size(self) -> int:
        """Ranks in all."""

    @property
    def batches(self) -> int:
        """Global batches so far."""

    @property
    def tokens(self) -> int:
        """Tokens trained on so far, by all ranks."""

    @property
    def schedule(self) -> Schedule:
        """The planned phases and the live changes so far."""

    @property
    def events(self) -> tuple[Change, ...]:
        """The live changes so far."""

    @property
    def served(self) -> dict[str, Served]:
        """Domain -> what was served of it."""

    @property
    def log(self) -> tuple[Event, ...]:
        """Every change of what is served, with its cause."""

    def __next__(self) -> Batch:
        """This rank's rows of the next global batch."""

    def skip(self, batches: int = 1) -> None:
        """Pass over batches without reading their tokens."""

    def change(self, position: int, mixture: Mixture, cause: str, *, ramp: int = 0) -> None:
        """From `position` tokens on serve `mixture`; refused before `tokens`."""

    def history(self) -> History:
        """What was served so far, and why."""

    def copy(self) -> Self:
        """Another loader at the same place, over the same open corpus."""

    def state(self) -> State:
        """Where the run is; the same on every rank."""

    def restore(self, state: State) -> None:
        """Go on from `state`, on any rank and world size."""
