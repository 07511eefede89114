from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.errors import UsageError
from cuvee.shards.pools import Pool, draw
from cuvee.testing.corpora import synthetic
from tests.pools import made

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=60)


def documents(pool: Pool) -> list[list[int]]:
    return [pool.document(i).tolist() for i in range(pool.documents)]


@settings(max_examples=40)
@given(LENGTHS, st.integers(0, 2**64 - 1), st.data())
def test_whole_documents_each_once_only_the_last_cut(lengths: list[int], key: int, data: st.DataObject) -> None:
    source = made(lengths)
    tokens = data.draw(st.integers(0, source.tokens))
    pool = draw(source, tokens, key)
    assert pool.tokens == tokens == int(pool.ends[-1:].sum())
    found = documents(pool)
    whole = {document[0]: document for document in documents(source)}
    assert all(whole[d[0]] == d for d in found[:-1])
    assert all(whole[d[0]][: len(d)] == d for d in found[-1:])
    assert len({d[0] for d in found}) == len(found)


@settings(max_examples=40)
@given(LENGTHS, st.integers(0, 2**64 - 1), st.data())
def test_a_smaller_pool_is_the_beginning_of_a_larger(lengths: list[int], key: int, data: st.DataObject) -> None:
    source = made(lengths)
    small = data.draw(st.integers(0, source.tokens))
    large = data.draw(st.integers(small, source.tokens))
    assert draw(source, large, key).flat(0, small).tolist() == draw(source, small, key).flat(0, small).tolist()


def test_many_documents_across_blocks_of_the_permutation() -> None:
    source = made([2] * 5000)
    pool = draw(source, source.tokens, 3)
    assert sorted(pool.data.tolist()) == list(range(10_000))


def test_keys_draw_differently_and_a_corpus_can_be_drawn_from(tmp_path: Path) -> None:
    source = synthetic(tmp_path).source("a", "train")
    one, two = draw(source, 5000, 1), draw(source, 5000, 2)
    assert one.data.tolist() != two.data.tolist()
    assert one.data.dtype == np.uint16
    assert draw(source, 5000, 1).data.tolist() == one.data.tolist()


def test_an_empty_pool_is_one() -> None:
    assert draw(made([3]), 0, 1).tokens == 0


def test_more_than_there_is_is_refused() -> None:
    with pytest.raises(UsageError, match="a pool of 4 tokens from 3"):
        draw(made([3]), 4, 1)
