"""Tables as people have them: layouts, ids, what is missing, there twice, or no share."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuvee.base.errors import DataError, UsageError
from cuvee.tables.columns import Layout
from cuvee.tables.reading import Runs, read_runs
from tests.tables.made import DOMAINS, Columns, columns, long, rows, runs, to_csv, to_jsonl, to_parquet


def read(mixtures: Any, metrics: Any, **layout: Any) -> Runs:
    return read_runs(mixtures, metrics, Layout(**layout))


def same(one: Runs, other: Runs) -> bool:
    return (
        one.ids == other.ids
        and one.domains == other.domains
        and one.metrics == other.metrics
        and np.array_equal(one.shares_ND, other.shares_ND)
        and np.array_equal(one.value_NM, other.value_NM, equal_nan=True)
        and np.array_equal(one.block_N, other.block_N)
    )


def test_joined_by_id_in_any_order_of_rows_and_columns() -> None:
    mixtures, metrics = runs(8)
    shuffled = columns(list(reversed(rows(metrics))))
    turned = dict(reversed(shuffled.items()))
    found = read(mixtures, metrics)
    assert same(found, read(mixtures, shuffled))
    assert same(found, read(dict(reversed(mixtures.items())), turned))
    assert tuple(found.domains) == tuple(sorted(DOMAINS))
    at = found.ids.index("r03")
    assert found.value_NM[at, list(found.metrics).index("code")] == metrics["loss_code"][3]
    assert found.shares_ND[at, list(found.domains).index("code")] == pytest.approx(mixtures["code"][3])


@pytest.mark.slow
def test_every_kind_of_file_says_the_same(tmp_path: Path) -> None:
    mixtures, metrics = runs(8)
    found = read(to_csv(tmp_path / "m.csv", mixtures), to_csv(tmp_path / "l.csv", metrics))
    zipped = tmp_path / "m.csv.gz"
    zipped.write_bytes(gzip.compress((tmp_path / "m.csv").read_bytes()))
    lines = to_jsonl(tmp_path / "m.jsonl", mixtures)
    (tmp_path / "m.jsonl.gz").write_bytes(gzip.compress(lines.read_bytes()))
    others = [
        zipped, lines, tmp_path / "m.jsonl.gz", to_parquet(tmp_path / "m.parquet", mixtures),
        to_csv(tmp_path / "m.tsv", mixtures, "\t"), to_csv(tmp_path / "long.csv", long(mixtures, "domain", "share")),
    ]  # fmt: skip
    for path in others:
        assert same(found, read(path, to_csv(tmp_path / "l.csv", metrics))), path.name
    for path in (
        to_parquet(tmp_path / "l.parquet", metrics), to_jsonl(tmp_path / "l.jsonl", metrics),
        to_csv(tmp_path / "llong.csv", long(metrics, "metric", "value", step=100)),
    ):  # fmt: skip
        assert same(found, read(tmp_path / "m.csv", path)), path.name


def test_the_last_step_counts_and_runs_that_stopped_early_do_not() -> None:
    mixtures, metrics = runs(6)
    ends = long(metrics, "metric", "value", step=200)
    early = long({k: [9.0 if k != "run" else v for v in vs] for k, vs in metrics.items()}, "metric", "value", step=100)
    both = {key: early[key] + ends[key] for key in ends}
    assert same(read(mixtures, metrics), read(mixtures, both))
    cut = columns([row for row in rows(both) if not (row["run"] == "r02" and row["step"] == 200)])
    found = read(mixtures, cut)
    assert "r02" not in found.ids
    assert any("stop earlier: r02" in note for note in found.notes)


def test_a_wide_history_is_read_to_its_end() -> None:
    mixtures, metrics = runs(5)
    history = {key: [v for v in cells for _ in range(2)] for key, cells in metrics.items()}
    history["step"] = [1, 2] * 5
    for key in history:
        if key.startswith("loss"):
            history[key][::2] = [9.0] * 5
    assert same(read(mixtures, metrics), read(mixtures, history))


def test_ids_as_numbers_and_text_are_one(tmp_path: Path) -> None:
    mixtures, metrics = runs(5)
    mixtures["run"], metrics["run"] = [1.0, 2.0, 3.0, 4.0, 5.0], ["1", "2", "3", "4", "5"]
    assert read(mixtures, metrics).ids == ("1", "2", "3", "4", "5")


def test_the_best_shared_column_of_ids_counts() -> None:
    mixtures, metrics = runs(5)
    mixtures["index"], metrics["index"] = [0, 1, 2, 3, 4], [4, 3, 2, 1, 0]
    assert read(mixtures, metrics).ids == tuple(mixtures["run"]), "run before index, which numbers rows here"
    by = read(mixtures, metrics, id="index")
    assert by.ids == ("0", "1", "2", "3", "4")
    assert by.value_NM[0, list(by.metrics).index("web")] == metrics["loss_web"][4]
    renamed = {("name" if k == "run" else k): v for k, v in metrics.items() if k != "index"}
    found = read({k: v for k, v in mixtures.items() if k != "index"}, renamed)
    assert any("joined by 'run' of mixtures and 'name' of metrics" in note for note in found.notes)


def test_rows_are_joined_by_position_only_when_told() -> None:
    mixtures, metrics = runs(5)
    for table in (mixtures, metrics):
        del table["run"]
    with pytest.raises(UsageError, match="not joined by position") as error:
        read(mixtures, metrics)
    assert "--by-row" in error.value.fix
    numbered = {"": [0, 1, 2, 3, 4], **mixtures}, {"": [0, 1, 2, 3, 4], **metrics}
    with pytest.raises(UsageError, match="not joined by position"):
        read(*numbered)  # what pandas calls the number of a row is a position too
    found = read(mixtures, metrics, by_row=True)
    assert any("joined by row" in note for note in found.notes)
    with pytest.raises(DataError, match="5 rows, metrics 4"):
        read(mixtures, {k: v[:4] for k, v in metrics.items()}, by_row=True)


def test_runs_in_one_table_only_are_listed() -> None:
    mixtures, metrics = runs(8)
    found = read({k: v[:6] for k, v in mixtures.items()}, {k: v[2:] for k, v in metrics.items()})
    assert found.ids == tuple(mixtures["run"][2:6])
    assert [n for n in found.notes if "only in" in n] == [
        "2 run(s) only in mixtures, not used: r00, r01; 4 are in both",
        "2 run(s) only in metrics, not used: r06, r07; 4 are in both",
    ]
    metrics["run"] = [f"x{n}" for n in range(8)]
    with pytest.raises(DataError, match="no run is in both tables"):
        read(mixtures, metrics)


def test_rows_that_are_there_twice() -> None:
    mixtures, metrics = runs(5)
    twice = columns([*rows(metrics), rows(metrics)[1]])
    found = read(mixtures, twice)
    assert same(found, read(mixtures, metrics))
    assert "metrics: 1 rows are there twice and count once" in found.notes
    twice["loss_web"][5] = 1.0
    with pytest.raises(DataError, match="two rows for one id: r01"):
        read(mixtures, twice)
    mixed = columns([*rows(mixtures), {**rows(mixtures)[0], "run": "r04"}])
    with pytest.raises(DataError, match="two mixtures for one id: r04"):
        read(mixed, metrics)


def test_one_mixture_under_several_ids_is_several_runs() -> None:
    mixtures, metrics = runs(5)
    for d in DOMAINS:
        mixtures[d][1] = mixtures[d][0]
    assert len(read(mixtures, metrics).ids) == 5


def test_blocks_from_either_table() -> None:
    mixtures, metrics = runs(6)
    seeds = [2, 2, 2, 10, 10, 10]
    found = read({**mixtures, "seed": seeds}, metrics, block="seed")
    assert found.blocks == ("2", "10")
    assert found.block_N.tolist() == [0, 0, 0, 1, 1, 1]
    assert same(found, read(mixtures, {**metrics, "seed": seeds}, block="seed"))
    assert same(found, read({**mixtures, "seed": seeds}, {**metrics, "seed": seeds}, block="seed"))
    repeated = {key: cells * 2 for key, cells in metrics.items()}
    repeated["seed"] = ["a"] * 6 + ["b"] * 6
    with pytest.raises(DataError, match="two rows for one id") as error:
        read(mixtures, {**repeated, "loss_web": [float(n) for n in range(12)]})
    assert "--block seed" in error.value.fix
    many = read(mixtures, {**repeated, "loss_web": [float(n) for n in range(12)]}, block="seed")
    assert many.ids[:2] == ("r00/a", "r00/b")
    assert many.value_NM[:2, list(many.metrics).index("web")].tolist() == [0.0, 6.0]
    with pytest.raises(UsageError, match="--block sede: no such column"):
        read(mixtures, repeated, block="sede")


def scaled(mixtures: Columns, factor: float, row: int | None = None) -> Columns:
    return {
        key: [v if key == "run" or row not in (None, n) else v * factor for n, v in enumerate(cells)]
        for key, cells in mixtures.items()
    }


def test_sums_that_are_not_one() -> None:
    mixtures, metrics = runs(6)
    whole = read(mixtures, metrics)
    near = read(scaled(mixtures, 1.01, row=2), metrics)
    assert np.allclose(near.shares_ND, whole.shares_ND)
    assert any("within 0.01 of it" in note for note in near.notes)
    percent = read(scaled(mixtures, 100.0), metrics)
    assert np.allclose(percent.shares_ND, whole.shares_ND)
    assert any("sum to 100 and are scaled" in note for note in percent.notes)
    with pytest.raises(DataError, match=r"1 of 6 rows do not sum to 1: run r02 \(mixtures line 3\) 0.9"):
        read(scaled(mixtures, 0.9, row=2), metrics)


def test_what_is_no_share() -> None:
    mixtures, metrics = runs(6)
    mixtures["web"][1] -= 1.0
    with pytest.raises(DataError, match=r"mixtures line 2: web of run r01 is -"):
        read(mixtures, metrics)
    mixtures, metrics = runs(6)
    with pytest.raises(DataError, match=r"mixtures line 3: web is 'many'"):
        read({**mixtures, "web": [0.1, 0.2, "many", 0.1, 0.1, 0.1]}, metrics)
    mixtures["web"][0] = None
    with pytest.raises(DataError, match=r"r00.*empty there: web"):
        read(mixtures, metrics)
    for d, share in zip(DOMAINS, (None, 0.5, 0.5, 0.0, math.nan), strict=True):
        mixtures[d][0] = share
    found = read(mixtures, metrics)
    assert found.shares_ND[0].sum() == 1
    assert any("empty cells of r00 count as 0" in note for note in found.notes)


def test_columns_that_are_neither_shares_nor_metrics() -> None:
    mixtures, metrics = runs(6)
    described = {**mixtures, "name": list("abcdef"), "note": ["x"] * 6, "seed": [1, 2, 3, 4, 5, 6]}
    found = read(described, {**metrics, "comment": ["y"] * 6, "lr": [0.1] * 6, "Unnamed: 0": [0, 1, 2, 3, 4, 5]})
    assert same(found, read(mixtures, metrics))
    said = "\n".join(found.notes)
    assert all(word in said for word in ("note", "seed", "comment", "lr"))
    with pytest.raises(DataError, match="do not sum to 1"):
        read({**mixtures, "budget": [1, 2, 3, 4, 5, 6]}, metrics)
    assert same(read({**mixtures, "budget": [1, 2, 3, 4, 5, 6]}, metrics, ignore=("budget",)), read(mixtures, metrics))


def test_one_table_of_both_and_tables_that_were_swapped() -> None:
    mixtures, metrics = runs(6)
    both = {**mixtures, **metrics}
    assert same(read(both, metrics), read(mixtures, metrics))
    assert same(read(mixtures, both), read(mixtures, metrics))
    with pytest.raises(DataError, match="has no metrics"):
        read(mixtures, mixtures)
    with pytest.raises(DataError, match="do not sum to 1"):
        read(metrics, mixtures)
    with pytest.raises(DataError, match="do not sum to 1"):
        read(both, both)


def test_names_may_be_kept() -> None:
    mixtures, metrics = runs(5)
    assert "web" in read(mixtures, metrics).metrics
    assert tuple(read(mixtures, metrics, keep_names=True).metrics) == tuple(sorted(f"loss_{d}" for d in DOMAINS))


def test_files_that_are_none(tmp_path: Path) -> None:
    mixtures, _ = runs(5)
    good = to_csv(tmp_path / "m.csv", mixtures)
    for name, data, said in (
        ("l.csv", b"", "is empty"),
        ("l.csv", b"run;loss\nr00;1\n", "commas between cells"),
        ("l.csv", b"run,loss\n", "no rows"),
        ("l.csv", b"run,loss\nr00,1,2\n", "3 cells for 2 columns"),
        ("l.csv", b"run,loss,loss\nr00,1,2\n", "twice"),
        ("l.csv", b"run,loss\nr00,\xff\n", "not UTF-8"),
        ("l.csv.gz", b"run,loss\nr00,1\n", "no whole gzip"),
        ("l.jsonl", b'{"run": 1\n', "line 1 is no JSON object"),
        ("l.jsonl", b"[1]\n", "line 1 is no JSON object"),
        ("l.jsonl", b'{"run": 1, "run": 2}\n', "twice"),
        ("l.parquet", b"PAR1 no", "no whole Parquet"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=said):
            read(good, tmp_path / name)
    with pytest.raises(DataError, match="no such file"):
        read(good, tmp_path / "none.csv")


def test_nested_objects_are_columns(tmp_path: Path) -> None:
    mixtures, metrics = runs(5)
    nested = [{"run": row.pop("run"), "mixture": row} for row in rows(mixtures)]
    path = to_jsonl(tmp_path / "m.jsonl", columns(nested))
    assert np.array_equal(read(path, metrics).shares_ND, read(mixtures, metrics).shares_ND)


def test_values_that_are_not_finite_are_no_values() -> None:
    mixtures, metrics = runs(5)
    metrics["loss_web"][0], metrics["loss_web"][1], metrics["loss_web"][2] = math.nan, math.inf, None
    found = read(mixtures, metrics)
    web = found.value_NM[:, list(found.metrics).index("web")]
    assert np.isnan(web[:3]).all()
    assert np.isfinite(web[3:]).all()


def test_the_layout_of_olmix() -> None:
    mixtures, metrics = runs(6)
    extra: Columns = {"name": [f"swarm-{n:04}" for n in range(6)], "index": list(range(6))}
    ratios = {"": list(range(6)), **mixtures, **extra}
    scores = {"arc_challenge:rc::olmes": metrics["loss_web"], "mt_mbpp_v2fix:bash": metrics["loss_code"]}
    # one run lacks metrics, so that the numbers of rows differ between the files
    measured = {key: cells[1:] for key, cells in {"run": metrics["run"], "name": extra["name"], **scores}.items()}
    found = read(ratios, {"": list(range(5)), "index": list(range(5)), **measured})
    assert found.ids == tuple(mixtures["run"][1:])
    assert tuple(found.domains) == tuple(sorted(DOMAINS))
    assert tuple(found.metrics) == ("arc_challenge:rc::olmes", "mt_mbpp_v2fix:bash")
    topics = {("run" if d == "run" else f"dclm:{d}"): cells for d, cells in mixtures.items()}
    assert tuple(read(topics, metrics).domains) == tuple(sorted(DOMAINS))


def test_shares_beside_metrics_are_no_metrics_in_any_order_of_rows() -> None:
    mixtures, metrics = runs()
    beside = {**metrics, **{d: mixtures[d] for d in DOMAINS}}
    turned = {name: list(reversed(cells)) for name, cells in beside.items()}
    for table in (beside, turned):
        assert list(read_runs(mixtures, table, Layout(keep_names=True)).metrics) == sorted(f"loss_{d}" for d in DOMAINS)


@pytest.mark.parametrize(("name", "cells"), [("lr", (0.001, 0.003)), ("seed", (0, 0))])
def test_a_small_number_beside_shares_is_no_domain(name: str, cells: tuple[float, float]) -> None:
    mixtures, metrics = runs()
    found = read_runs({**mixtures, name: list(cells) * (len(mixtures["run"]) // 2)}, metrics, Layout())
    assert list(found.domains) == sorted(DOMAINS)
    assert np.array_equal(found.shares_ND, read_runs(mixtures, metrics, Layout()).shares_ND)


def test_a_small_domain_that_is_called_like_bookkeeping_is_a_domain() -> None:
    mixtures, metrics = runs()
    part = [0.004 * (n % 3) for n in range(len(mixtures["run"]))]
    scaled = {d: [(1 - p) * w for p, w in zip(part, mixtures[d], strict=True)] for d in DOMAINS}
    assert "time" in read_runs({"run": mixtures["run"], **scaled, "time": part}, metrics, Layout()).domains
