from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.errors import DataError
from cuvee.interop.metrics import MetricsWarning, Point, read_metrics

Found = dict[tuple[str, str], list[Point]]


def read(path: Path, source: str | None = None) -> Found:
    return {(r.run, m.name): list(m.points) for r in read_metrics(path, source) for m in r.metrics}


def csv(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def parquet(folder: Path, columns: dict[str, list[Any]]) -> Path:
    pq.write_table(pa.table(columns), folder / "t.parquet")
    return folder / "t.parquet"


HISTORY: dict[str, list[Any]] = {
    "_step": [0, 1, 2],
    "_runtime": [1.5, 2.5, 3.5],
    "_timestamp": [1e9, 1e9 + 1, 1e9 + 2],
    "train/loss": [3.0, 2.5, None],
    "val/loss": [None, None, 2.25],
}
HISTORY_FOUND = {
    ("", "train/loss"): [Point(3.0, step=0), Point(2.5, step=1)],
    ("", "val/loss"): [Point(2.25, step=2)],
}


def test_a_history_of_wandb_as_csv_and_parquet(tmp_path: Path) -> None:
    assert read(parquet(tmp_path, HISTORY)) == HISTORY_FOUND
    pa.csv.write_csv(pa.table(HISTORY), tmp_path / "t.csv")
    assert read(tmp_path / "t.csv") == HISTORY_FOUND
    assert read(tmp_path / "t.csv", "wandb") == HISTORY_FOUND
    text = ",_step,train/loss\n0,0,3.0\n1,1,2.5\n"  # pandas writes its index as a column without a name
    assert read(csv(tmp_path, text)) == {("", "train/loss"): HISTORY_FOUND["", "train/loss"]}
    assert read(csv(tmp_path, "\ufeff" + text)) == {("", "train/loss"): HISTORY_FOUND["", "train/loss"]}


def test_the_trainers_step_comes_before_wandbs(tmp_path: Path) -> None:
    text = "_step,train/global_step,train/loss\n0,100,3\n1,200,2\n"
    assert read(csv(tmp_path, text)) == {("", "train/loss"): [Point(3, step=100), Point(2, step=200)]}
    with pytest.warns(MetricsWarning, match="train/global_step is empty in 1 rows with values"):
        found = read(csv(tmp_path, text + "2,,1.5\n"))
    assert [p.step for p in found["", "train/loss"]] == [0, 1, 2]


PLOT = (
    '"Step","fast - 1 - val/loss","fast - 1 - val/loss__MIN","fast - 1 - val/loss__MAX","b - val/loss","b - val/loss__MIN",'
    '"b - val/loss__MAX"\n"0","3.5","3.4","3.6","","",""\n"10","3","2.9","3.1","2","2","2"\n'
)


def test_the_csv_of_a_wandb_plot(tmp_path: Path) -> None:
    found = {("b", "val/loss"): [Point(2, step=10)], ("fast - 1", "val/loss"): [Point(3.5, step=0), Point(3, step=10)]}
    assert read(csv(tmp_path, PLOT)) == found
    one = '"Step","loss","loss__MIN","loss__MAX"\n"5","3","3","3"\n'
    assert read(csv(tmp_path, one)) == {("", "loss"): [Point(3, step=5)]}
    tokens = PLOT.replace('"Step"', '"train/tokens_seen"')
    assert read(csv(tmp_path, tokens))["b", "val/loss"] == [Point(2, tokens=10)]
    with pytest.raises(DataError, match="has epoch on the x axis") as caught:
        read(csv(tmp_path, PLOT.replace('"Step"', '"epoch"')))
    assert "x axis to Step" in str(caught.value)
    own = "epoch,a - _step,a - _step__MIN,a - _step__MAX,a - loss,a - loss__MIN,a - loss__MAX\n0.5,7,7,7,3,3,3\n"
    assert read(csv(tmp_path, own)) == {("a", "loss"): [Point(3, step=7)]}


def test_a_history_of_mlflow(tmp_path: Path) -> None:
    text = "run_id,key,value,step,timestamp\nr1,val/loss,3.5,0,17\nr1,val/loss,3.25,10,18\nr2,acc,0.5,0,19\n"
    assert read(csv(tmp_path, text)) == {
        ("r1", "val/loss"): [Point(3.5, step=0), Point(3.25, step=10)],
        ("r2", "acc"): [Point(0.5, step=0)],
    }
    database = "key,value,timestamp,run_uuid,step,is_nan\nloss,3,1,r,1,0\nloss,0,2,r,2,1\n"
    points = read(csv(tmp_path, database))["r", "loss"]
    assert points[0] == Point(3, step=1)
    assert math.isnan(points[1].value), "the database writes NaN as 0 and a flag"
    with pytest.raises(DataError, match="two values at step 0"):
        read(csv(tmp_path, "run_id,key,value,step\nr,loss,3,0\nr,loss,2,0\n"))


def test_the_runs_of_mlflow(tmp_path: Path) -> None:
    text = "run_id,status,metrics.val/loss,metrics.acc,params.lr\nr1,FINISHED,3.5,,0.1\nr2,FINISHED,3.25,0.5,0.2\n"
    assert read(csv(tmp_path, text), "mlflow") == {
        ("r1", "val/loss"): [Point(3.5)],
        ("r2", "acc"): [Point(0.5)],
        ("r2", "val/loss"): [Point(3.25)],
    }


def test_a_plain_long_table(tmp_path: Path) -> None:
    text = "run,step,tokens,metric,value,stderr\na,1,100,loss,3,0.5\na,2,200,loss,2,\nb,,,arc/acc,0.5,0.1\n"
    assert read(csv(tmp_path, text)) == {
        ("a", "loss"): [Point(3, 0.5, 100, 1), Point(2, None, 200, 2)],
        ("b", "arc/acc"): [Point(0.5, 0.1)],
    }


def test_a_long_tables_row_without_a_value_is_nan(tmp_path: Path) -> None:
    points = read(csv(tmp_path, "run,step,metric,value\na,1,loss,3\na,2,loss,\n"))["a", "loss"]
    assert math.isnan(points[1].value)


def test_a_plain_wide_table(tmp_path: Path) -> None:
    assert read(csv(tmp_path, "run,acc,acc_stderr,val/loss\na,0.5,0.01,3\nb,0.75,,2\n")) == {
        ("a", "acc"): [Point(0.5, 0.01)],
        ("a", "val/loss"): [Point(3)],
        ("b", "acc"): [Point(0.75)],
        ("b", "val/loss"): [Point(2)],
    }
    assert read(csv(tmp_path, "tokens_seen,loss\n1000,3\n2000,2\n")) == {
        ("", "loss"): [Point(3, tokens=1000), Point(2, tokens=2000)]
    }
    assert read(parquet(tmp_path, {"run": ["a"], "Step": [4], "loss": [2.5]})) == {("a", "loss"): [Point(2.5, step=4)]}


def test_a_folder_is_one_run_a_file(tmp_path: Path) -> None:
    csv(tmp_path, "_step,loss\n0,3\n", "x/a.b.csv")
    csv(tmp_path, "_step,loss\n0,2\n", "c.csv")
    csv(tmp_path, "run,loss\nnamed,2\n", "d.csv")
    assert set(read(tmp_path)) == {("x/a.b", "loss"), ("c", "loss"), ("named", "loss")}


def test_columns_without_numbers_are_said(tmp_path: Path) -> None:
    with pytest.warns(MetricsWarning, match=r"t\.csv: columns without a number are left out: note, empty"):
        found = read(csv(tmp_path, "run,note,empty,loss\na,hello,,3\nb,,,2\n"))
    assert set(found) == {("a", "loss"), ("b", "loss")}


def test_nan_in_a_wide_table_is_measured_and_an_empty_cell_is_not(tmp_path: Path) -> None:
    with pytest.warns(MetricsWarning, match="1 of 3 values of loss"):
        found = read(csv(tmp_path, "step,loss\n0,3\n1,NaN\n2,\n3,2\n"))
    assert [p.step for p in found["", "loss"]] == [0, 3]
    assert math.isnan(read(csv(tmp_path, "step,loss\n0,3\n1,NaN\n"))["", "loss"][-1].value)
    assert read(csv(tmp_path, "step,loss\n0,3\n1,-Infinity\n"))["", "loss"][-1].value == -math.inf


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "has the columns a, b"),
        ("run;loss\na;3\n", "has the columns run;loss"),
        ("\n\n", "has the columns"),
        ("run,loss\n", "holds no measurement"),
        ("run,loss,loss\na,1,2\n", "the column loss twice"),
        ("run,loss\na,1\nb\n", "line 3 has 1 cells for 2 columns"),
        ('run,loss\na,"1\n', "is no CSV"),
        ("run,loss\na,1\nb,high\n", r"t\.csv line 3: loss is 'high'"),
        ('run,loss\na,1\nb,"1,5"\n', "loss is '1,5'"),
        ('run,note,loss\na,"x\ny",1\nb,z,high\n', r"line 4: loss is 'high'"),
        ("run,loss\na,1\na,2\n", "two values at the end"),
        ("run,loss\na,1\n,2\n", "line 3 has a value but no run"),
        ("step,loss\n0,1\n,2\n", "line 3 has a value but no step"),
        ("step,loss\n0.5,1\n", r"line 2: step is 0\.5"),
        ("step,loss\n-1,1\n", "step is -1"),
        ("step,loss\ninf,1\n", "step is inf"),
        ("step,tokens,loss\n1,64,3\n2,64,2\n", "do not grow with the steps"),
        ("run,metric,value\na,,1\n", "line 2 names no metric"),
        ("run,metric,value\na,loss,x\n", "value is 'x'"),
        ("run,metric,value\n,loss,1\n", "no run"),
    ],
)
@pytest.mark.filterwarnings("ignore::cuvee.interop.metrics.MetricsWarning")
def test_broken_tables(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(csv(tmp_path, text))


def test_what_is_wanted_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(csv(tmp_path, "a,b\n1,2\n"))
    assert "run_id, key, value, step" in str(caught.value)
    with pytest.raises(DataError, match="which is nothing of mlflow"):
        read(csv(tmp_path, PLOT), "mlflow")


def test_broken_files(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_bytes("run,größe\na,1\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        read(tmp_path / "l.csv")
    whole = parquet(tmp_path, HISTORY).read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole[:-20])
    with pytest.raises(DataError, match="no whole Parquet file"):
        read(tmp_path / "t.parquet")


@settings(max_examples=40)
@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=8))
def test_a_wide_table_gives_back_its_numbers(
    tmp_path_factory: pytest.TempPathFactory, values: list[float | None]
) -> None:
    folder = tmp_path_factory.mktemp("wide")
    columns: dict[str, list[Any]] = {"step": list(range(len(values))), "x": values, "one": [1.0] * len(values)}
    wanted = [Point(v, step=i) for i, v in enumerate(values) if v is not None]
    text = "step,x,one\n" + "".join(f"{i},{'' if v is None else repr(v)},1.0\n" for i, v in enumerate(values))
    if wanted:
        assert read(parquet(folder, columns))["", "x"] == read(csv(folder, text))["", "x"] == wanted
