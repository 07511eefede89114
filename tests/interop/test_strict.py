"""What must be refused or kept apart because it would quietly be another mixture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cuvee.base.errors import CuveeError, DataError, InfeasibleError, UsageError
from cuvee.cli.mix import load_mix
from cuvee.interop.export import export
from cuvee.interop.handover import caps_of
from cuvee.interop.importmix import import_mix
from cuvee.interop.materialise import materialise
from cuvee.interop.mixturefile import read_mixture
from cuvee.interop.record import Handover
from cuvee.interop.registry import exporter
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture
from cuvee.plan.problem import Limit, Problem, Proxy
from cuvee.shards.corpus import Corpus
from cuvee.testing.corpora import synthetic
from tests.interop.handovers import handover

EVEN = Schedule.constant(Mixture.from_shares({"a": 1, "b": 1, "c": 1}))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return synthetic(tmp_path_factory.mktemp("strict") / "corpus", documents=60)


def test_epochs_count_what_truncation_leaves(corpus: Corpus, tmp_path: Path) -> None:
    tokens, one = min(corpus.train_tokens.values()), dict.fromkeys(corpus.domains, 1.0)
    export(EVEN, "hf", corpus, out=tmp_path / "whole", tokens=tokens, caps=one)
    with pytest.raises(InfeasibleError, match="repeats more than allowed"):
        export(EVEN, "hf", corpus, out=tmp_path / "cut", tokens=tokens, caps=one, row_limit=8)
    with pytest.raises(InfeasibleError, match="TRL repeats no row"):  # it cuts at seq_len without being told
        export(EVEN, "trl", corpus, out=tmp_path / "trl", tokens=tokens, seq_len=8)


def test_bounds_of_epochs_hold_for_a_run_of_any_length(corpus: Corpus) -> None:
    problem = Problem.from_corpus(
        corpus,
        target_tokens=3_000,
        targets="all-domains",
        max_epochs=4,
        limits=(Limit("a", max_epochs=2), Limit("b", max_share=0.5), Limit("c", max_tokens=1_000)),
        proxy=Proxy(tokens=3_000, seq_len=16),
        small_pools="cap",
    )
    caps = caps_of(problem)
    small = set(problem.small_pool_domains())
    assert caps["a"] == (1.0 if "a" in small else 2.0)
    assert caps["b"] == (1.0 if "b" in small else 4.0)
    assert caps["c"] == pytest.approx(1_000 / corpus.train_tokens["c"], rel=1e-9)


@pytest.mark.parametrize("name", ["megatron", "megatron-split", "nanotron"])
def test_a_phase_without_a_step_is_refused(name: str) -> None:
    for starts in ((0, 100, 2_000_000), (0, 2_000_000, 4_095_999)):
        handed: Handover = handover({"web": 1}, {"code": 1}, {"web": 1}, starts=starts)
        with pytest.raises(DataError, match="a step of its own"):
            exporter(name).render(handed)


def test_phases_have_seeds_and_names_in_order() -> None:
    handed = handover(*[{"web": 0.5, "code": 0.5}] * 105, tokens=105 * 81_920)
    for name in ("megatron", "torchtitan", "hf", "llama-factory"):
        files = [f for f in exporter(name).render(handed) if not f.endswith("info.json")]
        assert files == sorted(files)
    assert len({s.seed for s in handed.stages}) == 105


def test_files_of_an_earlier_export_are_not_left_beside_a_new_one(corpus: Corpus, tmp_path: Path) -> None:
    two = Schedule((*EVEN.phases, Phase(500_000, Mixture.from_shares({"a": 1, "b": 0, "c": 0}))))
    export(two, "megatron", corpus, out=tmp_path, tokens=1_000_000, seq_len=64, batch=4)
    with pytest.raises(UsageError, match=r"holds blend-01\.txt of an earlier export"):
        export(EVEN, "megatron", corpus, out=tmp_path, tokens=1_000_000, seq_len=64, batch=4)
    export(two, "megatron", corpus, out=tmp_path, tokens=1_000_000, seq_len=64, batch=4)


def test_interleaved_datasets_are_found_by_name_not_by_place(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "data.py"
    text = """
from datasets import interleave_datasets, load_dataset
a = load_dataset("json", data_files="d/a.jsonl", split="train")
b = load_dataset("json", data_files="d/b.jsonl", split="train").shuffle(seed=1)
held = load_dataset("json", data_files="d/c.jsonl")
train = interleave_datasets([b, a.shuffle(1)], probabilities=[0.9, 0.1])
"""
    path.write_text(text, encoding="utf-8")
    (phase,) = import_mix([path], corpus).schedule.phases
    rows = {d: corpus.train_tokens[d] / corpus.source(d, "train").documents for d in corpus.domains}
    total = 0.1 * rows["a"] + 0.9 * rows["b"]
    assert phase.mixture.share("b") == pytest.approx(0.9 * rows["b"] / total, abs=1e-6)
    assert phase.mixture.share("c") == 0
    path.write_text(text.replace("[b, a.shuffle(1)]", "[b, unknown]"), encoding="utf-8")
    with pytest.raises(DataError, match="not loaded from data_files"):
        import_mix([path], corpus)


def blends(folder: Path, names: list[str], texts: list[str]) -> list[Path]:
    paths = [folder / name for name in names]
    for path, text in zip(paths, texts, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return paths


def test_files_are_phases_in_the_order_given(corpus: Corpus, tmp_path: Path) -> None:
    texts = ["0.9 d/a 0.1 d/b", "0.2 d/a 0.8 d/b"]
    warm, anneal = blends(tmp_path, ["warmup.txt", "anneal.txt"], texts)
    found = import_mix([warm, anneal], corpus, starts=(0, 1000)).schedule
    assert [p.mixture.share("a") for p in found.phases] == pytest.approx([0.9, 0.2])
    with pytest.raises(UsageError, match="two files of one name"):
        import_mix(blends(tmp_path, ["p1/blend.txt", "p2/blend.txt"], texts), corpus, starts=(0, 1000))


def test_names_that_differ_stay_apart(tmp_path: Path) -> None:
    (path,) = blends(tmp_path, ["blend.txt"], ["0.6 /d/web/shard_text_document 0.4 /d/code/shard_text_document"])
    with pytest.raises(UsageError, match="several paths have one name"):
        import_mix([path])
    (path,) = blends(tmp_path, ["blend.txt"], ["0.6 /d/dolma_v1.5-web 0.4 /d/dolma_v1.5-code"])
    shares = import_mix([path]).schedule.phases[0].mixture.as_dict()
    assert shares == pytest.approx({"dolma_v1.5-web": 0.6, "dolma_v1.5-code": 0.4})


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("m.yaml", "web: 60\ncode: 40\nweb: 10\n", "the key web twice"),
        ("m.json", '{"web": 60, "code": 40, "web": 10}', "there twice"),
    ],
)
def test_keys_that_are_there_twice(name: str, text: str, match: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=match):
        read_mixture(blends(tmp_path, [name], [text])[0])


def test_a_mixture_file_whose_numbers_disagree(corpus: Corpus, tmp_path: Path) -> None:
    export(EVEN, "json", corpus, out=tmp_path, tokens=100_000)
    path = tmp_path / "mixture.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    mix = load_mix(path, corpus.path, None, None)
    assert mix.tokens == 100_000
    other = synthetic(tmp_path / "other", documents=30)
    with pytest.raises(DataError, match="was written for the corpus"):
        load_mix(path, other.path, None, None)
    value["phases"][0]["shares"]["a"] = 0.9
    path.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(DataError, match="shares and its units disagree"):
        read_mixture(path)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("csv", "phase,start,domain,path,share,tokens,epochs\n0,0,a,a,0.5,1,1\n0,0,b,b,0.3,1,1\n"),
        ("trl", "datasets:\n- {path: json, data_files: [a.jsonl, b.jsonl], fraction: 1.0}\n"),
        ("axolotl", "datasets:\n- {path: a.parquet, ds_type: parquet, type: completion}\n"),
        ("axolotl", "datasets:\n- {path: a.jsonl, ds_type: json, type: completion, shards: 10}\n"),
        ("llama-factory", "dataset: a,b\nmix_strategy: interleave_under\n"),
        ("nemo", "PreTrainingDataModule(paths=['1', 'a'])\nPreTrainingDataModule(paths=['1', 'b'])\n"),
    ],
)
def test_files_that_a_trainer_would_read_otherwise(source: str, text: str, corpus: Corpus, tmp_path: Path) -> None:
    (path,) = blends(tmp_path, ["file.csv" if source == "csv" else "file.yaml"], [text])
    with pytest.raises(CuveeError):
        import_mix([path], corpus, source=source)


def test_a_comment_is_no_setting(corpus: Corpus, tmp_path: Path) -> None:
    text = "# grain_train_files: d/a,0.9;d/b,0.1\ngrain_train_files: d/a,0.1;d/b,0.9\n"
    (path,) = blends(tmp_path, ["base.yml"], [text])
    found = import_mix([path], corpus, source="maxtext").schedule.phases[0].mixture
    assert found.share("b") > found.share("a")


def test_a_shard_that_is_gone_is_made_again(corpus: Corpus, tmp_path: Path) -> None:
    first = materialise(EVEN, corpus, out=tmp_path, tokens=20_000, form="megatron", shard_tokens=4_000)
    lost = next(tmp_path.rglob("*.bin"))
    data = lost.read_bytes()
    lost.unlink()
    assert materialise(EVEN, corpus, out=tmp_path, tokens=20_000, form="megatron", shard_tokens=4_000) == first
    assert lost.read_bytes() == data
