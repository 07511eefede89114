"""A keyed permutation of 0..n-1 without an array of length n: a Feistel network with cycle walking.

In base because pools draw documents and the stream draws sequences by it. What it returns is a stored format: the
order of a run follows from it, so its test vectors are pinned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8
_ROUNDS_EACH = 6
_FEW = 16
"""Elements up to which whole numbers of Python cost less than the calls of NumPy."""
GOLDEN = 0x9E3779B97F4A7C15
_MIX_1, _MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def permute(key: int, n: int, i: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the permutation of 0..n-1 named by the 64-bit `key` sends each of `i`; same shape as `i`.

    Two halves of h bits with 4^h >= n; values that fall outside 0..n-1 go round again (cycle walking, Black and Rogaway
    2002), under four times on average. For 1 <= n <= 2^62 and 0 <= i < n.
    """
    assert 1 <= n <= 1 << 62, n
    flat = np.atleast_1d(np.asarray(i, np.int64)).ravel()
    assert flat.size == 0 or (flat.min() >= 0 and flat.max() < n), (n, i)
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    keys = [_mix_int(key + (r + 1) * GOLDEN) for r in range(ROUNDS)]
    if flat.size <= _FEW:
        return np.array([_walk(x, n, half, keys) for x in flat.tolist()], np.int64).reshape(np.shape(i))
    # a table of the whole network where that is no longer than the walks: small batches are most of the calls
    table = _feistel(np.arange(4**half, dtype=np.uint64), half, keys) if 4**half <= 16 * flat.size + 64 else None

    def step(y: NDArray[np.uint64]) -> NDArray[np.uint64]:
        return _feistel(y, half, keys) if table is None else table[y]

    x = step(flat.astype(np.uint64))
    outside = np.flatnonzero(x >= n)
    while outside.size:
        x[outside] = step(x[outside])
        outside = outside[x[outside] >= n]
    return x.astype(np.int64).reshape(np.shape(i))


def permute_all(keys: list[int], n: int) -> NDArray[np.int64]:
    """The permutations of 0..n-1 named by each of the K 64-bit `keys`, whole: row k is `permute(keys[k], n, arange(n))`.

    Shape (K, n). For many small n at once, where calls would cost more than the work.
    """
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    rounds = [np.array([_mix_int(key + (r + 1) * GOLDEN) for key in keys], np.uint64)[:, None] for r in range(ROUNDS)]
    table = _feistel(np.broadcast_to(np.arange(4**half, dtype=np.uint64), (len(keys), 4**half)), half, rounds)
    x = table[:, :n].copy()
    rows, columns = np.nonzero(x >= n)
    while rows.size:
        x[rows, columns] = table[rows, x[rows, columns]]
        outside = x[rows, columns] >= n
        rows, columns = rows[outside], columns[outside]
    return x.astype(np.int64)


def permute_each(keys_N: NDArray[np.uint64], sizes_N: NDArray[np.int64], i_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where element n is sent by the permutation of 0..sizes_N[n]-1 named by keys_N[n]; shape N. Other ones than `permute`'s.

    Many permutations and a few elements of each. The halves of the network may differ by a bit, so that walks are half as
    long; sizes up to 2^52.
    """
    bits_N = np.frexp((sizes_N - 1).astype(np.float64))[1]
    # of 8 elements the network reaches too few orders: 5 to 8 walk through 16
    bits_N = np.where(sizes_N > 4, np.maximum(bits_N, 4), np.where(sizes_N > 1, 2, 0))
    low_N, limit_N = (bits_N // 2).astype(np.uint64), sizes_N.astype(np.uint64)
    high_N = bits_N.astype(np.uint64) - low_N
    masks = [(np.uint64(1) << bits) - np.uint64(1) for bits in (high_N, low_N)]
    rounds = [mixed(keys_N + np.uint64((r + 1) * GOLDEN & _MASK)) for r in range(_ROUNDS_EACH)]
    found_N, moving, x = np.empty_like(i_N), np.arange(i_N.size), i_N.astype(np.uint64)
    while x.size:
        sides = [x >> low_N, x & masks[1]]
        for r, key in enumerate(rounds):
            sides[r % 2] ^= mixed(sides[1 - r % 2] ^ key) & masks[r % 2]
        x = (sides[0] << low_N) | sides[1]
        inside = x < limit_N
        found_N[moving[inside]] = x[inside]
        out = np.flatnonzero(~inside)
        moving, x, low_N, limit_N = moving[out], x[out], low_N[out], limit_N[out]
        masks, rounds = [mask[out] for mask in masks], [key[out] for key in rounds]
    return found_N


def _walk(x: int, n: int, half: int, keys: Sequence[int]) -> int:
    """Where one element is sent."""
    mask = (1 << half) - 1
    while True:
        left, right = x >> half, x & mask
        for key in keys:
            left, right = right, left ^ (_mix_int(right ^ key) & mask)
        x = left << half | right
        if x < n:
            return x


def _feistel(x: NDArray[np.uint64], half: int, keys: Sequence[int | NDArray[np.uint64]]) -> NDArray[np.uint64]:
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = x >> shift, x & mask
    for key in keys:
        left, right = right, left ^ (mixed(right ^ np.asarray(key, np.uint64)) & mask)
    return (left << shift) | right


def mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A bijection of 64-bit values whose every output bit depends on every input bit, same shape as `x`.

    The finaliser of SplitMix64 (Steele, Lea and Flood 2014), wrapping at 2^64.
    """
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_MIX_1)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_MIX_2)
    return x ^ (x >> np.uint64(31))


def _mix_int(x: int) -> int:
    x &= _MASK
    x = (x ^ (x >> 30)) * _MIX_1 & _MASK
    x = (x ^ (x >> 27)) * _MIX_2 & _MASK
    return x ^ (x >> 31)
