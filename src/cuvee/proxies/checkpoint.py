"""Checkpoints of an unfinished training. One that is not whole is none: it is a convenience, losing it costs time only.

A file is the blake2b of the rest and torch's own format, which does not notice a changed byte by itself.

Letters: K plans, S evaluation points, T targets.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cuvee.base.codec import from_json, to_json
from cuvee.base.files import FORMAT, replace
from cuvee.stream.state import MixerState

DIGEST = 16


@dataclass(frozen=True, eq=False)
class Saved:
    """How far a training is.

    Args:
        ids: Of its trials; a checkpoint of others is not resumed from.
        way: How it was computed; nor is one computed otherwise, as a machine without bf16 or a compiler would.
        nats_STK: Nats per token at the evaluations so far.
        falls: Index of each diverged plan -> the step, tokens it had been trained on per domain.
        spent: Wall and CPU seconds.
    """

    ids: tuple[str, ...]
    way: str
    step: int
    weights: dict[str, Tensor]
    optimiser: dict[str, Any]
    mixers: tuple[MixerState, ...]
    nats_STK: list[list[list[float]]]
    falls: dict[int, tuple[int, tuple[int, ...]]]
    spent: tuple[float, float]


def save(path: Path, saved: Saved) -> None:
    """Put it at `path` atomically, as tensors and plain types only.

    Raises:
        PartialError: the disk is full.
    """
    buffer = io.BytesIO()
    torch.save({**vars(saved), "mixers": to_json(saved.mixers), "format": FORMAT}, buffer)
    replace(path, _digest(buffer.getvalue()) + buffer.getvalue())


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=DIGEST).digest()


def load(path: Path, ids: tuple[str, ...], way: str) -> Saved | None:
    """The checkpoint at `path`; None if there is none, or it is not whole, of another format, of other trials or computed otherwise."""
    try:
        digest, body = (content := path.read_bytes())[:DIGEST], content[DIGEST:]
        if digest != _digest(body):
            return None
        data = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        if data.pop("format") != FORMAT or (data["ids"], data["way"]) != (ids, way):
            return None
        return Saved(**{**data, "mixers": tuple(from_json(MixerState, m) for m in data["mixers"])})
    except Exception:  # whatever is wrong with the file, the remedy is to start again
        return None
