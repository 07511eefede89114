"""What trainers' own code makes of exported files, through the programs in examples/exports; each needs that trainer."""

from __future__ import annotations

import importlib
import json
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cuvee.interop.record import Handover
from cuvee.interop.registry import exporter
from tests.interop.handovers import ROW_TOKENS, TOKENS, handover

EXAMPLES = Path(__file__).parents[2] / "examples" / "exports"
pytestmark = pytest.mark.filterwarnings("ignore")  # other people's packages warn as they please


def example(name: str, needs: str) -> Mapping[str, Any]:
    """The names in an example; the test is skipped where its trainer is missing or does not load on this machine."""
    pytest.importorskip(needs, exc_type=ImportError)
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def rendered(name: str, handed: Handover, folder: Path) -> list[Path]:
    paths = []
    for file, text in exporter(name).render(handed).items():
        (folder / file).write_text(text, encoding="utf-8")
        paths.append(folder / file)
    return paths


def jsonl(folder: Path, tokens: int) -> Handover:
    """A handover over JSONL files of rows of equal length per domain."""
    for domain, total in TOKENS.items():
        rows = [json.dumps({"text": domain, "domain": domain}) for _ in range(round(total / ROW_TOKENS[domain]))]
        (folder / f"{domain}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return handover(pattern=str(folder / "{slug}.jsonl"), tokens=tokens)


def in_tokens(rows: Mapping[str, float]) -> dict[str, float]:
    """Domain -> share of tokens of these rows."""
    tokens = {d: n * ROW_TOKENS[d] for d, n in rows.items()}
    return {d: t / sum(tokens.values()) for d, t in tokens.items()}


WANTED = {"web": 0.6, "code": 0.3, "math": 0.1}


@pytest.mark.slow
def test_datasets_draws_the_rows(tmp_path: Path) -> None:
    run = example("hf_rows", "datasets")
    handed = jsonl(tmp_path, 20_000_000)
    (path,) = rendered("hf", handed, tmp_path)
    counts = run["count"](str(path), "domain")
    assert sum(n * ROW_TOKENS[d] for d, n in counts.items()) == pytest.approx(handed.tokens, rel=0.05)
    for domain, share in in_tokens(counts).items():
        # rows are drawn at random: five standard deviations of a count
        assert share == pytest.approx(WANTED[domain], rel=5 / counts[domain] ** 0.5)


@pytest.mark.slow
def test_a_second_phase_of_datasets_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    run = example("hf_rows", "datasets")
    for domain, total in TOKENS.items():
        rows = [json.dumps({"text": f"{domain} {i}"}) for i in range(round(total / ROW_TOKENS[domain]))]
        (tmp_path / f"{domain}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    shares = {"web": 0.6, "code": 0.3, "math": 0.1}
    handed = handover(shares, shares, pattern=str(tmp_path / "{slug}.jsonl"), tokens=4_000_000)
    first, second = (run["count"](str(path), "text") for path in rendered("hf", handed, tmp_path))
    twice = sum((first & second).values()) / sum(first.values())
    assert twice < 0.03  # rows are drawn at random, so about as many are skipped as were taken


def test_megatron_blends_what_the_file_says(tmp_path: Path) -> None:
    run = example("megatron_blend", "megatron.core.datasets.helpers")
    handed, record = handover(pattern="/d/{slug}_text_document"), exporter("megatron")
    (path,) = rendered("megatron", handed, tmp_path)
    (blend,) = record.parse({path.name: path.read_text(encoding="utf-8")})
    counted = run["count"](str(path), handed.tokens // handed.seq_len)
    assert counted == record.rounded(blend, handed, handed.stages[0])


def test_megatron_bridge_takes_the_configuration(tmp_path: Path) -> None:
    run = example("megatron_bridge", "megatron.bridge.training.config")
    (path,) = rendered("megatron-bridge", handover(), tmp_path)
    assert run["blend"](str(path)) == {"/d/web": 0.6, "/d/code": 0.3, "/d/math": 0.1}


def test_trl_keeps_the_rows(tmp_path: Path) -> None:
    run = example("trl_rows", "trl")
    handed, record = jsonl(tmp_path, 3_000_000), exporter("trl")
    (path,) = rendered("trl", handed, tmp_path)
    (blend,) = record.parse({path.name: path.read_text(encoding="utf-8")})
    expected = record.rounded(blend, handed, handed.stages[0])
    counts = run["count"](str(path), "domain")
    assert counts == {Path(p).stem: n for p, n in expected.items()}
    assert in_tokens(counts) == pytest.approx(WANTED, abs=0.001)


def test_llama_factory_draws_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISABLE_VERSION_CHECK", "1")  # of transformers, narrower than what works
    monkeypatch.chdir(tmp_path)
    run = example("llama_factory_rows", "llamafactory.data.loader")
    paths = rendered("llama-factory", jsonl(tmp_path, 20_000_000), tmp_path)
    counts = run["count"](str(next(p for p in paths if p.suffix == ".yaml")))
    assert counts == {"web": 30_000, "code": 2_400, "math": 222}


def test_axolotl_accepts_the_configuration(tmp_path: Path) -> None:
    run = example("axolotl_check", "axolotl.utils.schemas.config")
    handed = jsonl(tmp_path, 20_000_000)
    (path,) = rendered("axolotl", handed, tmp_path)
    assert run["files"](str(path)) == [p for source in handed.sources for p, _ in source.paths]


def test_streaming_chooses_the_samples(tmp_path: Path) -> None:
    run = example("streaming_samples", "streaming")
    writer = importlib.import_module("streaming").MDSWriter
    handed = handover(pattern=str(tmp_path / "{slug}"), tokens=1_024_000)
    for domain, samples in {"web": 300, "code": 200, "math": 50}.items():
        with writer(out=str(tmp_path / domain), columns={"domain": "str"}) as out:
            for _ in range(samples):
                out.write({"domain": domain})
    (path,) = rendered("streaming", handed, tmp_path)
    assert run["count"](str(path), "domain") == {"web": 600, "code": 300, "math": 100}


def test_litdata_draws_the_blocks(tmp_path: Path) -> None:
    streaming = pytest.importorskip("litdata.streaming", exc_type=ImportError)
    torch = pytest.importorskip("torch")
    pytest.importorskip("litgpt.data", exc_type=ImportError)
    handed = handover(pattern=str(tmp_path / "{slug}"), tokens=1_024_000)
    for token, (domain, blocks) in enumerate({"web": 700, "code": 400, "math": 150}.items()):
        cache = streaming.Cache(str(tmp_path / domain), chunk_size=1025 * 64, item_loader=streaming.TokensLoader(1025))
        for i in range(blocks):
            cache[i] = torch.full((1025,), token)
        cache.done()
        cache.merge()
    (path,) = rendered("litgpt", handed, tmp_path)
    counts = example("litgpt_blocks", "litdata")["count"](str(path), 1000)
    for token, share in enumerate(WANTED.values()):  # drawn at random: five standard deviations
        assert counts[token] / 1000 == pytest.approx(share, abs=5 * (share * (1 - share) / 1000) ** 0.5)
