from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cuvee.base.errors import DataError
from cuvee.plan.sizes import Size
from cuvee.plan.trial import Start
from cuvee.proxies.model import Decoder
from cuvee.proxies.start import Weights, load_start, path_of, save_start, start_of

VOCAB = 50
SIZE = Size("checkpoint", layers=2, dim=32, heads=4, hidden=48, kv_heads=2, rotary_base=500.0, tied=True)


def drawn(size: Size = SIZE, vocab: int = VOCAB, block: int = 0) -> Weights:
    """The weights of a model, by name."""
    model = Decoder(size, vocab, 1, seed=0, block=block)
    return {name: weight[0].detach().numpy() for name, weight in model.named_parameters()}


@pytest.fixture
def start(tmp_path: Path) -> Start:
    weights = drawn()
    made = start_of(SIZE, VOCAB, weights)
    assert save_start(tmp_path, made, weights) == path_of(tmp_path, made)
    return made


def test_the_name_follows_from_the_content() -> None:
    weights = drawn()
    sha = start_of(SIZE, VOCAB, weights).sha
    assert sha == start_of(SIZE, VOCAB, dict(reversed(list(weights.items())))).sha
    renamed = {name.replace("gate", "up2"): array for name, array in weights.items()}
    turned = {name: array.T if "qkv" in name else array for name, array in weights.items()}
    others = [
        start_of(SIZE, VOCAB + 1, weights),
        start_of(Size("checkpoint", 2, 32, 4, 48, kv_heads=2, rotary_base=501.0, tied=True), VOCAB, weights),
        start_of(SIZE, VOCAB, drawn(block=1)),
        start_of(SIZE, VOCAB, renamed),
        start_of(SIZE, VOCAB, turned),
    ]
    assert len({sha, *(other.sha for other in others)}) == 6


def test_hashes_are_a_format() -> None:
    weights = {"table": np.arange(6, dtype=np.float32).reshape(2, 3)}
    assert start_of(Size("checkpoint", 1, 3, 1, 4), 2, weights).sha == "e9504b59b468faee8c54ce8f41414352"


def test_weights_come_back_to_the_bit(start: Start, tmp_path: Path) -> None:
    back = load_start(tmp_path, start)
    assert back.keys() == drawn().keys()
    assert all(np.array_equal(back[name], array) for name, array in drawn().items())


def test_a_file_that_is_not_what_it_was(start: Start, tmp_path: Path) -> None:
    path = path_of(tmp_path, start)
    data = path.read_bytes()
    for broken in (b"", b"no archive", data[: len(data) // 2], data[:-1], data[:5000] + b"x" + data[5001:]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"(?s)cannot be read.*remove it"):
            load_start(tmp_path, start)
    path.unlink()
    with pytest.raises(DataError, match=r"npz is missing"):
        load_start(tmp_path, start)


def test_other_weights_under_its_name(start: Start, tmp_path: Path) -> None:
    path_of(tmp_path, start).unlink()
    save_start(tmp_path, start, drawn(block=1))
    with pytest.raises(DataError, match=rf"(?s)other weights: their hash is .*wanted: {start.sha}"):
        load_start(tmp_path, start)


def test_objects_are_not_read(start: Start, tmp_path: Path) -> None:
    np.savez(path_of(tmp_path, start), table=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="cannot be read: Object arrays"):
        load_start(tmp_path, start)


def test_a_newer_format_is_refused(start: Start, tmp_path: Path) -> None:
    np.savez(path_of(tmp_path, start), format=np.int64(2), table=np.zeros(3, np.float32))
    with pytest.raises(DataError, match=r"(?s)has format 2.*upgrade cuvee"):
        load_start(tmp_path, start)
