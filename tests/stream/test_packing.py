from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.errors import DataError
from cuvee.stream.packing import Sequences
from tests.pools import made


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 12), st.integers(0, 2**31), st.integers(0, 9)
)
def test_every_pass_has_every_sequence_once(lengths: list[int], seq_len: int, seed: int, block: int) -> None:
    source = made([*lengths, seq_len])
    sequences = Sequences("x", source, seq_len, seed, block)
    assert sequences.count == (source.tokens - 1) // seq_len
    for epoch in range(2):
        starts = sequences.places(epoch * sequences.count + np.arange(sequences.count))
        assert sorted(starts.tolist()) == [j * seq_len for j in range(sequences.count)]


def test_items_are_flat_tokens_and_their_documents() -> None:
    source = made([3, 1, 0, 6, 0, 0, 2, 9])
    sequences = Sequences("x", source, 4, 0, 0)
    document = np.repeat(np.arange(8), [3, 1, 0, 6, 0, 0, 2, 9])
    items_N = np.arange(20)
    tokens_NL1, documents_NL1 = np.empty((20, 5), np.int64), np.empty((20, 5), np.int32)
    for place, tokens_L1, documents_L1 in zip(
        sequences.places(items_N).tolist(), tokens_NL1, documents_NL1, strict=True
    ):
        sequences.read(place, tokens_L1)
        sequences.documents(place, documents_L1)
    assert np.array_equal(tokens_NL1, sequences.places(items_N)[:, None] + np.arange(5))
    assert np.array_equal(documents_NL1, document[tokens_NL1])


def test_passes_seeds_blocks_and_names_have_orders_of_their_own() -> None:
    source = made([1000])

    def order(name: str = "x", seed: int = 0, block: int = 0, first: int = 0) -> tuple[int, ...]:
        sequences = Sequences(name, source, 10, seed, block)
        return tuple(sequences.places(first + np.arange(99)).tolist())

    assert order() == order()
    assert len({order(), order("y"), order(seed=1), order(block=1), order(first=99)}) == 5


def test_any_item_can_be_asked_for_at_any_time() -> None:
    one, two = (Sequences("x", made([1000]), 7, 0, 0) for _ in range(2))
    back = [int(two.places(np.array([k]))[0]) for k in reversed(range(3000))]
    assert one.places(np.arange(3000)).tolist() == back[::-1]


def test_a_source_of_exactly_one_sequence_will_do_and_one_shorter_will_not() -> None:
    assert Sequences("x", made([9]), 8, 0, 0).count == 1
    with pytest.raises(DataError, match="domain 'x' has 8 tokens, less than one sequence"):
        Sequences("x", made([8]), 8, 0, 0)
