"""Every format: golden files, shares that come back, and what files by people and broken files get."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.errors import CuveeError, DataError, InfeasibleError
from cuvee.interop.record import Handover, token_shares
from cuvee.interop.registry import EXPORTERS, exporter
from tests.interop.handovers import handover

GOLDEN = Path(__file__).parent / "golden"
OWN = ("olmo-core", "torchtitan", "lingua", "maxtext")
"""Formats whose golden files and round trips have a test module of their own."""
COMMON = [name for name in EXPORTERS if name not in OWN]
SECOND = {"web": 0.4, "math": 0.6}


def handed(name: str, *phases: dict[str, float]) -> Handover:
    record = exporter(name)
    pattern = "/d/{slug}_text_document" if record.data == "shards" else f"/d/{record.data.removeprefix('data/')}"
    return handover(*phases, pattern=pattern, tokens=2_048_000)


@pytest.mark.parametrize("name", COMMON)
@pytest.mark.parametrize("phases", [1, 2])
def test_golden_files(name: str, phases: int) -> None:
    files = exporter(name).render(handed(name, *[{"web": 0.6, "code": 0.3, "math": 0.1}, SECOND][:phases]))
    folder = GOLDEN / name / f"{phases}-phase"
    assert {p.name for p in folder.iterdir()} == set(files)
    for file, text in files.items():
        assert (folder / file).read_text(encoding="utf-8") == text, f"{folder / file}"


@pytest.mark.parametrize("name", COMMON)
@settings(max_examples=25)
@given(parts=st.lists(st.integers(1, 100), min_size=3, max_size=3), two=st.booleans())
def test_shares_come_back(name: str, parts: list[int], two: bool) -> None:
    shares = {d: p / sum(parts) for d, p in zip(("web", "code", "math"), parts, strict=True)}
    phases = [shares, SECOND] if two else [shares]
    h = handed(name, *phases)
    record = exporter(name)
    try:
        blends = record.parse(record.render(h))
    except InfeasibleError:
        assert name == "trl", "only TRL cannot repeat"
        return
    assert len(blends) == len(h.stages)
    for blend, stage in zip(blends, h.stages, strict=True):
        found = token_shares(record.rounded(blend, h, stage), h, record.unit)
        for domain, share in stage.shares.items():
            # whole rows: math has 200 of 9,000 tokens
            room = 0.02 if record.unit == "documents" else 2e-3
            assert found[domain] == pytest.approx(share, abs=room)


PEOPLE = [
    ("megatron", {"b.txt": "30 /d/web_text_document\n\n10  /d/code_text_document"}, {"web": 0.75, "code": 0.25}),
    ("megatron-split", {"b.json": '{"train": "3 /d/web 1 /d/code", "valid": null, "test": null}'}, {"web": 0.75, "code": 0.25}),
    ("megatron-bridge", {"c.py": 'GPTDatasetConfig(blend=(["/d/web", "/d/code"], [3, 1]))'}, {"web": 0.75, "code": 0.25}),
    ("nemo", {"c.py": 'x = PreTrainingDataModule(paths={"train": ["60", "/d/web", "20", "/d/code"]})'}, {"web": 0.75, "code": 0.25}),
    (
        "nanotron",
        {"c.yaml": "data_stages:\n- data: {dataset: {dataset_folder: {/d/web: 3, /d/code: 1}}}\n"},
        {"web": 0.75, "code": 0.25},
    ),
    (
        "streaming",
        {"s.yaml": "streams:\n- {remote: s3://b/web, proportion: 0.75}\n- {remote: s3://b/code, proportion: 0.25}\n"},
        {"web": 0.75, "code": 0.25},
    ),
    (
        "llm-foundry",
        {"s.yaml": "train_loader: {dataset: {streams: {a: {local: /d/web, choose: 3}, b: {local: /d/code, choose: 1}}}}"},
        {"web": 0.75, "code": 0.25},
    ),
    (
        "hf",
        {"m.py": 'p = 1\nds = interleave_datasets([load_dataset("json", data_files="/d/web.jsonl"), '
         'load_dataset("json", data_files=["/d/code.jsonl"])], probabilities=[0.75, 0.25])'},
        {"web": 0.75, "code": 0.25},
    ),
    ("trl", {"s.yaml": "datasets:\n- {path: org/web, fraction: 0.3}\n- {path: org/code, fraction: 0.1}\n"}, {"web": 0.75, "code": 0.25}),
    (
        "llama-factory",
        {"t.yaml": "dataset: web, code\nmix_strategy: interleave_over\ninterleave_probs: 0.75,0.25\n"},
        {"web": 0.75, "code": 0.25},
    ),
    ("litgpt", {"m.py": 'PATHS = ["/d/web", "/d/code"]\nWEIGHTS = [3, 1]\n'}, {"web": 0.75, "code": 0.25}),
    ("json", {"b.json": '{"web": 3, "code": 1}'}, {"web": 0.75, "code": 0.25}),
    ("csv", {"b.csv": "domain,share\nweb,3\ncode,1\n"}, {"web": 0.75, "code": 0.25}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "files", "wanted"), PEOPLE)
def test_files_by_people(name: str, files: dict[str, str], wanted: dict[str, float]) -> None:
    (blend,) = exporter(name).parse(files)
    total = sum(blend.weights.values())
    found = {next(d for d in ("web", "code") if d in path): w / total for path, w in blend.weights.items()}
    assert found == pytest.approx(wanted)


BROKEN = [
    ("megatron", "0.6 /a /b 0.4 /c", "5 words"),
    ("megatron", "0.6 /a 0.4", "3 words"),
    ("megatron", "/a 0.6", "the weight of"),
    ("megatron", "0 /a 1 /b", "the weight of '/a'"),
    ("megatron", "", "0 words"),
    ("megatron-split", '{"train": ["1", "/a"]}', "lacks valid, test"),
    ("megatron-split", "{", "no JSON"),
    ("megatron-bridge", "x = 1", "calls GPTDatasetConfig 0 times"),
    ("megatron-bridge", "GPTDatasetConfig(data_path=blend())", "computed"),
    ("megatron-bridge", "GPTDatasetConfig(", "no Python"),
    ("megatron-bridge", "GPTDatasetConfig(blend=(['/a', '/b'], [1.0]))", "2 paths and 1 weights"),
    ("nemo", "PreTrainingDataModule(seq_length=1)", "has no paths"),
    ("nanotron", "data_stages: []", "data_stages is"),
    ("nanotron", "a: [", "no YAML"),
    ("nanotron", "- 1", "not a mapping"),
    ("nanotron", "data_stages: [{data: {dataset: {dataset_folder: [/a, /b], dataset_weights: [1]}}}]", "the folders"),
    ("nanotron", "data_stages: [{data: {}}]", "has no 'data.dataset'"),
    ("streaming", "streams: [{local: /a, proportion: 1}, {local: /b, choose: 2}]", "choose, proportion"),
    ("streaming", "streams: [{local: /a, repeat: 2}]", "repeat"),
    ("streaming", "streams: [{local: /a, proportion: -1}]", "the weight of '/a'"),
    ("llm-foundry", "streams: {}", "train_loader.dataset.streams"),
    ("hf", "interleave_datasets([load_dataset('json', data_files='a')], probabilities=[0.9, 0.2])", "1 sources"),
    ("hf", "FILES = ('a', 'b')\nPROBABILITIES = (0.9, 0.2)\n", "sum to 1.1"),
    ("hf", "x = 1", "no interleave_datasets"),
    ("trl", "datasets: [{path: a, fraction: 0.5}, {path: b}]", "lacks its path or fraction"),
    ("llama-factory", "dataset: a,b\nmix_strategy: interleave_over\ninterleave_probs: '1.0'\n", "2 datasets, 1"),
    ("llama-factory", "dataset: a\nmix_strategy: concat\n", "no num_samples"),
    ("axolotl", "datasets: [{path: /nowhere/x.jsonl, ds_type: json}]", "cannot be read"),
    ("axolotl", "datasets: [{ds_type: json}]", "names no files"),
    ("litgpt", "PATHS = ['a']\nWEIGHTS = [1, 2]\n", "1 paths and 2 weights"),
    ("litgpt", "PATHS = ['a']\n", "sets no WEIGHTS"),
    ("json", "[]", "no rows"),
    ("csv", "domain,share\nweb,x\n", "the weight of 'web'"),
    ("csv", "", "no rows"),
]


@pytest.mark.parametrize(("name", "text", "said"), BROKEN)
def test_broken_files(name: str, text: str, said: str) -> None:
    suffix = (
        "py"
        if name in ("megatron-bridge", "nemo", "hf", "litgpt")
        else "json"
        if "split" in name or name == "json"
        else "yaml"
    )
    with pytest.raises(DataError) as caught:
        exporter(name).parse({f"file.{suffix}": text})
    assert said in str(caught.value), str(caught.value)
    assert caught.value.wanted


def test_what_a_format_cannot_hold() -> None:
    for name in ("megatron", "megatron-split", "megatron-bridge", "nemo"):
        with pytest.raises(DataError, match="white space"):
            exporter(name).render(handover(pattern="/d d/{slug}"))
    with pytest.raises(InfeasibleError, match="TRL repeats no row"):
        exporter("trl").render(handover(tokens=100_000_000))
    with pytest.raises(DataError, match="at least one row"):
        exporter("llama-factory").render(handover({"web": 0.9999, "math": 0.0001}, tokens=1_000_000))
    with pytest.raises(DataError, match="a step of its own"):
        exporter("nanotron").render(handover(SECOND, SECOND, starts=(0, 10)))


def test_every_record_says_what_it_must() -> None:
    for name in EXPORTERS:
        record = exporter(name)
        assert record.name == name
        assert record.tested_against
        assert record.exhausted.endswith(".")
        assert record.launch(handed(name))
        files = record.render(handed(name)) if name != "trl" else record.render(handover(tokens=100_000))
        assert any(record.recognises(f, t) for f, t in files.items())
        with pytest.raises(CuveeError):
            record.parse({"file.bin": "\x00"})
