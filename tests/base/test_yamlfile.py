from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cuvee.base.codec import from_json
from cuvee.base.errors import UsageError
from cuvee.base.yamlfile import load_yaml


@dataclass(frozen=True)
class Config:
    tokens: int
    names: tuple[str, ...] = ()


def parse(data: Any) -> Config:
    return from_json(Config, data)


def test_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("tokens: 30M\nnames: [a, ü]\n", encoding="utf-8")
    assert load_yaml(path, parse) == Config(30_000_000, ("a", "ü"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tokens: 1\n\ntokns: 2\n", "a.yaml:3: tokns: unknown key"),
        ("tokens: 1\nnames:\n  - a\n  - 3\n", "a.yaml:4: names.1"),
        ("tokens: 1\ntokens: 2\n", "given twice"),
        ("tokens: [", "not YAML"),
        ("", "is empty"),
    ],
)
def test_says_where(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        load_yaml(path, parse)


def test_missing_and_binary(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_yaml(tmp_path / "none.yaml", parse)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot read"):
        load_yaml(tmp_path / "b.yaml", parse)
