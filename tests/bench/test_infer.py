from __future__ import annotations

import math
from pathlib import Path

import pytest

from cuvee.base.errors import DataError
from cuvee.bench import infer as bench
from tests.audit.texts import LETTERS, documents, folders


def test_pools_share_no_document(tmp_path: Path) -> None:
    texts = {c: documents(c, 40) for c in ("abc", "mno")}
    train, held = bench.deal(folders(tmp_path, {c: rows + rows for c, rows in texts.items()}))
    for category, rows in texts.items():
        assert sorted(train[category] + held[category]) == sorted(rows)
        assert train[category]
        assert held[category]


@pytest.mark.slow
def test_every_setting_is_measured(tmp_path: Path) -> None:
    rows = bench.run(folders(tmp_path, {c: documents(c, 120) for c in LETTERS}), mixtures=1, merges=60, simulations=2)
    shown = {r["setting"]: r for r in bench.summary(rows)}
    assert set(shown) == {
        "5 categories", "180 merges", "normalising tokenizer", "samples ten times smaller", "a category missing",
        "another dialect",
    }  # fmt: skip
    plain = shown["5 categories"]
    assert plain["log10 MSE"] < plain["nearest"]
    assert plain["log10 MSE"] < plain["uniform"] - 0.5
    assert shown["a category missing"]["missing"] > 0
    assert math.isnan(shown["another dialect"]["nearest"])
    with pytest.raises(DataError, match="five or more"):
        bench.run(folders(tmp_path / "few", {c: documents(c, 5) for c in ("abc", "mno")}))
