from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuvee.base.errors import DataError, UsageError
from cuvee.base.rng import key64
from cuvee.corpus.examples import Example, Examples, read_examples
from cuvee.corpus.prepare import prepare
from cuvee.interop.outside import Form, finished, write_plans
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture
from cuvee.plan.problem import Problem, Proxy
from cuvee.plan.trial import Measure, Plan, Split
from cuvee.shards.corpus import Corpus
from cuvee.shards.indexed import IndexedDataset
from cuvee.shards.pools import draw
from cuvee.testing.corpora import synthetic


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return synthetic(tmp_path_factory.mktemp("outside") / "corpus", documents=60)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A corpus of text, a byte a token."""
    root = tmp_path_factory.mktemp("texts")
    for name in ("C/C++", "prose"):
        words = [f"{name} tells story {i} über {' '.join(str(i * j % 97) for j in range(40))}" for i in range(80)]
        rows = "".join(json.dumps({"text": w, "domain": name}) + "\n" for w in words)
        (root / f"{words[0][:1]}.jsonl").write_text(rows, encoding="utf-8")
    return prepare(root, out=root / "corpus", tokenizer="bytes", domains="field:domain", min_held_out_bytes=1000)


def plan_of(corpus: Corpus, *, tokens: int = 2048, block: int = 1) -> Plan:
    problem = Problem.from_corpus(
        corpus,
        target_tokens=16_384,
        targets={corpus.domains[0]: 1},
        proxy=Proxy(tokens=tokens, size="0.1M", seq_len=16, batch=8),
        small_pools="cap",
        trainer="outside",
        seed=3,
    )
    return problem.plan(problem.natural, block)


def written(folder: Path, plan: Plan, corpus: Corpus, form: Form = "megatron") -> dict[str, Any]:
    (path,) = write_plans(folder, "round 0", {"1f": plan}, corpus, form, {})
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_plan_says_everything_of_its_run(corpus: Corpus, tmp_path: Path) -> None:
    plan = plan_of(corpus)
    late = Mixture.from_shares({"a": 1, "b": 0, "c": 3})
    plan = replace(plan, schedule=Schedule((*plan.schedule.phases, Phase(1024, late))))
    found = written(tmp_path, plan, corpus)
    assert (found["format"], found["run"], found["stage"]) == (1, "1f", "round 0")
    assert found["tokens"] == plan.tokens == sum(found["domain_tokens"].values())
    assert found["mixture"] == plan.schedule.mean(plan.tokens).as_dict()
    assert [p["start"] for p in found["schedule"]] == [0, 1024]
    assert found["schedule"][1]["mixture"] == {"a": 0.25, "b": 0.0, "c": 0.75}
    assert [found[k] for k in ("steps", "batch", "seq_len", "seed", "block", "split")] == [16, 8, 16, 3, 1, "search"]
    held = corpus.domain("a").search
    target = found["targets"]["a"]
    assert (target["kind"], target["unit"], target["direction"]) == ("domain", "bits/byte", "minimise")
    assert (target["documents"], target["tokens"], target["bytes"]) == (held.documents, held.tokens, held.bytes)
    assert (tmp_path / "next.txt").read_text(encoding="utf-8") == "plans/1f.json\n"
    finished(tmp_path)
    assert (tmp_path / "next.txt").read_bytes() == b""


def test_pools_are_those_that_proxies_read(corpus: Corpus, tmp_path: Path) -> None:
    plan = plan_of(corpus)
    found = written(tmp_path, plan, corpus)
    for domain, tokens in zip(corpus.domains, plan.pools, strict=True):
        entry = found["pools"][domain]
        (shard,) = entry["shards"]
        data = IndexedDataset((tmp_path / "plans" / shard).resolve().with_suffix(""))
        expected = draw(corpus.source(domain, "train"), tokens, key64(3, f"pool/{domain}", 1))
        assert np.array_equal(data.flat(0, data.tokens), expected.data)
        assert (entry["tokens"], entry["documents"]) == (tokens, data.documents) == (tokens, expected.documents)


def test_writing_again_gives_the_same_files_and_touches_no_pool(corpus: Corpus, tmp_path: Path) -> None:
    plan = plan_of(corpus)
    written(tmp_path, plan, corpus)
    before, times = files(tmp_path), {p: p.stat().st_mtime_ns for p in tmp_path.glob("pools/**/*.bin")}
    written(tmp_path, plan, corpus)
    assert files(tmp_path) == before
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("pools/**/*.bin")} == times
    next(iter(times)).unlink()
    next(tmp_path.glob("pools/*/megatron.json")).unlink()
    written(tmp_path, plan, corpus)
    assert files(tmp_path) == before, "what a kill left unfinished is made again"


def test_blocks_and_scales_have_pools_of_their_own(corpus: Corpus, tmp_path: Path) -> None:
    small, large = written(tmp_path, plan_of(corpus), corpus), written(tmp_path, plan_of(corpus, tokens=4096), corpus)
    other = written(tmp_path, plan_of(corpus, block=2), corpus)
    assert len({str(found["pools"]) for found in (small, large, other)}) == 3
    bins = [
        (tmp_path / "plans" / found["pools"]["b"]["shards"][0]).resolve().read_bytes()
        for found in (small, large, other)
    ]
    assert bins[1].startswith(bins[0]), "nested across scales"
    assert not bins[2].startswith(bins[0])


def test_the_verify_split_is_written_for_a_verification_only(corpus: Corpus, tmp_path: Path) -> None:
    written(tmp_path, plan_of(corpus), corpus)
    assert [p.name for p in tmp_path.glob("held-out/*")] == ["search"]
    found = written(tmp_path, replace(plan_of(corpus), split="verify"), corpus)
    data = IndexedDataset((tmp_path / "plans" / found["targets"]["a"]["shard"]).resolve().with_suffix(""))
    source = corpus.source("a", "verify")
    assert np.array_equal(data.flat(0, data.tokens), source.flat(0, source.tokens))


def test_text_for_trainers_that_have_a_tokenizer_of_their_own(texts: Corpus, tmp_path: Path) -> None:
    plan = plan_of(texts)
    found = written(tmp_path, plan, texts, "jsonl")
    target = found["targets"]["C/C++"]
    assert target["shard"] is None
    rows = [json.loads(row) for row in (tmp_path / "plans" / target["file"]).read_text(encoding="utf-8").splitlines()]
    assert len(rows) == target["documents"]
    assert all(row["text"].startswith("C/C++ tells story") for row in rows)
    (shard,) = found["pools"]["prose"]["shards"]
    pool = [json.loads(row) for row in (tmp_path / "plans" / shard).read_text(encoding="utf-8").splitlines()]
    assert len(pool) == found["pools"]["prose"]["documents"]
    assert sum(len(row["text"].encode()) + 1 for row in pool) == pytest.approx(found["pools"]["prose"]["tokens"], abs=3)
    none = written(tmp_path, plan, texts, "none")
    assert none["pools"]["prose"] == found["pools"]["prose"] | {"shards": []}
    both = written(tmp_path, plan, texts)
    assert both["targets"]["C/C++"]["file"] == target["file"]
    assert both["targets"]["C/C++"]["shard"].endswith(".bin")


def test_a_corpus_without_tokenizer_has_no_text(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no tokenizer"):
        written(tmp_path, plan_of(corpus), corpus, "jsonl")
    assert not files(tmp_path)
    assert written(tmp_path, plan_of(corpus), corpus, "none")["targets"]["a"]["file"] is None


def test_a_folder_is_of_one_corpus_and_seed(corpus: Corpus, texts: Corpus, tmp_path: Path) -> None:
    written(tmp_path, plan_of(corpus), corpus)
    with pytest.raises(UsageError, match="another corpus or seed"):
        written(tmp_path, plan_of(texts), texts)
    with pytest.raises(UsageError, match="another corpus or seed"):
        written(tmp_path, replace(plan_of(corpus), seed=4), corpus)


@pytest.mark.parametrize("kind", ["text", "continuation", "choice"])
def test_examples_of_measures_by_half(corpus: Corpus, tmp_path: Path, kind: Any) -> None:
    continuations = {"text": ("words",), "continuation": (" two",), "choice": (" two", " three", " four")}[kind]
    context = "" if kind == "text" else "one and one is"
    examples = [Example(context, continuations, len(continuations) - 1) for _ in range(3)]
    halves = (Examples.of("f", kind, examples), Examples.of("f", kind, examples[:1]))
    metric = Measure("metric/1", "outside", unit="accuracy", direction="maximise")
    measures = (Measure("of file", kind, "00", "11"), metric)
    counts: dict[Split, int] = {"search": 3, "verify": 1}
    for split, count in counts.items():
        plan = replace(plan_of(corpus), measures=measures, split=split)
        (path,) = write_plans(tmp_path, "verify", {"1f": plan}, corpus, "none", {"of file": halves})
        targets = json.loads(path.read_text(encoding="utf-8"))["targets"]
        file = path.parent / targets["of file"]["file"]
        assert f"/{split}/" in file.as_posix()
        assert (targets["of file"]["kind"], targets["of file"]["documents"]) == (kind, count)
        assert read_examples(file).examples == tuple(examples[:count]), "what is written reads back"
        assert targets["metric/1"]["unit"] == "accuracy"
        assert targets["metric/1"]["direction"] == "maximise"
        assert targets["metric/1"]["file"] is None


def test_examples_that_changed_take_the_place_of_the_old_ones(corpus: Corpus, tmp_path: Path) -> None:
    plan = replace(plan_of(corpus), measures=(Measure("of file", "text", "00", "11"),))
    for word in ("old", "new"):
        half = Examples.of("f", "text", [Example("", (word,))])
        write_plans(tmp_path, "round 0", {"1f": plan}, corpus, "none", {"of file": (half, half)})
        (file,) = tmp_path.glob("held-out/search/of*.jsonl")
        assert read_examples(file).texts == (word,)
