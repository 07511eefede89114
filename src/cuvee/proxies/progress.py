"""How far an unfinished training is: a small file beside its checkpoint, for whoever asks meanwhile. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cuvee.base.codec import SchemaError, from_json, to_json
from cuvee.base.errors import DataError
from cuvee.base.files import FORMAT, dump_json, load_json, replace


@dataclass(frozen=True)
class Progress:
    """Steps made, and the seconds that as many take at the rate of this attempt's, its first left out."""

    step: int
    seconds: float


def path_of(checkpoint: Path) -> Path:
    """The file beside that checkpoint."""
    return checkpoint.with_suffix(".json")


def tell(checkpoint: Path, progress: Progress) -> None:
    """Write or replace it.

    Raises:
        PartialError: the disk is full.
    """
    replace(path_of(checkpoint), dump_json({"format": FORMAT, **to_json(progress)}))


def told(checkpoint: Path) -> Progress | None:
    """What was told last; None when nothing was, or it cannot be read."""
    try:
        return from_json(Progress, {k: v for k, v in load_json(path_of(checkpoint)).items() if k != "format"})
    except (DataError, SchemaError, AttributeError, OSError):
        return None
