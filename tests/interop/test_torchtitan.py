"""torchtitan: Python that is written and read, never run."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.errors import DataError
from cuvee.interop.record import Handover, token_shares
from cuvee.interop.torchtitan import TORCHTITAN
from tests.interop.handovers import TOKENS, handover

GOLDEN = Path(__file__).parent / "golden" / "torchtitan"
PATTERN = "/d/{slug}/*.jsonl"
TWO = ({"web": 0.6, "code": 0.3, "math": 0.1}, {"web": 0.2, "code": 0.0, "math": 0.8})
SOURCE = "SingleDatasetConfig(source=IndexedJsonlSource.Config(patterns=('/b/*.jsonl',)))"


@pytest.mark.parametrize("handed", [handover(pattern=PATTERN), handover(*TWO, pattern=PATTERN)], ids=["one", "two"])
def test_golden(handed: Handover) -> None:
    folder = GOLDEN / f"{len(handed.stages)}-phase"
    files = TORCHTITAN.render(handed)
    assert {p.name: p.read_text(encoding="utf-8") for p in folder.iterdir()} == dict(files)
    for text in files.values():
        ast.parse(text)


@given(st.lists(st.floats(0.005, 1.0), min_size=3, max_size=3))
@settings(max_examples=50)
def test_round_trip(raw: list[float]) -> None:
    wanted = dict(zip(TOKENS, (r / sum(raw) for r in raw), strict=True))
    handed = handover(wanted, pattern=PATTERN)
    (blend,) = TORCHTITAN.parse(TORCHTITAN.render(handed))
    exact = token_shares(blend.weights, handed, "tokens")
    assert all(abs(exact[d] - wanted[d]) < 1e-9 for d in wanted)
    got = token_shares(TORCHTITAN.rounded(blend, handed, handed.stages[0]), handed, "tokens")
    # Cutting to integers of at least 100 loses at most a hundredth of a weight against another.
    assert all(abs(got[d] - wanted[d]) <= 0.01 * wanted[d] * (1 - wanted[d]) * 1.02 + 1e-9 for d in wanted)


def test_written_by_people() -> None:
    text = f"""
books = {SOURCE}
books_packed = ConcatThenSplitPackingConfig(dataset=books)
def build(config):  # ours
    mix = DatasetMixConfig(datasets=(WeightedDataset(weight=3, dataset=books_packed),
        WeightedDataset(dataset=ConcatThenSplitPackingConfig(dataset=SingleDatasetConfig(
            source=HuggingFaceStreamingSource.Config(path="allenai/c4"))), weight=1)))
"""
    (blend,) = TORCHTITAN.parse({"config.py": text})
    assert dict(blend.weights) == {"/b/*.jsonl": 3.0, "allenai/c4": 1.0}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (f"WeightedDataset(dataset={SOURCE}, weight=1.0)", "before it is packed"),
        (
            f"x = DatasetMixConfig(datasets=(WeightedDataset(dataset={SOURCE}, weight=1),))\n"
            "y = ConcatThenSplitPackingConfig(dataset=x)",
            "around the mix",
        ),
        (f"WeightedDataset(dataset=ConcatThenSplitPackingConfig(dataset={SOURCE}))", "no weight"),
        (f"WeightedDataset(dataset=ConcatThenSplitPackingConfig(dataset={SOURCE}), weight=0.0)", "is 0"),
        (f"WeightedDataset(dataset=ConcatThenSplitPackingConfig(dataset={SOURCE}), weight=-1.0)", "is -1"),
        (f"WeightedDataset(dataset=ConcatThenSplitPackingConfig(dataset={SOURCE}), weight=a / b)", "computed"),
        ("x = 1", "no sources"),
        ("x = (", "no Python"),
    ],
)
def test_bad_files(text: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        TORCHTITAN.parse({"config.py": text})


def test_grain_mixes_these_weights() -> None:
    grain = pytest.importorskip("grain")
    wanted = {"web": 0.55, "code": 0.35, "math": 0.1}
    (blend,) = TORCHTITAN.parse(TORCHTITAN.render(handover(wanted)))
    rows = [grain.MapDataset.source([path]).repeat(9_000).to_iter_dataset() for path in blend.weights]
    mixed = iter(grain.IterDataset.mix(rows, list(blend.weights.values())))
    counts = Counter(next(mixed) for _ in range(3_000))
    assert all(abs(counts[f"/d/{d}"] / 3_000 - share) < 1e-3 for d, share in wanted.items())
