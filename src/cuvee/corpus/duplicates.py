"""Stage 2, clusters: documents that must stay on one side of the split, across all domains.

Joined are exact copies, near-duplicates (an equal MinHash band; about 70 % of 5-word shingles shared) and parts of one
source file; clusters are the connected components. Nothing is removed: duplicates are the owner's to weigh.

Letters: N documents, C clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cuvee.corpus.documents import Documents
from cuvee.corpus.words import BANDS, I64, U64


@dataclass(frozen=True)
class Clusters:
    """The clusters.

    Args:
        of_N: Cluster of each document.
        key_C: The smallest text hash in each cluster: its name, the same whatever the order of reading.
    """

    of_N: I64
    key_C: U64


@dataclass(frozen=True)
class DuplicateReport:
    """What was found, in documents.

    Args:
        exact: Copies of an earlier document of the same domain; kept.
        near_clusters: Clusters of more than one distinct text.
        near_documents: Distinct texts in those clusters.
        across_domains: Clusters with documents of more than one domain.
    """

    exact: int
    near_clusters: int
    near_documents: int
    across_domains: int


def cluster(documents: Documents) -> Clusters:
    """The clusters of all documents; two passes over 8 bytes a document for each of the 16 bands."""
    labels_N = np.arange(documents.count, dtype=np.int64)
    group_N = documents.group_N
    grouped = np.flatnonzero(group_N)
    labels_N = joined(labels_N, group_N[grouped], grouped)
    labels_N = joined(labels_N, documents.hash_N)
    for band in range(BANDS):
        labels_N = joined(labels_N, documents.bands(band))
    names, of_N = np.unique(labels_N, return_inverse=True)
    key_C = np.full(len(names), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(key_C, of_N, documents.hash_N)
    return Clusters(of_N.astype(np.int64), key_C)


def joined(labels_N: I64, keys: U64, at: I64 | None = None) -> I64:
    """Labels after joining all documents (at the places `at`) whose keys are equal, shape N."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    order = np.argsort(keys, kind="stable")
    equal = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
    if not len(equal):
        return labels_N
    where = order if at is None else at[order]
    left, right = labels_N[where[equal]], labels_N[where[equal + 1]]
    count = int(labels_N.max()) + 1
    edges = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    _, component = connected_components(edges, directed=False)
    return np.asarray(component, np.int64)[labels_N]


def report(documents: Documents, clusters: Clusters) -> DuplicateReport:
    """Counts of exact and near duplicates."""
    copies = documents.count - _distinct(documents.domain_N, documents.hash_N)
    order = np.lexsort((documents.hash_N, clusters.of_N))
    of, text = clusters.of_N[order], documents.hash_N[order]
    new = np.concatenate(([True], (of[1:] != of[:-1]) | (text[1:] != text[:-1])))
    texts_C = np.bincount(of[new], minlength=len(clusters.key_C))
    pairs = np.unique(clusters.of_N * len(documents.domains) + documents.domain_N)
    domains_C = np.bincount(pairs // len(documents.domains))
    return DuplicateReport(
        exact=copies,
        near_clusters=int((texts_C > 1).sum()),
        near_documents=int(texts_C[texts_C > 1].sum()),
        across_domains=int((domains_C > 1).sum()),
    )


def _distinct(first: NDArray[np.int32], second: U64) -> int:
    order = np.lexsort((second, first))
    a, b = first[order], second[order]
    return int(((a[1:] != a[:-1]) | (b[1:] != b[:-1])).sum()) + 1
