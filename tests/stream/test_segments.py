from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from cuvee.stream.bestfit import BestFit
from cuvee.stream.packing import Concat, Packing
from cuvee.stream.segments import IGNORED, begins, cu_seqlens, labels, positions
from tests.pools import made

Rows = tuple[NDArray[np.int64], NDArray[np.int32]]


def rows(packing: Packing, lengths: list[int], seq_len: int, n: int) -> Rows:
    items = packing.items("x", made(lengths), seq_len, 0, 0)
    tokens, documents = np.empty((n, seq_len + 1), np.int64), np.empty((n, seq_len + 1), np.int32)
    for place, tokens_L1, documents_L1 in zip(items.places(np.arange(n)).tolist(), tokens, documents, strict=True):
        items.read(place, tokens_L1)
        items.documents(place, documents_L1)
    return tokens, documents


def test_a_row_by_hand() -> None:
    documents = np.array([[3, 3, 3, 0, 0, -1, -1], [0, 7, 7, 7, 7, 7, 7]], np.int32)
    assert positions(documents).tolist() == [[0, 1, 2, 0, 1, 0, 1], [0, 0, 1, 2, 3, 4, 5]]
    assert cu_seqlens(documents).tolist() == [0, 3, 5, 7, 8, 14]
    assert {a.dtype for a in (positions(documents), cu_seqlens(documents))} == {np.dtype("int32")}
    tokens = np.arange(14).reshape(2, 7)
    assert labels(tokens, documents).tolist() == [[1, 2, 3, 4, IGNORED, IGNORED], [8, 9, 10, 11, 12, 13]]


@settings(max_examples=60)
@given(arrays(np.int32, st.tuples(st.integers(1, 5), st.integers(1, 12)), elements=st.integers(-1, 2)))
def test_segments_are_runs_of_one_document_and_no_longer(documents: NDArray[np.int32]) -> None:
    cuts, place = cu_seqlens(documents), positions(documents).ravel()
    assert (cuts[0], cuts[-1]) == (0, documents.size)
    for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        assert start // documents.shape[1] == (stop - 1) // documents.shape[1]
        assert len(set(documents.ravel()[start:stop].tolist())) == 1
        assert place[start:stop].tolist() == list(range(stop - start))
    assert np.array_equal(begins(documents), positions(documents) == 0)
    inside = np.setdiff1d(cuts[1:-1], np.arange(0, documents.size, documents.shape[1]))
    assert (documents.ravel()[inside] != documents.ravel()[inside - 1]).all()


@pytest.mark.parametrize("packing", [Concat(), BestFit()])
def test_block_diagonal_attention_over_rows_is_attention_over_each_document_alone(packing: Packing) -> None:
    lengths = np.random.default_rng(0).integers(1, 40, 60).tolist()
    tokens, documents = rows(packing, lengths, 32, 12)
    tokens, documents = tokens[:, :-1], documents[:, :-1]
    place, cuts = torch.from_numpy(positions(documents)).long(), cu_seqlens(documents).tolist()
    generator = torch.Generator().manual_seed(0)
    # position ids reach the queries and keys, so that one that does not restart would show
    words = torch.randn(3, int(tokens.max()) + 1, 2, 8, generator=generator, dtype=torch.float64)
    places = torch.randn(2, 32, 2, 8, generator=generator, dtype=torch.float64)

    def qkv(ids: torch.Tensor, where: torch.Tensor) -> list[torch.Tensor]:
        parts = [words[0, ids] + places[0, where], words[1, ids] + places[1, where], words[2, ids]]
        return [part.transpose(-3, -2) for part in parts]

    numbers = torch.from_numpy(documents)
    mask = (numbers[:, :, None] == numbers[:, None, :]) & torch.ones(32, 32, dtype=torch.bool).tril()
    q, k, v = qkv(torch.from_numpy(tokens), place)
    dense = scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None])
    flat = dense.transpose(1, 2).reshape(-1, 2, 8)
    compared = 0
    for start, stop in pairwise(cuts):
        if documents.ravel()[start] < 0:  # padding, whose labels do not count
            continue
        q, k, v = qkv(torch.from_numpy(tokens.ravel()[start:stop]), torch.arange(stop - start))
        alone = scaled_dot_product_attention(q, k, v, is_causal=True)
        torch.testing.assert_close(flat[start:stop], alone.transpose(0, 1))
        compared += stop - start
    assert compared == (documents >= 0).sum() > 300


def test_labels_leave_padding_out_of_the_loss() -> None:
    tokens, documents = rows(BestFit(pad=0), [5, 7, 6, 3], 8, 3)
    wanted = labels(tokens, documents)
    assert (wanted == IGNORED).sum() == 3 * 8 - 21
    logits = torch.randn(3, 8, 21, generator=torch.Generator().manual_seed(1))
    kept = torch.from_numpy(documents[:, 1:] >= 0)
    by_hand = cross_entropy(logits[kept], torch.from_numpy(tokens[:, 1:])[kept])
    assert torch.equal(cross_entropy(logits.flatten(0, 1), torch.from_numpy(wanted).flatten()), by_hand)
