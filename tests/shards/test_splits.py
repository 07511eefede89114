from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.base.errors import UsageError
from cuvee.shards.splits import split_of

HASHES = st.integers(0, 2**64 - 1)


def test_vectors_are_pinned_because_they_are_a_stored_format() -> None:
    letters = "".join(split_of(i, 0.2, 0.2)[0] for i in range(12))
    assert letters == "vstvvsttvvvt"


def test_shares_are_what_was_asked_also_for_hashes_that_are_small() -> None:
    found = [split_of(i, 0.1, 0.05) for i in range(20_000)]
    assert abs(found.count("search") / 20_000 - 0.1) < 0.01
    assert abs(found.count("verify") / 20_000 - 0.05) < 0.01


@given(HASHES, st.floats(0, 0.3), st.floats(0, 0.3), st.floats(0, 0.3))
def test_changing_one_share_leaves_the_other_split_as_it_is(
    cluster: int, search: float, verify: float, other: float
) -> None:
    assert (split_of(cluster, search, verify) == "verify") == (split_of(cluster, other, verify) == "verify")
    assert (split_of(cluster, search, verify) == "search") == (split_of(cluster, search, other) == "search")


@given(HASHES)
def test_without_held_out_shares_all_is_for_training(cluster: int) -> None:
    assert split_of(cluster, 0.0, 0.0) == "train"


@pytest.mark.parametrize(("search", "verify"), [(0.5, 0.5), (-0.1, 0.1), (0.1, -0.1), (1.0, 0.0)])
def test_shares_that_leave_nothing_are_refused(search: float, verify: float) -> None:
    with pytest.raises(UsageError):
        split_of(1, search, verify)
