"""Stage 3, the three splits: by the hash of each cluster, then mended so that every domain holds out enough, not too much.

Letters: N documents, C clusters, D domains, P pairs of a cluster and a domain it has text in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError, UsageError
from cuvee.base.permutation import mixed
from cuvee.base.rng import key64
from cuvee.corpus.documents import Documents
from cuvee.corpus.duplicates import Clusters
from cuvee.corpus.words import I64, U64
from cuvee.shards.splits import SPLITS, split_of

MOST = 0.15
"""At most this share of a domain's bytes goes to one held-out split."""
TRAIN, SEARCH, VERIFY = 0, 1, 2
LEFT_OUT = 3
"""Of no split: what decontamination takes from train."""


@dataclass(frozen=True)
class Shares:
    """What to hold out: shares of clusters for search and verify, and the least bytes of each per domain.

    Raises:
        UsageError: shares that are not positive or above 15 %, a negative least size.
    """

    search: float
    verify: float
    min_bytes: int

    def __post_init__(self) -> None:
        if not (0 < self.search <= MOST and 0 < self.verify <= MOST):
            raise UsageError(
                f"got held-out shares search={self.search}, verify={self.verify}",
                wanted=f"each above 0, at most {MOST}",
            )
        if self.min_bytes < 0:
            raise UsageError(f"got min_held_out_bytes={self.min_bytes}", wanted="0 or more")


@dataclass
class _Pairs:
    """Bytes that each cluster has in each domain, sorted by domain, inside it by the place of the cluster's hash."""

    cluster_P: I64
    domain_P: I64
    bytes_P: I64
    total_D: I64
    alone_P: NDArray[np.bool_]

    @classmethod
    def of(cls, documents: Documents, clusters: Clusters, place_C: U64) -> _Pairs:
        width = len(documents.domains)
        pairs, where = np.unique(clusters.of_N * width + documents.domain_N, return_inverse=True)
        size = np.zeros(len(pairs), np.int64)
        np.add.at(size, where, documents.bytes_N)
        of, domain = pairs // width, pairs % width
        order = np.lexsort((of, place_C[of], domain))
        of, domain, size = of[order], domain[order], size[order]
        total = np.zeros(width, np.int64)
        np.add.at(total, domain, size)
        return cls(of, domain, size, total, np.bincount(of)[of] == 1)

    def in_domain(self, domain: int) -> slice:
        low, high = np.searchsorted(self.domain_P, [domain, domain + 1])
        return slice(int(low), int(high))


def split(documents: Documents, clusters: Clusters, shares: Shares, seed: int) -> NDArray[np.uint8]:
    """The split of every document (0 train, 1 search, 2 verify), shape N.

    A cluster goes where its hash says. One that is more than 15 % of a domain goes to train. Where a domain then holds out
    more than 15 %, its last clusters in hash order return to train; where it holds out too little, its first train
    clusters in hash order follow until `min_bytes` or 15 % are reached.

    Raises:
        DataError: a domain that cannot hold out any text.
    """
    salt = key64(seed, "corpus.split")
    number = {name: i for i, name in enumerate(SPLITS)}
    keys_C = clusters.key_C ^ np.uint64(salt)
    side_C = np.fromiter(
        (number[split_of(int(key), shares.search, shares.verify)] for key in keys_C), np.uint8, len(keys_C)
    )
    pairs = _Pairs.of(documents, clusters, mixed(keys_C))
    side_C[pairs.cluster_P[pairs.bytes_P > MOST * pairs.total_D[pairs.domain_P]]] = TRAIN
    for domain in range(len(documents.domains)):
        for side in (SEARCH, VERIFY):
            _shrink(side_C, pairs, domain, side)
    for domain in range(len(documents.domains)):
        for side in (SEARCH, VERIFY):
            _grow(side_C, pairs, domain, side, shares.min_bytes)
    side_N: NDArray[np.uint8] = side_C[clusters.of_N]
    _check(documents, clusters, side_N)
    return side_N


def _shrink(side_C: NDArray[np.uint8], pairs: _Pairs, domain: int, side: int) -> None:
    inside = pairs.in_domain(domain)
    clusters, sizes = pairs.cluster_P[inside], pairs.bytes_P[inside]
    held = np.flatnonzero(side_C[clusters] == side)
    too_many = np.cumsum(sizes[held]) > MOST * pairs.total_D[domain]
    side_C[clusters[held[too_many]]] = TRAIN


def _grow(side_C: NDArray[np.uint8], pairs: _Pairs, domain: int, side: int, min_bytes: int) -> None:
    inside = pairs.in_domain(domain)
    clusters, sizes, alone = pairs.cluster_P[inside], pairs.bytes_P[inside], pairs.alone_P[inside]
    most = MOST * pairs.total_D[domain]
    held = int(sizes[side_C[clusters] == side].sum())
    # at least something, even when no least size is asked for
    wanted = max(min_bytes, 1)
    # clusters of several domains last: moving them changes what the others hold out
    for only_here in (True, False):
        for i in np.flatnonzero((side_C[clusters] == TRAIN) & (alone == only_here)):
            if held >= wanted:
                return
            if held + sizes[i] <= most:
                side_C[clusters[i]] = side
                held += int(sizes[i])


def _check(documents: Documents, clusters: Clusters, side_N: NDArray[np.uint8]) -> None:
    width = len(SPLITS)
    key_N = documents.domain_N.astype(np.int64) * width + side_N
    count_DS = np.bincount(key_N, minlength=len(documents.domains) * width).reshape(-1, width)
    for domain in np.flatnonzero(count_DS.min(axis=1) == 0):
        here = documents.domain_N == domain
        raise DataError(
            f"the domain {documents.domains[domain]!r} has no held-out text: its {int(here.sum())} documents"
            f" ({int(documents.bytes_N[here].sum()):,} bytes) form {len(np.unique(clusters.of_N[here]))} clusters of"
            " near-duplicates or parts of one file",
            wanted=f"clusters of at most {MOST:.0%} of the domain, for search and for verify",
            fix="give it more text or smaller documents, join it with another domain, or leave it out",
        )
