"""OLMo-core: ratios that sum to one, caps, whole sequences, and its own mixture over small files."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.errors import CuveeError, DataError, InfeasibleError
from cuvee.interop.olmo import OLMO
from cuvee.interop.record import Handover, token_shares
from tests.interop.handovers import TOKENS, handover

GOLDEN = Path(__file__).parent / "golden" / "olmo-core"
TWO = ({"web": 0.6, "code": 0.3, "math": 0.1}, {"web": 0.2, "code": 0.0, "math": 0.8})


@pytest.mark.parametrize("handed", [handover(), handover(*TWO, caps={"math": 4.0})], ids=["one", "two"])
def test_golden(handed: Handover) -> None:
    folder = GOLDEN / f"{len(handed.stages)}-phase"
    assert {p.name: p.read_text(encoding="utf-8") for p in folder.iterdir()} == dict(OLMO.render(handed))


@given(st.lists(st.floats(0.005, 1.0), min_size=3, max_size=3))
@settings(max_examples=50)
def test_round_trip(raw: list[float]) -> None:
    wanted = dict(zip(TOKENS, (r / sum(raw) for r in raw), strict=True))
    handed = handover(wanted)
    (blend,) = OLMO.parse(OLMO.render(handed))
    got = token_shares(OLMO.rounded(blend, handed, handed.stages[0]), handed, "tokens")
    assert all(abs(got[d] - wanted[d]) < 1e-3 for d in wanted)


def test_ratios_sum_to_one_in_decimals() -> None:
    handed = handover(dict.fromkeys(TOKENS, 1 / 3))
    rows = yaml.safe_load(OLMO.render(handed)["source_mixture-00.yaml"])["sources"]
    assert sum(row["target_ratio"] for row in rows) == pytest.approx(1, abs=1e-14)


def test_a_domain_gets_the_passes_it_needs_and_no_more_than_its_cap_leaves() -> None:
    needs = 0.8 * 4_096_000 / 1_800_000
    (free,) = OLMO.parse(OLMO.render(handover({"web": 0.2, "math": 0.8})))
    assert needs <= free.caps["/d/math"] < needs + 1e-5
    assert free.caps["/d/web"] == 1
    (capped,) = OLMO.parse(OLMO.render(handover({"web": 0.2, "math": 0.8}, caps={"math": 3.0, "web": 0.5})))
    assert capped.caps == {"/d/web": 0.5, "/d/math": 3.0}


def test_passes_of_other_phases_count_against_the_cap() -> None:
    first, second = OLMO.parse(OLMO.render(handover(*TWO, caps={"math": 4.0})))
    assert first.caps["/d/math"] == pytest.approx(4 - 0.8 * 2_048_000 / 1_800_000)
    assert second.caps["/d/math"] == pytest.approx(4 - 0.1 * 2_048_000 / 1_800_000)
    assert "/d/code" not in second.weights
    with pytest.raises(InfeasibleError, match="its cap is 1"):
        OLMO.render(handover(*TWO, caps={"math": 1.0}))


def test_a_share_below_a_sequence_shows() -> None:
    handed = handover({"web": 0.9999, "math": 0.0001}, tokens=1_024_000)
    (blend,) = OLMO.parse(OLMO.render(handed))
    assert OLMO.rounded(blend, handed, handed.stages[0])["/d/math"] == 0


def test_written_by_people() -> None:
    text = (
        "# ours\nsources:\n- {paths: [/b/*.npy, /c/*.npy], target_ratio: 1, source_name: x}\n"
        "- {source_name: y, target_ratio: 0, paths: [/y]}\n"
    )
    (blend,) = OLMO.parse({"mix.yaml": text})
    assert dict(blend.weights) == {"/b/*.npy": 0.5, "/c/*.npy": 0.5}
    assert blend.start == 0


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("sources: [{source_name: x, target_ratio: 0.5, paths: [/x]}]", "sum to 0.5"),
        ("sources: [{source_name: x, paths: [/x]}]", "no target_ratio"),
        ("sources: [{source_name: x, target_ratio: -1, paths: [/x]}]", "is -1"),
        ("sources: [{source_name: x, target_ratio: 1, paths: []}]", "the paths of 'x'"),
        ("sources: [{source_name: x, target_ratio: 1, paths: [/x], max_repetition_ratio: 0.5}]", "repetition"),
        (
            "sources: [{source_name: x, target_ratio: 1, paths: [/x]}, {source_name: x, target_ratio: 0, paths: [/z]}]",
            "twice",
        ),
        ("sources: []", "sources is"),
        ("[1, 2]", "not a mapping"),
    ],
)
def test_bad_files(text: str, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        OLMO.parse({"mix.yaml": text})
    assert isinstance(caught.value, CuveeError)
    assert caught.value.wanted


@pytest.mark.slow
@pytest.mark.parametrize("shares", [(TWO[0],), TWO, ({"web": 0.2, "math": 0.8},)], ids=["one", "two", "repeated"])
def test_its_own_mixture_is_what_we_foretell(shares: tuple[dict[str, float], ...], tmp_path: Path) -> None:
    mixture = pytest.importorskip("olmo_core.data.source_mixture")
    import numpy as np

    for domain, tokens in TOKENS.items():
        np.zeros(tokens, np.uint16).tofile(tmp_path / f"{domain}.npy")
    handed = handover(*shares, pattern=f"{tmp_path}/{{slug}}.npy", caps={"math": 4.0})
    files = OLMO.render(handed)
    for (name, text), blend, stage in zip(files.items(), OLMO.parse(files), handed.stages, strict=True):
        (tmp_path / name).write_text(text, encoding="utf-8")
        sources = mixture.SourceMixtureList.from_yaml(tmp_path / name)
        sources.validate()
        for source in sources.sources:
            source.validate()
        batch = handed.batch * handed.seq_len
        config = mixture.SourceMixtureDatasetConfig(
            source_list=sources, requested_tokens=stage.tokens, global_batch_size=batch, quiet=True
        )
        built = config.build(npdtype=np.uint16, sequence_length=handed.seq_len)
        got: dict[str, float] = {}
        for item in (p for outcome in built.sources for p in outcome.path_tokens):
            got[str(item.path)] = got.get(str(item.path), 0.0) + item.tokens / handed.seq_len
        assert got == OLMO.rounded(blend, handed, stage)
        found = token_shares(got, handed, "tokens")
        assert all(abs(found[d] - stage.shares.get(d, 0.0)) < 1e-3 for d in found)
