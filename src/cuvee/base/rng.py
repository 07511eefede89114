"""Seeded randomness: every draw names its purpose, so no two purposes share a stream and no order of calls matters."""

from __future__ import annotations

import hashlib
import struct

import numpy as np


def key64(seed: int, purpose: str, *index: int) -> int:
    """A 64-bit key for (seed, purpose, index): blake2b, the same on every machine. The mapping is a stored format."""
    message = purpose.encode("utf-8") + b"\0" + struct.pack(f"<{len(index) + 1}q", seed, *index)
    return int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "little")


def generator(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """A numpy generator of its own for (seed, purpose, index)."""
    return np.random.Generator(np.random.PCG64(key64(seed, purpose, *index)))
