from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, trainers

from cuvee.audit.infer import Inference, infer
from cuvee.audit.merges import MARKED
from cuvee.base.errors import DataError, UsageError
from cuvee.cli.audit import value, write_prior
from cuvee.report.audit import render_audit
from cuvee.testing.corpora import synthetic
from tests.audit.texts import documents, folders, trained

pytestmark = pytest.mark.slow

COUNTS = {"abc": 300, "mno": 150, "xyz": 50}


def mixed(counts: dict[str, int], seed: int) -> tuple[list[str], dict[str, float]]:
    texts = {c: documents(c, n, seed) for c, n in counts.items()}
    size = {c: sum(len(t.encode("utf-8")) for t in rows) for c, rows in texts.items()}
    return [t for rows in texts.values() for t in rows], {c: s / sum(size.values()) for c, s in size.items()}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path], dict[str, float]]:
    folder = tmp_path_factory.mktemp("known")
    texts, truth = mixed(COUNTS, seed=1)
    tokenizer = trained(folder / "tokenizer.json", texts, 150)
    return tokenizer, folders(folder / "samples", {c: documents(c, 200, 2) for c in COUNTS}), truth


@pytest.fixture(scope="module")
def found(known: tuple[Path, list[Path], dict[str, float]]) -> Inference:
    tokenizer, samples, _ = known
    return infer(tokenizer, samples, merges=150, simulations=4)


def test_a_known_mixture_is_found(known: tuple[Path, list[Path], dict[str, float]], found: Inference) -> None:
    for category, share in known[2].items():
        assert found.share(category) == pytest.approx(share, abs=0.02)
    assert sum(p.share for p in found.proportions) == pytest.approx(1.0)
    assert all(p.low <= p.share <= p.high for p in found.proportions)
    assert found.merges_used == 150
    assert set(found.by_merges) == {37, 150}
    assert found.unknown.missing == 0


def test_the_same_question_has_the_same_answer_in_any_order(
    known: tuple[Path, list[Path], dict[str, float]], found: Inference, tmp_path: Path
) -> None:
    tokenizer, samples, _ = known
    for _ in range(2):  # the second time from the cache
        again = infer(tokenizer, samples[::-1], merges=150, simulations=4, cache=tmp_path)
        assert again.proportions == found.proportions
        assert again.residual == found.residual
    (cached,) = tmp_path.iterdir()
    cached.write_bytes(cached.read_bytes()[:1000])
    assert infer(tokenizer, samples[::-1], merges=150, simulations=0, cache=tmp_path).share("abc") == found.share("abc")


def test_the_exact_text_gives_the_exact_mixture(tmp_path: Path) -> None:
    texts = {c: documents(c, n, 1) for c, n in COUNTS.items()}
    tokenizer = trained(tmp_path / "t.json", [t for rows in texts.values() for t in rows], 150)
    found = infer(tokenizer, folders(tmp_path / "s", texts), merges=150, simulations=0)
    size = {c: sum(len(t.encode("utf-8")) for t in rows) for c, rows in texts.items()}
    for category in COUNTS:
        assert found.share(category) == pytest.approx(size[category] / sum(size.values()), abs=1e-3)
    assert found.residual.violation < 1.0
    assert math.isnan(found.residual.ratio)
    assert all((p.low, p.high) == (0, 1) for p in found.proportions)


def test_a_missing_category_is_noticed(tmp_path: Path) -> None:
    texts, truth = mixed({**COUNTS, "шчы": 120}, seed=1)
    tokenizer = trained(tmp_path / "t.json", texts, 200)
    samples = folders(tmp_path / "s", {c: documents(c, 200, 2) for c in COUNTS})
    found = infer(tokenizer, samples, merges=200, simulations=3)
    assert found.unknown.scripts.get("cyrillic", 0) > 20
    assert found.unknown.share == pytest.approx(truth["шчы"], abs=0.12)
    assert any("a category is missing" in w for w in found.warnings)
    assert any("MB of samples" in w for w in found.warnings)
    page = render_audit(found, "t<b>.json", "")
    assert "t&lt;b&gt;.json" in page
    assert "a category is missing" in page


def test_a_normalising_tokenizer_is_asked_how(tmp_path: Path) -> None:
    upper = {c: [t.upper() for t in documents(c, 100, 2)] for c in COUNTS}
    texts, truth = mixed(COUNTS, seed=1)
    tokenizer = trained(tmp_path / "t.json", texts, 100, normalizer={"type": "Lowercase"})
    found = infer(tokenizer, folders(tmp_path / "s", upper), merges=100, simulations=0)
    for category, share in truth.items():
        assert found.share(category) == pytest.approx(share, abs=0.03)


def test_json_and_page(found: Inference) -> None:
    shown = value(found)
    assert set(shown["proportions"]) == set(COUNTS)
    assert set(shown["proportions"]["abc"]) == {"share", "low", "high"}
    assert {"residual", "merges_used", "cpu_seconds"} <= set(shown)
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert "Plotly.newPlot" in render_audit(found, "t.json", "/* plotly */")


def test_prior(known: tuple[Path, list[Path], dict[str, float]], tmp_path: Path) -> None:
    corpus = synthetic(tmp_path / "corpus", documents=20)
    tokenizer, _, _ = known
    samples = folders(tmp_path / "s", {"a": documents("abc", 50), "b": documents("mno", 50)})
    found = infer(tokenizer, samples, merges=50, simulations=0)
    write_prior(found, corpus, tmp_path / "prior.json")
    units = json.loads((tmp_path / "prior.json").read_text(encoding="utf-8"))["phases"][0]["shares"]
    weight = {d: found.share(d) / corpus.bytes_per_token(d, "train") for d in ("a", "b")}
    assert units["a"] == pytest.approx(weight["a"] / sum(weight.values()), abs=1e-6)
    assert units["c"] == 0


def test_numbers_that_make_no_sense(known: tuple[Path, list[Path], dict[str, float]]) -> None:
    with pytest.raises(UsageError, match="at least 10 merges"):
        infer(known[0], known[1], merges=3)


SHARED = Path(__file__).parents[3] / "shared"


@pytest.mark.skipif(not (SHARED / "tokenizers").is_dir(), reason="needs published tokenizers and real domains")
def test_published_tokenizers_hold_code_in_the_order_that_everyone_knows() -> None:
    samples = sorted((SHARED / "corpora").glob("*.jsonl.gz"))
    code = {}
    for name in ("gpt-2", "gpt-neox"):
        found = infer(SHARED / "tokenizers" / f"{name}.json.gz", samples, merges=1000, simulations=0)
        code[name] = found.share("code_c") + found.share("code_ts")
    assert code["gpt-2"] < code["gpt-neox"]


def test_shares_are_read_from_compressed_samples(
    known: tuple[Path, list[Path], dict[str, float]], tmp_path: Path
) -> None:
    packed = []
    for path in known[1]:
        packed.append(tmp_path / f"{path.name}.gz")
        packed[-1].write_bytes(gzip.compress(path.read_bytes()))
    (tmp_path / "noise.bin").write_bytes(np.random.default_rng(0).bytes(4000))
    found = infer(known[0], [tmp_path], merges=100, simulations=0)
    assert {p.category for p in found.proportions} == set(COUNTS)


def test_categories_that_say_nothing_are_errors(
    known: tuple[Path, list[Path], dict[str, float]], tmp_path: Path
) -> None:
    rows = {"abc": documents("abc", 40), "mno": documents("mno", 40)}
    with pytest.raises(DataError, match="no pair of the tokenizer's symbols in single"):
        infer(known[0], folders(tmp_path / "a", {**rows, "single": ["a"]}), merges=50, simulations=0)
    sources = folders(tmp_path / "b", rows)
    (tmp_path / "b" / "other.jsonl").write_text('{"content": "x y"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="no text in other"):
        infer(known[0], [*sources, tmp_path / "b" / "other.jsonl"], merges=50, simulations=0)
    cyrillic = trained(tmp_path / "t.json", documents("шчы", 40), 40)
    with pytest.raises(DataError, match="no merge occurs in any sample"):
        infer(cyrillic, sources, merges=40, simulations=0)


def test_a_category_of_one_document_gets_no_intervals(
    known: tuple[Path, list[Path], dict[str, float]], tmp_path: Path
) -> None:
    sources = folders(tmp_path, {"abc": documents("abc", 40), "mno": [" ".join(documents("mno", 20))]})
    found = infer(known[0], sources, merges=100, simulations=3)
    assert found.simulations == 0
    assert all((p.low, p.high) == (0, 1) for p in found.proportions)
    assert any("too few documents" in w for w in found.warnings)


def test_categories_in_a_field_and_rows_that_cannot_be_read(
    known: tuple[Path, list[Path], dict[str, float]], tmp_path: Path
) -> None:
    lines = [json.dumps({"text": t, "kind": c}) for c in ("abc", "mno") for t in documents(c, 40)]
    path = tmp_path / "all.jsonl"
    path.write_text("\n".join([*lines, "{"]), encoding="utf-8")
    found = infer(known[0], [path], merges=60, simulations=0, domains="field:kind")
    assert [p.category for p in found.proportions] == ["abc", "mno"]
    assert any("1 rows of the samples could not be read" in w for w in found.warnings)


def test_merges_alone_that_mark_words(tmp_path: Path) -> None:
    texts = {c: documents(c, n, 1) for c, n in {"abc": 120, "mno": 60}.items()}
    body = {"type": "BPE", "vocab": {}, "merges": []}
    tokenizer = Tokenizer.from_str(
        json.dumps({"model": body, "normalizer": MARKED, "pre_tokenizer": None, "added_tokens": []})
    )
    tokenizer.train_from_iterator(
        (w for rows in texts.values() for t in rows for w in t.split(" ")),
        trainers.BpeTrainer(vocab_size=140, show_progress=False),
    )
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    path = tmp_path / "merges.txt"
    path.write_text("\n".join(" ".join(m) for m in merges), encoding="utf-8")
    found = infer(path, folders(tmp_path / "s", {c: documents(c, 80, 2) for c in texts}), merges=100, simulations=0)
    assert found.share("abc") == pytest.approx(2 / 3, abs=0.05)
    assert any("words begin at ▁" in w for w in found.warnings)
