from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuvee.base.errors import DataError
from cuvee.shards.examples import Tokenised


def some(**changed: Any) -> Tokenised:
    arrays: dict[str, Any] = {
        "tokens_WL1": np.arange(12, dtype=np.int32).reshape(3, 4),
        "counts_WL": np.array([[0, 1, 1], [0, 0, 1], [1, 1, 1]], np.bool_),
        "example_W": np.array([0, 0, 1], np.int32),
        "choice_W": np.array([0, 1, 0], np.int32),
        "gold_E": np.array([1, 0], np.int32),
        "bytes_EC": np.array([[4, 2], [9, 0]], np.int64),
    }
    return Tokenised("choice", **{**arrays, **changed})


def test_saved_and_loaded(tmp_path: Path) -> None:
    some().save(tmp_path / "a.npz")
    found = Tokenised.load(tmp_path / "a.npz")
    assert (found.kind, found.seq_len, found.sha) == ("choice", 3, some().sha)
    for field in dataclasses.fields(found)[1:]:
        left, right = getattr(found, field.name), getattr(some(), field.name)
        assert left.dtype == right.dtype
        assert (left == right).all()
    some().save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_the_sha_sees_every_array() -> None:
    changed = [some(gold_E=np.array([0, 0], np.int32)), some(choice_W=np.array([0, 1, 1], np.int32))]
    changed += [some(counts_WL=~some().counts_WL), some(bytes_EC=some().bytes_EC + 1)]
    assert len({some().sha, *(c.sha for c in changed)}) == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"counts_WL": np.ones((3, 4), np.bool_)},
        {"example_W": np.array([0, 0, 2], np.int32)},
        {"choice_W": np.array([0, 2, 0], np.int32)},
        {"gold_E": np.array([1], np.int32)},
        {"gold_E": np.array([2, 0], np.int32)},
        {"tokens_WL1": np.zeros((3, 4), np.int64)},
    ],
)
def test_arrays_that_do_not_fit(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="do not fit together"):
        some(**wrong)


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(DataError, match="holds no examples"):
        Tokenised.load(path)
    some().save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="holds no examples"):
        Tokenised.load(path)
    np.savez(path, format=np.array(2))
    with pytest.raises(DataError, match="has format 2"):
        Tokenised.load(path)
    np.savez(path, format=np.array(1), kind=np.array([object()], object))
    with pytest.raises(DataError, match="holds no examples"):
        Tokenised.load(path)


def test_loading_needs_numpy_only(tmp_path: Path) -> None:
    some().save(tmp_path / "a.npz")
    code = (
        "import sys; from pathlib import Path; from cuvee.shards.examples import Tokenised\n"
        f"Tokenised.load(Path({str(tmp_path / 'a.npz')!r}))\n"
        "print(sorted({'torch', 'scipy', 'pyarrow', 'tokenizers', 'rensa'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
