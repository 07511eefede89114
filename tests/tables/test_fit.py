"""From tables to a mixture: the known optimum, what must not change an answer, what is asked wrongly, what tables cannot say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cuvee
from cuvee.base.errors import DataError, InfeasibleError, UsageError
from cuvee.interop.mixturefile import read_mixture
from cuvee.tables.result import Fitted
from tests.predict.tables import PUBLISHED
from tests.tables.made import Columns, columns, losses, rows, runs, to_csv

pytestmark = pytest.mark.slow

FEW = ("web", "code", "math")
KEYS = {"share", "low", "high", "near_low", "near_high", "epochs", "natural", "tried"}


def made(count: int = 14, seed: int = 0, **more: Any) -> tuple[Columns, Columns]:
    return runs(count, seed=seed, domains=FEW, **more)


def quick(mixtures: Any, metrics: Any, **options: Any) -> Fitted:
    return cuvee.fit(mixtures, metrics, **{"predictor": "log-linear", "targets": ["math", "code"], **options})


def text(found: Fitted) -> str:
    return json.dumps(found.to_json(), allow_nan=False)


def test_the_smallest_form_finds_the_optimum(tmp_path: Path) -> None:
    mixtures, metrics = made(20)
    found = cuvee.fit(to_csv(tmp_path / "mixtures.csv", mixtures), to_csv(tmp_path / "metrics.csv", metrics))
    grid = np.random.default_rng(0).dirichlet(np.ones(3), 20_000)
    best = grid[np.argmin(losses(grid).mean(1))]
    assert [s.share for s in found.shares] == pytest.approx(best[[1, 2, 0]], abs=0.05), "code, math, web"
    truth = losses(found.mixture.shares[[2, 0, 1]][None])[0]
    for name, value in zip(("web", "code", "math"), truth, strict=True):
        level = found.predicted[name]
        assert level.low <= level.mean <= level.high
        assert level.mean == pytest.approx(value, abs=0.01)
    assert found.p_better > 0.9
    assert found.cv.spearman > 0.8
    assert any("mean of all 3 metrics" in w for w in found.warnings), "a default is said"
    assert any("mean of the runs" in w for w in found.warnings)


def test_json_has_the_promised_keys() -> None:
    found = quick(*made(), holdout=made(10, seed=5)).to_json()
    assert {"mixture", "predicted", "p_better_than_natural", "cv", "holdout", "gain", "objective", "warnings"} <= set(
        found
    )
    assert set(found["mixture"]) == set(FEW)
    assert sum(row["share"] for row in found["mixture"].values()) == pytest.approx(1)
    for row in found["mixture"].values():
        assert set(row) == KEYS
        assert row["low"] <= row["share"] <= row["high"]
        assert row["near_low"] <= row["share"] <= row["near_high"]
        assert row["epochs"] is None
    assert set(found["predicted"]) == {"math", "code"}
    assert set(found["cv"]) == {"spearman", "rmse"}
    assert {"spearman", "spearman_mean", "kendall_mean", "regret", "coverage"} <= set(found["holdout"])
    assert found["names"]["metrics"]["math"] == "loss_math"
    assert "holdout" not in quick(*made()).to_json()


def test_the_order_of_rows_changes_no_byte() -> None:
    mixtures, metrics = made()
    shuffled = columns([rows(metrics)[i] for i in np.random.default_rng(3).permutation(14)])
    assert text(quick(mixtures, shuffled)) == text(quick(mixtures, metrics))


def test_more_of_a_score_is_less_of_its_negative() -> None:
    mixtures, metrics = made()
    negated = {k: v if k == "run" else [-x for x in v] for k, v in metrics.items()}
    one, other = quick(mixtures, metrics), quick(mixtures, negated, maximise=["all"])
    assert other.mixture == one.mixture
    assert other.maximised == ("code", "math")
    for name, level in one.predicted.items():
        turned = other.predicted[name]
        assert (turned.mean, turned.low, turned.high) == pytest.approx((-level.mean, -level.high, -level.low))
    assert other.gain == one.gain
    named = {k.replace("loss_", "acc_"): v for k, v in negated.items()}
    by_name = quick(mixtures, named, targets=["acc_math", "acc_code"])
    assert by_name.mixture == one.mixture
    assert any("more is better, by their names" in w for w in by_name.warnings)
    assert quick(mixtures, named, targets=["acc_math"], minimise=["acc_math"]).maximised == ()


def test_a_holdout_is_judged_and_changes_nothing() -> None:
    mixtures, metrics = made()
    alone, judged = quick(mixtures, metrics), quick(mixtures, metrics, holdout=made(30, seed=7))
    assert judged.holdout is not None
    assert judged.holdout.spearman_mean > 0.9
    assert judged.holdout.kendall_mean > 0.7
    assert 0 <= judged.holdout.regret < 0.01
    assert judged.holdout.coverage > 0.7
    bare = judged.to_json()
    del bare["holdout"]
    assert bare == alone.to_json()


def test_a_holdout_is_joined_by_names() -> None:
    mixtures, metrics = made()
    other, values = made(12, seed=7)
    whole = quick(mixtures, metrics, holdout=(other, values)).holdout
    turned = dict(reversed(other.items())), columns(list(reversed(rows(values))))
    assert quick(mixtures, metrics, holdout=turned).holdout == whole
    with pytest.raises(DataError, match="without math"):
        quick(mixtures, metrics, holdout=({("maths" if k == "math" else k): v for k, v in other.items()}, values))
    empty = {**other, "news": [0.0] * 12}
    assert quick(mixtures, metrics, holdout=(empty, values)).holdout == whole, "a domain without a share is none"
    fewer = quick(mixtures, metrics, holdout=(other, {k: v for k, v in values.items() if k != "loss_code"}))
    assert fewer.holdout is not None
    assert set(fewer.holdout.spearman) == {"math"}
    assert any("no values of code" in w for w in fewer.warnings)
    with pytest.raises(DataError, match="no values of"):
        quick(mixtures, metrics, holdout=(other, {k: v for k, v in values.items() if k in ("run", "loss_web")}))
    again = quick(mixtures, metrics, holdout=(mixtures, metrics))
    assert any("have a mixture that was fitted" in w for w in again.warnings)


def test_targets_by_long_and_short_names_and_weights() -> None:
    mixtures, metrics = made()
    one = quick(mixtures, metrics, targets={"loss_math": 3, "code": 1})
    assert {t.name: t.weight for t in one.objective} == {"code": 0.25, "math": 0.75}
    assert quick(mixtures, metrics, targets={"math": 0.75, "loss_code": 0.25}).mixture == one.mixture
    assert one.mixture.share("math") > quick(mixtures, metrics).mixture.share("math")
    for wrong, said in (
        ({"maths": 1.0}, r"no target 'maths'(?s:.*)did you mean 'math'"),
        ({"math": 0.0}, "weight 0"),
        ({"math": -1.0}, "weight -1"),
        ({"math": math.nan}, "weight nan"),
        ({"math": 1.0, "loss_math": 1.0}, "twice"),
    ):
        with pytest.raises(UsageError, match=said):
            quick(mixtures, metrics, targets=wrong)
    with pytest.raises(UsageError, match="--maximise web: it is no target"):
        quick(mixtures, metrics, maximise=["web"])
    with pytest.raises(UsageError, match="both maximised and minimised"):
        quick(mixtures, metrics, maximise=["all"], minimise=["math"])


def test_metrics_that_say_nothing() -> None:
    mixtures, metrics = made()
    odd = {**metrics, "same": [1.5] * 14, "none": [math.nan] * 14, "rare": [1.0, 2.0, *[None] * 12]}
    found = quick(mixtures, odd, targets=())
    assert set(found.predicted) == {"math", "code", "web"}
    said = "\n".join(found.warnings)
    assert "same is 1.5 in every run" in said
    assert "none has no value in any run" in said
    assert "rare has a value in only 2 of 14" in said
    for name in ("same", "none"):
        with pytest.raises(DataError, match=f"target {name}"):
            quick(mixtures, odd, targets=["math", name])
    with pytest.raises(DataError, match="no metric differs"):
        quick(mixtures, {"run": metrics["run"], "same": [1.5] * 14}, targets=())


def test_a_run_without_a_target_is_left_out_of_it_alone() -> None:
    mixtures, metrics = made()
    metrics["loss_web"][3] = math.nan
    assert quick(mixtures, metrics).runs == 14, "the web is no target"
    found = quick(mixtures, metrics, targets=["web"])
    assert found.runs == 13
    assert any("without a value of every target are left out: r03" in w for w in found.warnings)


def test_runs_that_are_too_few_or_all_alike() -> None:
    with pytest.raises(DataError, match="3 run"):
        quick(*made(3))
    found = cuvee.fit(*runs(5), predictor="log-linear")
    assert any(w.startswith("FEW RUNS: 5 different mixtures for 5 domains") for w in found.warnings)
    mixtures, metrics = made()
    with pytest.raises(DataError, match="all 14 runs have the same mixture"):
        quick({k: v if k == "run" else [v[0]] * 14 for k, v in mixtures.items()}, metrics)
    metrics["loss_math"][:12] = [math.nan] * 12
    metrics["loss_math"][12:] = [1.0, 2.0]
    with pytest.raises(DataError, match="only 2 of 14"):
        quick(mixtures, metrics)


def test_bounds_are_kept_and_their_cost_is_shown(tmp_path: Path) -> None:
    mixtures, metrics = made()
    free = quick(mixtures, metrics)
    assert free.unconstrained is None
    found = quick(mixtures, metrics, caps="math=0.2,code=30%", floors={"web": 0.1})
    assert found.mixture.share("math") <= 0.2 + 1e-6
    assert found.mixture.share("code") <= 0.3 + 1e-6
    assert found.unconstrained is not None
    assert found.unconstrained.gain == pytest.approx(free.gain.mean, abs=0.002)
    assert found.unconstrained.gain > found.gain.mean
    (line,) = (line for line in found.choice.why if line.startswith("Without caps"))
    assert f"{found.unconstrained.gain:.4f} " in line, "one meaning of unconstrained"
    assert any(line.startswith("At their caps") for line in found.choice.why)
    table = to_csv(tmp_path / "caps.csv", {"domain": ["math", "code"], "share": [0.2, 0.3]})
    assert quick(mixtures, metrics, caps=table, floors={"web": 0.1}).mixture == found.mixture
    with pytest.raises(InfeasibleError, match=r"caps sum to 0\.6"):
        quick(mixtures, metrics, caps={"math": 0.2, "code": 0.2, "web": 0.2})
    for wrong, said in (
        ("math=2", "between 0 and 1"),
        ("maths=0.2", "did you mean 'math'"),
        ("math", "no such file"),
        ("math=a", "a number such as"),
        ("math=.1,math=.2", "each name once"),
    ):
        with pytest.raises(UsageError, match=rf"(?s){said}"):
            quick(mixtures, metrics, caps=wrong)


def test_epochs_are_caps_and_in_the_answer() -> None:
    mixtures, metrics = made()
    tokens = "web=1M,code=100k,math=20_000"
    found = quick(mixtures, metrics, tokens=tokens, target_tokens=400_000, max_epochs=4)
    epochs = {s.domain: s.epochs for s in found.shares}
    assert epochs["math"] is not None
    assert epochs["math"] == pytest.approx(4, rel=1e-3)
    assert found.mixture.share("math") == pytest.approx(0.2, rel=1e-3)
    known = quick(mixtures, metrics, tokens=tokens, target_tokens=400_000)
    assert {s.domain: s.epochs for s in known.shares}["math"] == pytest.approx(known.mixture.share("math") * 20)
    with pytest.raises(InfeasibleError, match="caps sum to"):
        quick(mixtures, metrics, tokens=tokens, target_tokens=10_000_000, max_epochs=4)
    with pytest.raises(UsageError, match="--max-epochs without tokens"):
        quick(mixtures, metrics, max_epochs=4)
    with pytest.raises(UsageError, match="tokens of math"):
        quick(mixtures, metrics, tokens="web=1M,code=1M", target_tokens=10)


def test_what_natural_may_be(tmp_path: Path) -> None:
    mixtures, metrics = made()
    run = quick(mixtures, metrics, natural="r02")
    assert run.natural_from == "run r02"
    assert run.natural.share("math") == pytest.approx(mixtures["math"][2], abs=1e-6)
    (tmp_path / "natural.json").write_text('{"web": 600, "math": 300, "code": 100}', encoding="utf-8")
    for given in ("web=600,math=300,code=100", tmp_path / "natural.json", {"web": 0.6, "math": 0.3, "code": 0.1}):
        assert quick(mixtures, metrics, natural=given).natural.as_dict() == pytest.approx(
            {"code": 0.1, "math": 0.3, "web": 0.6}, abs=1e-6
        )
    mixtures["run"][4] = metrics["run"][4] = "natural"
    found = quick(mixtures, metrics)
    assert found.natural_from == "run natural"
    assert not any("--natural" in w for w in found.warnings)
    for wrong in ("r99", "web=-1", {"webb": 1.0}):
        with pytest.raises(UsageError):
            quick(mixtures, metrics, natural=wrong)


def test_a_guard_holds_the_mixture_back() -> None:
    mixtures, metrics = made(24)
    base = quick(mixtures, metrics, targets=["math"])
    found = quick(mixtures, metrics, targets=["math"], guards={"web": 0.02})
    guard = found.to_json()["guards"]["web"]
    assert found.mixture.share("math") < base.mixture.share("math")
    assert guard["change"] <= 0.02
    assert guard["p_holds"] >= 0.899
    assert set(found.predicted) == {"math", "web"}
    assert found.to_json()["expected_regret"] >= 0
    with pytest.raises(UsageError, match="no guard 'webb'"):
        quick(mixtures, metrics, guards=["webb"])


def test_aversion_and_pull_keep_near_natural() -> None:
    mixtures, metrics = made(12, noise=0.05)
    away = {}
    for name, more in (("none", {}), ("aversion", {"aversion": 3.0}), ("pull", {"pull": 1.0})):
        found = quick(mixtures, metrics, targets=["math"], natural="web=1,code=1,math=1", **more)
        away[name] = np.abs(found.mixture.shares - 1 / 3).sum()
    assert away["aversion"] < away["none"]
    assert away["pull"] < 0.2 * away["none"]
    with pytest.raises(UsageError, match="aversion"):
        quick(mixtures, metrics, aversion=-1)


def test_a_domain_that_never_varied_stays_where_it_was() -> None:
    mixtures, metrics = made()
    found = quick({**mixtures, "news": [0.0] * 14}, metrics)
    assert found.mixture.share("news") == 0
    assert found.unconstrained is None
    bounded = quick({**mixtures, "news": [0.0] * 14}, metrics, caps={"math": 0.2}).unconstrained
    assert bounded is not None
    assert bounded.mixture["news"] == 0
    assert any("the same share in every run" in w and "news 0" in w for w in found.warnings)
    assert found.mixture.share("math") == pytest.approx(quick(mixtures, metrics).mixture.share("math"), abs=0.01)


def test_blocks_take_the_offset_of_a_seed() -> None:
    mixtures, metrics = made(24)
    seeds = [n % 4 for n in range(24)]
    moved = {k: v if k == "run" else [x + 0.1 * s for x, s in zip(v, seeds, strict=True)] for k, v in metrics.items()}
    found = quick({**mixtures, "seed": seeds}, moved, block="seed")
    assert found.blocks == 4
    assert found.mixture.shares == pytest.approx(quick(mixtures, metrics).mixture.shares, abs=0.05)
    plain = quick(mixtures, metrics).predicted["math"]
    level = found.predicted["math"]
    assert level.high - level.low > 2 * (plain.high - plain.low), "a level is unsure by the blocks' offsets"
    assert found.gain.mean > 0


@pytest.mark.parametrize("factor", [1e-9, 1e7])
def test_units_change_no_answer(factor: float) -> None:
    mixtures, metrics = made()
    other = {k: v if k == "run" else [x * factor for x in v] for k, v in metrics.items()}
    asked: dict[str, Any] = {"guards": ["web"], "caps": {"code": 0.5}, "holdout": (mixtures, metrics)}
    one = quick(mixtures, metrics, **asked)
    two = quick(mixtures, other, **{**asked, "holdout": (mixtures, other)})
    assert two.mixture.shares == pytest.approx(one.mixture.shares, abs=0.003)
    assert two.gain.mean == pytest.approx(one.gain.mean * factor, rel=0.02)
    assert two.predicted["math"].high == pytest.approx(one.predicted["math"].high * factor, rel=1e-3)
    assert two.cv.rmse == pytest.approx(one.cv.rmse * factor, rel=1e-3)
    assert two.tolerance == pytest.approx(one.tolerance * factor, rel=0.05)
    assert one.holdout is not None
    assert two.holdout is not None
    assert two.holdout.regret == pytest.approx(one.holdout.regret * factor, abs=1e-6 * factor)
    assert two.holdout.coverage == pytest.approx(one.holdout.coverage, abs=0.05)


def test_one_large_target_is_told() -> None:
    mixtures, metrics = made()
    big = {k: [1000 * x for x in v] if k == "loss_web" else v for k, v in metrics.items()}
    assert any("web makes" in w and "of the objective's spread" in w for w in quick(mixtures, big, targets=()).warnings)


def test_the_mixture_file_is_ours(tmp_path: Path) -> None:
    found = quick(*made())
    found.write(tmp_path / "mixture.json", tokens=1000)
    assert read_mixture(tmp_path / "mixture.json") == found.choice.schedule
    written = json.loads((tmp_path / "mixture.json").read_text(encoding="utf-8"))
    assert (written["unit"], written["predicted_unit"]) == ("tokens", found.unit)
    mixtures, metrics = made()
    small = {k: v if k == "run" else [x * 1e-6 for x in v] for k, v in metrics.items()}
    quick(mixtures, small).write(tmp_path / "mixture.json")
    written = json.loads((tmp_path / "mixture.json").read_text(encoding="utf-8"))
    assert written["predicted_unit"].startswith("times 1e-0"), "losses were scaled for the solver"


def test_a_predictor_by_name_or_itself() -> None:
    from cuvee.predict.loglinear import LogLinear

    mixtures, metrics = made()
    assert quick(mixtures, metrics, predictor=LogLinear()).mixture == quick(mixtures, metrics).mixture
    with pytest.raises(UsageError, match="no predictor 'log-linaer'"):
        quick(mixtures, metrics, predictor="log-linaer")


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published runs of RegMix are not here")
def test_the_published_runs_of_regmix() -> None:
    train, test = (
        (PUBLISHED / f"{part}_mixture_1m.csv", PUBLISHED / f"{part}_pile_loss_1m.csv") for part in ("train", "test")
    )
    found = cuvee.fit(*train, targets=["pile_cc"], holdout=test, predictor="power-law")
    assert (found.runs, found.domains, found.blocks) == (512, 17, 1)
    assert found.names["metrics"]["pile_cc"] == "metric/the_pile_pile_cc_val_loss"
    assert found.mixture.share("pile_cc") > 0.4, "what RegMix found, too"
    assert any("within 0.004 of it" in w for w in found.warnings)
    assert found.holdout is not None
    assert found.holdout.runs == 256
    assert found.holdout.spearman["pile_cc"] > 0.98


def test_natural_of_several_blocks_is_natural() -> None:
    mixtures, metrics = runs(12)
    ids = ["natural", *mixtures["run"][1:]]
    both = {
        "run": ids * 3,
        "seed": [s for s in range(3) for _ in ids],
        **{k: v * 3 for k, v in metrics.items() if k != "run"},
    }
    for natural in (None, "natural"):
        found = cuvee.fit({**mixtures, "run": ids}, both, block="seed", natural=natural, predictor="ridge-log")
        assert found.natural_from == "run natural"
        assert found.natural.as_dict() == pytest.approx({d: mixtures[d][0] for d in found.natural.domains}, abs=1e-6)


def test_blocks_of_one_run_tell_nothing() -> None:
    mixtures, metrics = runs(12)
    alone = {**metrics, "seed": list(range(12))}
    with pytest.raises(DataError, match="12 runs in 12 blocks: only 0 can be compared"):
        cuvee.fit(mixtures, alone, block="seed")


def test_a_guard_that_nothing_keeps_has_no_regret() -> None:
    found = quick(*made(24), targets=["math"], guards={"web": 0.0}, floors="math=0.9,code=0.06,web=0.04")
    assert math.isnan(found.regret)
    assert found.to_json()["expected_regret"] is None
    assert any(line.startswith("Guard not met") for line in found.choice.why)


def test_mixtures_in_every_block_are_foretold_without_them() -> None:
    """Metrics that no mixture explains: with the same mixtures in all blocks they can be remembered, but not foretold."""
    mixtures, metrics = runs(16, domains=FEW)
    rng = np.random.default_rng(1)
    chance = {k: v if k == "run" else rng.normal(2, 0.1, 16).tolist() for k, v in metrics.items()}
    repeated = {k: v * 4 for k, v in chance.items()} | {"seed": np.repeat(range(4), 16).tolist()}
    found = quick(mixtures, repeated, block="seed", predictor="process")
    assert (found.runs, found.blocks) == (64, 4)
    assert found.cv.rmse > 0.05
    assert found.cv.spearman < 0.5
