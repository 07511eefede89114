"""Batches from a worker process to the one that trains, cheaply.

A DataLoader sends every tensor through a shared file of its own, opened and mapped for the purpose: about a millisecond a
batch. A `Parcel` instead puts its arrays into memory that the worker keeps and reuses, in the smallest type that holds
them, and travels as a place there; where it is unpickled the arrays come out as tensors of their own type. Without a
free place, or without `memfd` (other than Linux), the arrays travel inside the message.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Tensors = list[torch.Tensor]
_PLACES, _PAGE = 4, 4096
_Layout = list[list[tuple[str, str, tuple[int, ...]]]]
"""Arrays of each batch: the type they travel in, their own, and their shape."""


class Memory:
    """Places of one size that a worker writes and the process that trains frees; the first page holds a flag for each."""

    def __init__(self, size: int) -> None:
        self.size = -(-size // _PAGE) * _PAGE
        self.file = os.memfd_create("cuvee")
        os.posix_fallocate(self.file, 0, _PAGE + _PLACES * self.size)
        self.bytes = _map(self.file)
        self.name = (os.getpid(), self.file, os.fstat(self.file).st_ino)

    def write(self, arrays: list[tuple[NDArray[Any], str]]) -> int | None:
        """Where the arrays, each in its type, were put end to end; None if they do not fit or every place is taken."""
        free = np.flatnonzero(self.bytes[:_PLACES] == 0)
        ends = np.cumsum([_room(a.shape, kind) for a, kind in arrays])
        if not free.size or ends[-1] > self.size:
            return None
        place = int(free[0])
        self.bytes[place] = 1
        start = _PAGE + place * self.size
        for (array, kind), end in zip(arrays, ends.tolist(), strict=True):
            np.copyto(_view(self.bytes, start + end - _room(array.shape, kind), kind, array.shape), array, "unsafe")
        return place


class Parcel:
    """Batches of arrays; unpickled they are a `Chunk`, or the tensors of the one batch.

    Args:
        batches: Arrays of each batch.
        chunk: Whether the other side wants a `Chunk`; else there is one batch, and it is wanted alone.
        memory: Of this worker; None where arrays travel in the message.
    """

    def __init__(self, batches: list[list[NDArray[Any]]], chunk: bool, memory: Memory | None) -> None:
        self._batches, self._chunk, self._memory = batches, chunk, memory

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        layout: _Layout = [[(_smallest(a), a.dtype.str, a.shape) for a in batch] for batch in self._batches]
        flat = [
            (a, kind[0])
            for batch, kinds in zip(self._batches, layout, strict=True)
            for a, kind in zip(batch, kinds, strict=True)
        ]
        place = self._memory.write(flat) if self._memory is not None else None
        if self._memory is not None and place is not None:
            return _from_memory, (self._memory.name, self._memory.size, place, layout, self._chunk)
        return _from_message, ([a.astype(kind) for a, kind in flat], layout, self._chunk)


def memory(batches: list[list[NDArray[Any]]]) -> Memory | None:
    """Memory for parcels like this one, a little larger because rows may get shorter, each with a token of context; None
    where there is none to be had."""
    try:
        return Memory(sum(_room(a.shape, a.dtype.str) for batch in batches for a in batch) * 9 // 8)
    except (AttributeError, OSError):  # not Linux, or memory is short
        return None


class Chunk:
    """Batches of a parcel in the memory they came in, made into tensors once, as they are asked for.

    So that one batch of 8-byte tokens is alive at a time, in pages that are used again: new pages cost more than the copy.
    """

    def __init__(self, arrays: list[NDArray[Any]], layout: _Layout, flag: NDArray[np.uint8]) -> None:
        self._arrays, self._layout, self._flag, self._pin = arrays, layout, flag, False

    def pin_memory(self) -> Chunk:
        """What a DataLoader's thread asks for; each batch is pinned when it is made."""
        self._pin = True
        return self

    def __len__(self) -> int:
        return len(self._layout)

    def __iter__(self) -> Iterator[Tensors]:
        rest = iter(self._arrays)
        for n, batch in enumerate(self._layout, start=1):
            made = tensors([next(rest).astype(kind) for _, kind, _ in batch])
            if n == len(self._layout):
                self._flag[0] = 0
            yield [tensor.pin_memory() for tensor in made] if self._pin else made


_mapped: dict[tuple[int, int, int], NDArray[np.uint8]] = {}


def _from_memory(name: tuple[int, int, int], size: int, place: int, layout: _Layout, chunk: bool) -> Chunk | Tensors:
    if name not in _mapped:
        for other in [n for n in _mapped if not Path(f"/proc/{n[0]}").exists()]:
            del _mapped[other]
        with open(f"/proc/{name[0]}/fd/{name[1]}", "r+b") as file:
            _mapped[name] = _map(file.fileno())
    shared, at = _mapped[name], _PAGE + place * size
    arrays = []
    for kind, _, shape in (one for batch in layout for one in batch):
        arrays.append(_view(shared, at, kind, shape))
        at += _room(shape, kind)
    found = Chunk(arrays, layout, shared[place : place + 1])
    return found if chunk else next(iter(found))


def _from_message(arrays: list[NDArray[Any]], layout: _Layout, chunk: bool) -> Chunk | Tensors:
    found = Chunk(arrays, layout, np.ones(1, np.uint8))
    return found if chunk else next(iter(found))


def tensors(arrays: list[NDArray[Any]]) -> Tensors:
    """Arrays as tensors, over the same memory."""
    return [torch.from_numpy(a) for a in arrays]


def _smallest(array: NDArray[Any]) -> str:
    """The type of 2 bytes that holds whole numbers of 8, where they fit; else their own."""
    if array.dtype == np.int64 and 0 <= int(np.bitwise_or.reduce(array, axis=None)) < 1 << 16:
        return "<u2"
    return array.dtype.str


def _room(shape: tuple[int, ...], kind: str) -> int:
    return -(-math.prod(shape) * int(kind[2:]) // 64) * 64


def _view(shared: NDArray[np.uint8], start: int, kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.ndarray(shape, kind, shared.data, start)


def _map(file: int) -> NDArray[np.uint8]:
    return np.frombuffer(mmap.mmap(file, 0), np.uint8)
