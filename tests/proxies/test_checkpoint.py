from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

from cuvee.proxies.checkpoint import Saved, _digest, load, save
from cuvee.stream.state import MixerState, Weights


def saved() -> Saved:
    state = MixerState(0, 1, 32, 3, ("a", "b"), (Weights(0, (1 << 31, 1 << 31)),), (), 7, (-5, 5), (10, 11))
    return Saved(
        ids=("one", "two"),
        way="fp32 eager cpu",
        step=7,
        weights={"table": torch.arange(6.0).view(2, 3, 1)},
        optimiser={"first": [torch.ones(2, 3, 1)], "second": [torch.ones(2, 3, 1)], "count": torch.tensor(7.0)},
        mixers=(state, state),
        nats_STK=[[[1.5, float("nan")]]],
        falls={1: (3, (64, 32))},
        spent=(1.0, 2.0),
    )


def test_survives(checkpoint: Path) -> None:
    before = saved()
    save(checkpoint, before)
    after = load(checkpoint, ("one", "two"), "fp32 eager cpu")
    assert after is not None
    assert torch.equal(after.weights["table"], before.weights["table"])
    assert repr({**vars(after), "weights": 0}) == repr({**vars(before), "weights": 0})
    assert [p.name for p in checkpoint.parent.iterdir()] == [checkpoint.name]


def test_none_when_missing_or_of_other_trials(checkpoint: Path) -> None:
    assert load(checkpoint, ("one", "two"), "fp32 eager cpu") is None
    save(checkpoint, saved())
    assert load(checkpoint, ("one",), "fp32 eager cpu") is None
    assert load(checkpoint, ("two", "one"), "fp32 eager cpu") is None
    assert load(checkpoint, ("one", "two"), "bf16 eager cpu") is None


@pytest.mark.parametrize("keep", [0, 1, 100, -100])
def test_none_when_cut_short(checkpoint: Path, keep: int) -> None:
    save(checkpoint, saved())
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    assert load(checkpoint, ("one", "two"), "fp32 eager cpu") is None


def test_none_when_a_byte_of_a_tensor_changed(checkpoint: Path) -> None:
    save(checkpoint, saved())
    data = bytearray(checkpoint.read_bytes())
    data[data.index(torch.arange(6.0).numpy().tobytes()) + 7] ^= 1
    checkpoint.write_bytes(data)
    assert load(checkpoint, ("one", "two"), "fp32 eager cpu") is None


def test_none_when_it_is_something_else(checkpoint: Path) -> None:
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"text")
    assert load(checkpoint, ("one", "two"), "fp32 eager cpu") is None
    for data in ({"format": 2, "ids": ("one", "two")}, {"format": 1, "ids": ("one", "two")}, [1], {}):
        buffer = io.BytesIO()
        torch.save(data, buffer)
        checkpoint.write_bytes(_digest(buffer.getvalue()) + buffer.getvalue())
        assert load(checkpoint, ("one", "two"), "fp32 eager cpu") is None
