from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cuvee.base.errors import PartialError
from cuvee.plan.trial import Backend, Precision
from cuvee.proxies import way
from cuvee.proxies.train import train
from cuvee.proxies.way import Way, compiler, way_of
from cuvee.shards.corpus import Corpus
from tests.proxies.tiny import Killed, kill_at, plan

FAST = replace(plan(), precision="bf16", backend="compile")


def test_a_plan_says_how() -> None:
    assert way_of(plan()) == Way()
    assert str(Way()) == "fp32 eager cpu"
    assert Way("bf16").dtype == torch.bfloat16


def test_without_a_compiler_it_is_not_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    found = way_of(replace(plan(), backend="compile"))
    assert found.backend == "eager"
    assert str(found) == "fp32 eager cpu; not compiled: none of c++, g++, clang++ is installed"
    tool = tmp_path / "clang++"
    tool.write_text("#!/bin/sh\n", encoding="utf-8")
    tool.chmod(0o755)
    assert compiler() == "clang++"
    assert way_of(replace(plan(), backend="compile")) == Way(backend="compile")


def test_on_a_gpu_compiled_code_needs_a_compiler_and_triton(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    asked = replace(plan(), backend="compile", device="cuda")
    assert str(way_of(asked)) == "fp32 eager cuda; not compiled: none of cc, gcc, clang is installed"
    tool = tmp_path / "gcc"
    tool.write_text("#!/bin/sh\n", encoding="utf-8")
    tool.chmod(0o755)
    for there, said in (
        (None, "fp32 eager cuda; not compiled: triton is not installed"),
        (object(), "fp32 compile cuda"),
    ):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, there=there: there)
        assert str(way_of(asked)) == said


@pytest.mark.skipif(not compiler(), reason="no compiler")
def test_without_a_folder_for_compiled_code_it_is_not_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file" / "cache"))
    found = str(way_of(replace(plan(), backend="compile")))
    assert found.startswith(
        "fp32 eager cpu; not compiled: the folder for compiled code cannot be written (Not a directory;"
    )
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "new"))
    assert way_of(replace(plan(), backend="compile")) == Way(backend="compile")


@pytest.mark.parametrize("gain", [0.15, 2.8])
def test_bf16_only_where_it_is_faster(gain: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(way, "bf16_gain", lambda: gain)
    found = way_of(replace(plan(), precision="bf16"))
    assert found.precision == ("fp32" if gain < 1 else "bf16")
    assert ("6.7 times as long" in str(found)) == (gain < 1)


def test_the_gain_is_a_ratio() -> None:
    assert 0.001 < way.bf16_gain() < 1000


def test_a_trial_says_when_it_fell_back(corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(way, "bf16_gain", lambda: 0.5)
    (trial,) = train([FAST], corpus)
    (plain,) = train([plan()], corpus)
    assert trial.provenance["way"].startswith("fp32 eager cpu; fp32 instead of bf16")
    assert "way" not in plain.provenance
    assert trial.id != plain.id
    assert trial.curves == plain.curves


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_plan_for_a_gpu_waits_for_one(corpus: Corpus) -> None:
    with pytest.raises(PartialError, match=r"(?s)CUDA device, and torch sees none.*device: cpu"):
        train([replace(plan(), device="cuda")], corpus)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("backend", ["eager", "compile"])
def test_a_gpu_gives_the_losses_of_a_cpu(backend: Backend, corpus: Corpus) -> None:
    plans = [replace(p, device="cuda", backend=backend) for p in (plan(), plan(5, 1, 1), plan(1, 0, 3))]
    for trial, again, p in zip(train(plans, corpus), train(plans, corpus), plans, strict=True):
        (here,) = train([replace(p, device="cpu", backend="eager")], corpus)
        assert trial.loss("a") == pytest.approx(here.loss("a"), rel=1e-3)
        assert trial.curves == again.curves


def test_bf16_is_close_and_not_the_same(corpus: Corpus) -> None:
    (fp32,), (bf16,) = train([plan()], corpus), train([plan()], corpus, way=Way("bf16"))
    assert bf16.curves != fp32.curves
    for target in ("a", "c"):
        assert bf16.loss(target) == pytest.approx(fp32.loss(target), rel=3e-3)


def test_a_run_is_computed_in_one_way_from_its_start_to_its_end(corpus: Corpus, checkpoint: Path) -> None:
    """A worker without bf16 takes up what one with it began: it begins anew, or its trial would say fp32 of a run of both."""
    with pytest.raises(Killed):
        train([plan()], corpus, checkpoint=checkpoint, checkpoint_seconds=0, on_step=kill_at(6), way=Way("bf16"))
    (trial,), (fp32,) = train([plan()], corpus, checkpoint=checkpoint), train([plan()], corpus)
    assert trial.curves == fp32.curves
    assert "way" not in trial.provenance


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.skipif(not compiler(), reason="no compiler")
@pytest.mark.parametrize(("precision", "rel"), [("fp32", 1e-4), ("bf16", 3e-3)])
def test_compiled_is_close_and_the_same_again(
    precision: Precision, rel: float, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    ways = [Way(), Way(precision, "compile"), Way(precision, "compile")]
    fp32, first, again = (train([plan(), plan(4, 1, 1)], corpus, way=w) for w in ways)
    assert [t.curves for t in first] == [t.curves for t in again]
    for trial, expected in zip(first, fp32, strict=True):
        assert trial.provenance["way"] == f"{precision} compile cpu"
        for target in ("a", "c"):
            assert trial.loss(target) == pytest.approx(expected.loss(target), rel=rel)
