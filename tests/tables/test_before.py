"""Runs over domains that were edited since: alone, and beside runs of today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cuvee
from cuvee.base.errors import DataError, UsageError
from cuvee.mixture.edits import Add, Edit, Merge, Remove, Rename, Revise, Split
from cuvee.mixture.weights import Array
from cuvee.tables.result import Fitted
from tests.tables.made import Columns, losses, runs

pytestmark = pytest.mark.slow

OLD = ("web", "code", "math", "forums")
TODAY = ("web", "code", "math", "papers")


def quick(mixtures: Any, metrics: Any, **options: Any) -> Fitted:
    return cuvee.fit(mixtures, metrics, **{"predictor": "log-linear", "targets": ["math", "code"], **options})


def objective(w_ND: Array) -> Array:
    """The truth of `quick`, over four domains in the order of `OLD`."""
    return np.asarray(losses(w_ND)[:, [2, 1]].mean(1))


def shares(found: Fitted) -> dict[str, float]:
    return {s.domain: s.share for s in found.shares}


def renamed(columns: Columns, old: str, new: str) -> Columns:
    return {name.replace(old, new): cells for name, cells in columns.items()}


def made(count: int, seed: int, domains: tuple[str, ...], **more: Any) -> tuple[Columns, Columns]:
    """Runs whose metrics lack the last domain's, which only one of the corpora has."""
    mixtures, metrics = runs(count, seed=seed, domains=domains, **more)
    return mixtures, {name: cells for name, cells in metrics.items() if not name.endswith(domains[-1])}


def test_a_renamed_domain_is_the_same() -> None:
    mixtures, metrics = runs(16, domains=OLD)
    found = quick(mixtures, metrics, targets=["boards", "code"], edits=[Rename("forums", "boards")])
    direct = quick(
        renamed(mixtures, "forums", "boards"), renamed(metrics, "forums", "boards"), targets=["boards", "code"]
    )
    assert shares(found) == pytest.approx(shares(direct), abs=1e-3)
    assert found.gain.mean == pytest.approx(direct.gain.mean, abs=1e-4)
    assert found.names["domains"]["boards"] == "forums"


def test_without_a_removed_domain_all_runs_count() -> None:
    found = quick(*runs(20, domains=OLD), edits=[Remove("forums")])
    assert found.runs == 20
    assert set(shares(found)) == {"web", "code", "math"}
    grid_ND = np.pad(np.random.default_rng(0).dirichlet(np.ones(3), 20_000), ((0, 0), (0, 1)))
    best_D = grid_ND[np.argmin(objective(grid_ND))]
    assert [shares(found)[d] for d in OLD[:3]] == pytest.approx(best_D[:3].tolist(), abs=0.06)
    assert sum(s.natural for s in found.shares) == pytest.approx(1)
    assert all(s.tried[1] <= 1 for s in found.shares)
    levels = losses(np.array([[shares(found).get(d, 0.0) for d in OLD]]))[0]
    assert found.predicted["math"].mean == pytest.approx(levels[2], abs=0.02)
    assert any("forums removed" in line for line in found.choice.why)


def test_parts_of_a_split_domain_have_its_share_together() -> None:
    mixtures, metrics = runs(20, domains=OLD)
    found = quick(mixtures, metrics, edits=[Split("code", {"c": 0.7, "py": 0.3})])
    whole = shares(quick(mixtures, metrics))
    assert shares(found)["c"] + shares(found)["py"] == pytest.approx(whole["code"], abs=0.08)
    assert "code" in found.predicted, "its text is still there to be scored on"


def test_merged_domains_and_those_of_the_same_name_that_are_another_text() -> None:
    found = quick(*runs(20, domains=OLD), targets=["math"], edits=[Merge(("web", "forums"), "web")])
    assert set(shares(found)) == {"web", "code", "math"}
    assert "web" not in found.names["metrics"]
    assert any("other texts now: web" in line for line in found.warnings)
    assert any("mean of the runs" in line and "merged" in line for line in found.warnings)
    assert any("count as" in line for line in found.choice.why)


def test_an_added_domain_that_no_run_had_stays_out() -> None:
    found = quick(*runs(16, domains=OLD), edits=[Add("papers")])
    assert shares(found)["papers"] == 0
    assert any("papers" in line and "nothing tells" in line for line in found.warnings)


@pytest.mark.parametrize(
    "edits", [[Remove("forums"), Add("papers")], [Remove("forums"), Add("papers"), Revise("web", noise=0.0)]]
)
def test_few_runs_of_today_beside_old_ones_are_as_good_as_many(edits: list[Edit]) -> None:
    few, many = made(7, 1, TODAY, noise=0.02), made(60, 2, TODAY, noise=0.02)
    found = quick(*few, past=made(60, 3, OLD, noise=0.02), edits=edits)
    assert found.runs == 67
    alone, best = quick(*few), quick(*many)
    values = {
        name: float(objective(np.array([[shares(each)[d] for d in TODAY]]))[0])
        for name, each in (("alone", alone), ("beside", found), ("many", best))
    }
    assert values["beside"] < values["alone"]
    assert values["beside"] - values["many"] < 0.5 * (values["alone"] - values["many"])
    assert found.choice.diagnostics["lifted_used"] == 1
    assert any("Runs from before: 60 runs" in line for line in found.choice.why)


def test_old_runs_that_mislead_are_left_out() -> None:
    today = made(16, 1, TODAY)
    mixtures, metrics = made(40, 3, OLD)
    wrong = {name: cells if name == "run" else [10 - 2 * v for v in cells] for name, cells in metrics.items()}
    found = quick(*today, past=(mixtures, wrong), edits=[Remove("forums"), Add("papers")])
    assert found.choice.diagnostics["lifted_used"] == 0
    assert shares(found) == shares(quick(*today))
    assert any("left out" in line for line in found.choice.why)


def test_levels_are_those_of_today() -> None:
    """Another tokenizer shifts all old losses alike."""
    today, (mixtures, metrics) = made(10, 1, TODAY), made(40, 3, OLD)
    shifted = {name: cells if name == "run" else [v + 5 for v in cells] for name, cells in metrics.items()}
    edits = [Remove("forums"), Add("papers")]
    one, other = (quick(*today, past=(mixtures, m), edits=edits) for m in (metrics, shifted))
    assert other.predicted["math"].mean == pytest.approx(one.predicted["math"].mean, abs=1e-3)
    assert other.predicted["math"].low > 1.5
    assert other.predicted["math"].high < 3.5
    assert other.tolerance == pytest.approx(one.tolerance)


def test_a_target_that_old_runs_lack_is_learned_from_today() -> None:
    today, past = made(16, 1, TODAY), made(40, 3, OLD)
    mixtures, metrics = past
    past = (mixtures, {name: cells for name, cells in metrics.items() if name != "loss_code"})
    found = quick(*today, past=past, edits=[Remove("forums"), Add("papers")])
    assert any("not scored on code" in line for line in found.choice.why)
    assert {"math", "code"} == set(found.predicted)


def test_blocks_of_today_judge_the_old_runs() -> None:
    mixtures, metrics = made(16, 1, TODAY)
    block = {"seed": [i % 4 for i in range(16)]}
    found = quick(
        {**mixtures, **block},
        {**metrics, **block},
        block="seed",
        past=made(30, 3, OLD),
        edits=[Remove("forums"), Add("papers")],
    )
    assert found.blocks == 5
    assert found.choice.diagnostics["lobo_rmse_with_lifted"] > 0


def test_edits_from_a_file_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "edits.yaml"
    path.write_text("- {remove: forums}\n- {split: code, into: {c: 0.7, py: 0.3}}\n", encoding="utf-8")
    tables = runs(16, domains=OLD)
    given = [Remove("forums"), Split("code", {"c": 0.7, "py": 0.3})]
    assert quick(*tables, edits=path).to_json() == quick(*tables, edits=given).to_json()


def test_edits_that_lead_elsewhere_are_told() -> None:
    with pytest.raises(UsageError, match="after its edits") as told:
        quick(*made(10, 1, TODAY), past=made(20, 3, OLD), edits=[Add("papers")])
    assert "{remove: forums}" in str(told.value)
    with pytest.raises(UsageError, match="no domain 'forum'") as told:
        quick(*runs(10, domains=OLD), edits=[Remove("forum")])
    assert "forums" in str(told.value)


@pytest.mark.parametrize(
    ("text", "told"), [("- {drop: web}\n", "drop"), ("- {remove: 3\n", "YAML"), ("", "empty"), ("remove: web\n", "got")]
)
def test_a_file_that_lists_no_edits(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "edits.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=told) as found:
        quick(*runs(10, domains=OLD), edits=path)
    assert "edits.yaml" in str(found.value)


def test_old_runs_without_any_target() -> None:
    mixtures, metrics = made(20, 3, OLD)
    past = (mixtures, {"run": metrics["run"], "speed": metrics["loss_code"]})
    with pytest.raises(DataError, match="none of the targets"):
        quick(*made(10, 1, TODAY), past=past, edits=[Remove("forums"), Add("papers")])


def test_the_default_predictor_learns_from_both() -> None:
    past, edits = made(30, 3, OLD), [Remove("forums"), Add("papers")]
    found = quick(*made(10, 1, TODAY), past=past, edits=edits, predictor="auto", targets=["math"])
    assert found.runs == 40
    assert found.gain.low < found.gain.mean < found.gain.high
    assert found.cv.spearman > 0.9
