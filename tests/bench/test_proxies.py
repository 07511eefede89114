from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cuvee.bench import paired, plain, proxies
from cuvee.bench.paired import Variant, compare
from cuvee.plan.sizes import size
from cuvee.proxies.way import Way
from cuvee.testing.corpora import synthetic

pytestmark = pytest.mark.slow


def tokens(members: int) -> torch.Tensor:
    return torch.randint(0, 40, (members, 2, 9), generator=torch.Generator().manual_seed(0))


def test_the_plain_loop_learns() -> None:
    torch.manual_seed(0)
    step, score = plain.alone(size("0.1M"), 40, 8)
    before = score(tokens(1))
    for _ in range(5):
        step(tokens(1))
    assert score(tokens(1)).item() < before.item()


def test_models_under_vmap_are_as_many_plain_ones() -> None:
    torch.manual_seed(0)
    step, score = plain.stacked(size("0.1M"), 40, 8, 2)
    before = score(tokens(2))
    assert before.shape == (2,)
    torch.manual_seed(0)
    singles = [plain.alone(size("0.1M"), 40, 8) for _ in range(2)]
    expected = torch.cat([alone(tokens(2)[k : k + 1]) for k, (_, alone) in enumerate(singles)])
    torch.testing.assert_close(before, expected)
    torch.testing.assert_close(step(tokens(2)), before)
    step(tokens(2))
    assert (score(tokens(2)) < before).all()


def test_a_row_for_every_contender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "compiler", lambda: "")
    found = proxies.run(sizes=[("0.1M", 3_000)], vocab=64, rounds=1, together=2)
    assert [(r.contender, r.k) for r in found.rows] == [
        ("ours fp32 eager", 1),
        ("plain", 1),
        ("ours fp32 eager", 2),
        ("vmap", 2),
    ]
    ours, rival, *_ = found.rows
    assert found.ratio_eager == {"0.1M": pytest.approx(ours.tokens_per_s / rival.tokens_per_s)}
    assert ours.share_of_peak == pytest.approx(ours.model_gflops / found.gemm_peak_gflops)
    assert {"ratio_vmap 0.1M", "gemm_peak_gflops", "gemm_peak_bf16_gflops"} <= set(found.ratios())


def test_the_same_way_moves_nothing_and_another_rate_does(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    variants = [Variant("one"), Variant("same"), Variant("double", learning_rate=2.0), Variant("bf16", way=Way("bf16"))]
    _, same, double, bf16 = compare(synthetic(tmp_path, documents=100), "0.1M", 2_000, variants, blocks=(0, 1))
    assert (same.moved, same.diverged) == (0.0, 0)
    assert same.order == pytest.approx(1.0)
    assert same.noise > 0
    assert double.moved > bf16.moved > 0


def test_plans_share_their_block(tmp_path: Path) -> None:
    corpus = synthetic(tmp_path)
    plans = paired.plans_of(corpus, "0.1M", 5_000, 3)
    assert len({p.schedule for p in plans}) == len(plans) == 1 + paired.MIXTURES
    assert {(p.block, p.learning_rate) for p in plans} == {(3, plans[0].learning_rate)}
