"""MaxText: records, the JSON and the string, and grain's own mix of what was written."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.errors import DataError
from cuvee.interop.grainmix import proportions
from cuvee.interop.maxtext import MAXTEXT
from cuvee.interop.record import Handover, token_shares
from tests.interop.handovers import ROW_TOKENS, TOKENS, handover

GOLDEN = Path(__file__).parent / "golden" / "maxtext"
PATTERN = "/d/{slug}/*.array_record"
TWO = ({"web": 0.6, "code": 0.3, "math": 0.1}, {"web": 0.2, "code": 0.0, "math": 0.8})


@pytest.mark.parametrize("handed", [handover(pattern=PATTERN), handover(*TWO, pattern=PATTERN)], ids=["one", "two"])
def test_golden(handed: Handover) -> None:
    folder = GOLDEN / f"{len(handed.stages)}-phase"
    assert {p.name: p.read_text(encoding="utf-8") for p in folder.iterdir()} == dict(MAXTEXT.render(handed))


@given(st.lists(st.floats(0.005, 1.0), min_size=3, max_size=3))
@settings(max_examples=50)
def test_round_trip(raw: list[float]) -> None:
    wanted = dict(zip(TOKENS, (r / sum(raw) for r in raw), strict=True))
    handed = handover(wanted)
    (blend,) = MAXTEXT.parse(MAXTEXT.render(handed))
    exact = token_shares(blend.weights, handed, "documents")
    assert all(abs(exact[d] - wanted[d]) < 1e-8 for d in wanted)
    got = token_shares(MAXTEXT.rounded(blend, handed, handed.stages[0]), handed, "documents")
    # Cutting to integers of at least 100 loses at most a hundredth of a weight against another.
    assert all(abs(got[d] - wanted[d]) <= 0.01 * wanted[d] * (1 - wanted[d]) * 1.02 + 1e-9 for d in wanted)


def test_the_string_is_rounded_to_four_decimals() -> None:
    (blend,) = MAXTEXT.parse({"run.sh": "dataset_type=grain \\\n grain_train_files='/a*,2;/b*,1' \\\n steps=10\n"})
    assert dict(blend.weights) == {"/a*": 0.6667, "/b*": 0.3333}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("/a*,0.99997;/b*,0.00003", "is 0"),
        ("/a*,0.5;/b*", "no weight"),
        ("/a*,0.5;", "no weight"),
        ("/a*,-1;/b*,2", "is '-1'"),
        ('{"a": {"path": "/a", "weight": 0}, "b": {"path": "/b", "weight": 1}}', "is 0"),
        ('{"a": {"path": "/a"}}', "'a' is"),
        ('{"a": ', "no JSON"),
        ("{}", "no sources"),
    ],
)
def test_bad_files(text: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        MAXTEXT.parse({"mixture.json": text})


def test_grain_mixes_what_was_written() -> None:
    grain = pytest.importorskip("grain")
    wanted = {"web": 0.6, "code": 0.3, "math": 0.1}
    handed = handover(wanted)
    (text,) = MAXTEXT.render(handed).values()
    entries = json.loads(text)
    records = [grain.MapDataset.source([name] * 20).repeat(2_000) for name in entries]
    mixed = grain.MapDataset.mix(records, weights=[entry["weight"] for entry in entries.values()])
    integers = proportions({name: entry["weight"] for name, entry in entries.items()})
    counts = Counter(mixed[i] for i in range(sum(integers.values())))
    tokens = {name: count * ROW_TOKENS[name] for name, count in counts.items()}
    assert all(abs(tokens[d] / sum(tokens.values()) - wanted[d]) < 1e-3 for d in wanted)
    assert dict(counts) == integers
