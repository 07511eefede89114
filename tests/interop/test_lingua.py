"""lingua: plain directories under one root, weights of documents."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.errors import DataError
from cuvee.interop.lingua import LINGUA
from cuvee.interop.record import Handover, token_shares
from tests.interop.handovers import TOKENS, handover

GOLDEN = Path(__file__).parent / "golden" / "lingua"
TWO = ({"web": 0.6, "code": 0.3, "math": 0.1}, {"web": 0.2, "code": 0.0, "math": 0.8})


@pytest.mark.parametrize("handed", [handover(), handover(*TWO)], ids=["one", "two"])
def test_golden(handed: Handover) -> None:
    folder = GOLDEN / f"{len(handed.stages)}-phase"
    assert {p.name: p.read_text(encoding="utf-8") for p in folder.iterdir()} == dict(LINGUA.render(handed))


@given(st.lists(st.floats(0.005, 1.0), min_size=3, max_size=3))
@settings(max_examples=50)
def test_round_trip(raw: list[float]) -> None:
    wanted = dict(zip(TOKENS, (r / sum(raw) for r in raw), strict=True))
    handed = handover(wanted)
    (blend,) = LINGUA.parse(LINGUA.render(handed))
    got = token_shares(LINGUA.rounded(blend, handed, handed.stages[0]), handed, "documents")
    assert all(abs(got[d] - wanted[d]) < 1e-3 for d in wanted)


def test_written_by_people() -> None:
    text = "name: run # ours\ndata:\n  sources: {web: 80, code: 20, old: 0}\n  root_dir: /d/\n  batch_size: 4\n"
    (blend,) = LINGUA.parse({"run.yaml": text})
    assert dict(blend.weights) == {"/d/web": 80, "/d/code": 20}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("data: {root_dir: /d}", "sources"),
        ("data: {root_dir: /d, sources: [web, code]}", "sources is"),
        ("data: {root_dir: /d, sources: {web: -1}}", "is -1"),
        ("data: {root_dir: /d, sources: {web: }}", "is None"),
        ("data: {root_dir: /d, sources: {web: 0}}", "no sources"),
    ],
)
def test_bad_files(text: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        LINGUA.parse({"run.yaml": text})


@pytest.mark.parametrize("pattern", ["/d/{slug}/x", "/d/{slug}*"])
def test_paths_that_the_format_forbids(pattern: str) -> None:
    with pytest.raises(DataError) as caught:
        LINGUA.render(handover(pattern=pattern))
    assert caught.value.fix
