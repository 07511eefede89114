"""Which split a document belongs to: a pure function of the hash of its near-duplicate cluster. A stored format."""

from __future__ import annotations

import hashlib
import struct
from typing import Literal

from cuvee.base.errors import UsageError

Split = Literal["train", "search", "verify"]
SPLITS: tuple[Split, ...] = ("train", "search", "verify")


def split_of(cluster: int, search: float, verify: float) -> Split:
    """The split of all documents of a cluster, named by a 64-bit hash such as the smallest of its documents'.

    The hash is hashed again, since the smallest of many is no uniform number. Search grows from the bottom of the range
    and verify from the top, so that changing one share moves no document in or out of the other.

    Raises:
        UsageError: shares that are negative or leave nothing for training.
    """
    if search < 0 or verify < 0 or search + verify >= 1:
        raise UsageError(f"got held-out shares {search} and {verify}", wanted="both >= 0, their sum below 1")
    digest = hashlib.blake2b(b"split\0" + struct.pack("<Q", cluster), digest_size=8).digest()
    place = int.from_bytes(digest, "little")
    if place < int(search * 2**64):
        return "search"
    if place >= 2**64 - int(verify * 2**64):
        return "verify"
    return "train"
