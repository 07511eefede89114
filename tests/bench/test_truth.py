"""The figures of `bench truth` from outcomes made by hand, and the whole of it in miniature."""

from __future__ import annotations

import gzip
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cuvee.base.errors import DataError
from cuvee.bench import domains, truth
from cuvee.bench.domains import GUARDED
from cuvee.bench.truth import Outcome, figures
from cuvee.methods.regression import Regression
from cuvee.plan.choice import Estimate
from cuvee.plan.problem import Proxy


def estimate(mean: float, half: float) -> Estimate:
    return Estimate("objective", mean, mean - half, mean + half, 0.5)


def outcome(predicted: float, proxy: float, large: float | None = None) -> Outcome:
    big = None if large is None else estimate(large, 0.1)
    return Outcome("s", 5, estimate(predicted, 0.1), estimate(proxy, 0.1), big, estimate(0, 0.1), None)


def test_figures() -> None:
    main = [outcome(-0.2, -0.1, 0.1), outcome(-0.2, -0.3, -0.3)]
    cheap = [outcome(-0.2, -0.31), outcome(-0.2, -0.35), outcome(-0.05, 0.04), outcome(-0.2, -0.2)]
    found = figures(main, cheap)
    assert found["sign_agreement"] == pytest.approx((2 + 3 + 1) / 8)
    # half-widths of 0.1 each make 0.141: -0.31 against -0.2 agrees, -0.35 does not; the bare interval holds two
    assert found["coverage"] == pytest.approx(3 / 4)
    assert found["coverage_of_the_mean"] == pytest.approx(2 / 4)
    assert [r["verified_large"] for r in found["rows"]] == [0.1, -0.3]
    assert set(found["rows"][0]) >= {"study", "predicted", "low", "high", "verified_proxy", "verified_large", "seeds"}


def write(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for d, name in enumerate(("math", "code_c", *GUARDED)):
        words = [f"{name[:2]}{chr(97 + w % 26)}{w % 7}" for w in range(60)]
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as out:
            for i in range(160 + 10 * d):
                body = " ".join(rng.choice(words, 60))
                text = f"Question: {body}?\nAnswer: {rng.choice(words)} {i}" if name == "math" else body
                out.write(json.dumps({"text": text}) + "\n")


@pytest.mark.slow
def test_in_miniature_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    monkeypatch.setattr(domains, "PROBLEMS", 60)
    monkeypatch.setattr(truth, "PROXY", Proxy(tokens=4096, size="0.1M", seq_len=32, batch=8, eval_points=1))
    monkeypatch.setattr(truth, "LARGE", Proxy(tokens=8192, size="0.1M", seq_len=32, batch=8, eval_points=1))
    monkeypatch.setattr(truth, "CHEAP", Proxy(tokens=2048, size="0.1M", seq_len=32, batch=8, eval_points=1))
    monkeypatch.setattr(truth, "TARGETS_TOKENS", (40_000, 20_000))
    monkeypatch.setattr(truth, "SEEDS", 2)
    monkeypatch.setattr(truth, "CHEAP_SEEDS", 2)
    monkeypatch.setattr(truth, "RUNS", (16, 16))
    monkeypatch.setattr(truth, "MAIN", truth.MAIN[:1])
    monkeypatch.setattr(truth, "QUESTIONS", truth.QUESTIONS[:1])
    monkeypatch.setattr(truth, "Regression", partial(Regression, predictor="ridge-log"))
    found = truth.run(tmp_path, tmp_path / "work", workers=2, cheap_seeds=(1,))
    assert len(found["rows"]) == 1
    assert len(found["cheap"]) == 1
    assert all(np.isfinite(row["verified_large"]) for row in found["rows"])
    assert len(found["transfer"]) == 1
    assert truth.run(tmp_path, tmp_path / "work", workers=1, cheap_seeds=(1,)) == found


def test_other_corpora_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no domains"):
        truth.run(tmp_path, tmp_path / "work")
