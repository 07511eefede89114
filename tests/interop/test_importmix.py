from __future__ import annotations

from pathlib import Path

import pytest

from cuvee.base.errors import DataError, UsageError
from cuvee.interop.export import export
from cuvee.interop.importmix import import_mix
from cuvee.interop.registry import EXPORTERS
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.corpus import Corpus
from cuvee.testing.corpora import synthetic

ONE = Schedule.constant(Mixture.from_shares({"a": 0.5, "b": 0.3, "c": 0.2}))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return synthetic(tmp_path_factory.mktemp("import") / "corpus", documents=60)


def config(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.name not in ("README.md", "mixture.json"))


@pytest.mark.parametrize("name", EXPORTERS)
def test_what_was_exported_comes_back(name: str, corpus: Corpus, tmp_path: Path) -> None:
    tokens = min(corpus.train_tokens.values()) // 4 if name == "trl" else 1_000_000
    export(ONE, name, corpus, out=tmp_path, tokens=tokens, seq_len=64, batch=4, tolerance=0.02)
    found = import_mix(config(tmp_path), corpus, row_limit=64 if name == "trl" else None)
    assert found.exporter == name, "recognised by what is in it"
    assert found.schedule.phases[0].mixture.shares == pytest.approx(ONE.phases[0].mixture.shares, abs=0.01)
    assert len(found.notes) == 3
    assert "as shares of tokens" in str(found)


def test_phases(corpus: Corpus, tmp_path: Path) -> None:
    two = Schedule((*ONE.phases, Phase(512_000, Mixture.from_shares({"a": 0, "b": 0.5, "c": 0.5}))))
    export(two, "nanotron", corpus, out=tmp_path / "n", tokens=1_024_000, seq_len=64, batch=4)
    found = import_mix(config(tmp_path / "n"), corpus)
    assert [p.start for p in found.schedule.phases] == [0, 512_000]
    assert found.schedule.phases[1].mixture.share("a") == 0
    export(two, "megatron", corpus, out=tmp_path / "m", tokens=1_024_000, seq_len=64, batch=4)
    with pytest.raises(UsageError, match="do not say when they start"):
        import_mix(config(tmp_path / "m"), corpus)
    found = import_mix(config(tmp_path / "m"), corpus, starts=(0, 512_000))
    assert [p.start for p in found.schedule.phases] == [0, 512_000]
    with pytest.raises(UsageError, match="1 starts for 2 phases"):
        import_mix(config(tmp_path / "m"), corpus, starts=(0,))


def test_names_in_paths_and_told_names(corpus: Corpus, tmp_path: Path) -> None:
    blend = tmp_path / "blend.txt"
    blend.write_text("2 /data/A/x_text_document 1 /other/b_text_document 1 /odd/path", encoding="utf-8")
    with pytest.raises(DataError, match=r"no domain of the corpus is meant by /odd/path") as caught:
        import_mix([blend], corpus)
    assert "--map '/odd/path=DOMAIN'" in str(caught.value)
    found = import_mix([blend], corpus, names={"/odd/path": "c"})
    assert found.schedule.phases[0].mixture.as_dict() == {"a": 0.5, "b": 0.25, "c": 0.25}
    with pytest.raises(DataError, match="no domain"):
        import_mix([blend], corpus, names={"/odd/path": "d"})


def test_without_a_corpus(tmp_path: Path) -> None:
    blend = tmp_path / "blend.txt"
    blend.write_text("3 /d/web_text_document 1 /d/code.bin", encoding="utf-8")
    shares = import_mix([blend]).schedule.phases[0].mixture.as_dict()
    assert shares == {"web": 0.75, "code": 0.25}
    rows = tmp_path / "data.yaml"
    rows.write_text("data: {root_dir: /d, sources: {web: 1, code: 2}}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="count documents"):
        import_mix([rows])


def test_document_weights_become_shares_of_tokens(corpus: Corpus, tmp_path: Path) -> None:
    rows = tmp_path / "data.yaml"
    rows.write_text("data: {root_dir: /d, sources: {a: 1, b: 1, c: 2}}\n", encoding="utf-8")
    found = import_mix([rows], corpus).schedule.phases[0].mixture
    means = [corpus.train_tokens[d] / corpus.source(d, "train").documents for d in corpus.domains]
    raw = [m * w for m, w in zip(means, (1, 1, 2), strict=True)]
    assert found.shares == pytest.approx([r / sum(raw) for r in raw])


def test_refusals(corpus: Corpus, tmp_path: Path) -> None:
    odd = tmp_path / "odd.toml"
    odd.write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="is not recognised"):
        import_mix([odd], corpus)
    with pytest.raises(DataError, match="cannot be read"):
        import_mix([tmp_path / "missing.txt"], corpus)
    blend = tmp_path / "blend.txt"
    blend.write_text("0.6 /d/a /d/b 0.4 /d/c", encoding="utf-8")
    with pytest.raises(DataError, match="5 words") as caught:
        import_mix([blend], corpus)
    assert "weight is missing" in str(caught.value)
