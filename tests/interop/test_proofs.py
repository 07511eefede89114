"""What trainers' own code makes of exported files; each test needs that trainer installed."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from cuvee.interop.registry import exporter
from tests.interop.handovers import ROW_TOKENS, TOKENS, handover


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_datasets_draws_the_rows(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    for domain, tokens in TOKENS.items():
        rows = [json.dumps({"text": domain}) for _ in range(round(tokens / ROW_TOKENS[domain]))]
        (tmp_path / f"{domain}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    handed = handover(pattern=str(tmp_path / "{slug}.jsonl"), tokens=20_000_000)
    (text,) = exporter("hf").render(handed).values()
    (tmp_path / "mixture_00.py").write_text(text, encoding="utf-8")
    counts = Counter(row["text"] for row in loaded(tmp_path / "mixture_00.py").mixture())
    tokens_of = {d: n * ROW_TOKENS[d] for d, n in counts.items()}
    total = sum(tokens_of.values())
    assert total == pytest.approx(handed.tokens, rel=0.05)
    for domain, share in handed.stages[0].shares.items():
        # rows are drawn at random: five standard deviations of a count
        assert tokens_of[domain] / total == pytest.approx(share, rel=5 / counts[domain] ** 0.5)


def test_megatron_blends_what_the_file_says() -> None:
    utils = pytest.importorskip("megatron.core.datasets.utils")
    helpers = pytest.importorskip("megatron.core.datasets.helpers")
    handed, record = handover(pattern="/d/{slug}_text_document"), exporter("megatron")
    (text,) = record.render(handed).values()
    prefixes, amounts = utils.get_blend_from_list(text.split())
    slots = handed.tokens // handed.seq_len
    which, place = np.zeros(slots, np.int16), np.zeros(slots, np.int64)
    helpers.build_blending_indices(which, place, np.array(amounts), len(prefixes), slots, False)
    counted = dict(zip(prefixes, np.bincount(which).tolist(), strict=True))
    (blend,) = record.parse({"blend-00.txt": text})
    assert counted == record.rounded(blend, handed, handed.stages[0])
