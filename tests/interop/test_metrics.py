from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.base.errors import DataError, UsageError
from cuvee.interop.metrics import (
    SOURCES,
    TOKEN_COUNTERS,
    Measurement,
    Metric,
    MetricsWarning,
    Point,
    RunMetrics,
    direction_of,
    gather,
    read_metrics,
    unit_of,
)


def measured(*points: Point, metric: str = "loss", run: str = "a") -> list[Measurement]:
    return [Measurement(run, metric, p, direction_of(metric)) for p in points]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("arc_easy/acc_norm", True),
        ("gsm8k/exact_match/strict-match", True),
        ("arc_easy/acc,none", True),
        ("wikitext/word_perplexity", False),
        ("bits_per_byte", False),
        ("val/loss", False),
        ("eval_loss", False),
        ("squad/f1", True),
        ("bleu", True),
        ("brier_score", False),
        ("train/grad_norm", None),
        ("loss_scale", None),
        ("loss/scale", None),
        ("learning_rate", None),
        ("", None),
    ],
)
def test_directions_are_given_only_where_certain(name: str, wanted: bool | None) -> None:
    assert direction_of(name) is wanted


def test_units() -> None:
    assert [unit_of(n) for n in ("x/acc", "x/bits_per_byte", "x/word_perplexity", "val/loss", "speed")] == [
        "accuracy",
        "bits/byte",
        "perplexity/word",
        "",
        "",
    ]


@given(
    st.dictionaries(st.integers(0, 10**12), st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.randoms()
)
def test_points_ascend_whatever_their_order(values: dict[int, float], random: object) -> None:
    points = [Point(v, step=s) for s, v in values.items()]
    random.shuffle(points)  # type: ignore[attr-defined]
    (run,) = gather(measured(*points, *points[:2]), Path("x"))
    assert [(p.step, p.value) for p in run.metrics[0].points] == sorted(values.items())


def test_runs_and_metrics_in_the_order_of_their_names() -> None:
    found = gather(
        measured(Point(1.0), metric="z") + measured(Point(2.0), metric="acc") + measured(Point(3.0), run=""), Path("x")
    )
    assert found == (
        RunMetrics("", (Metric("loss", (Point(3.0),), False, ""),)),
        RunMetrics("a", (Metric("acc", (Point(2.0),), True, "accuracy"), Metric("z", (Point(1.0),), None, ""))),
    )


def test_the_same_measurement_twice_is_one_and_another_value_is_refused() -> None:
    (run,) = gather(measured(Point(1.0, step=3), Point(1.0, step=3)), Path("x"))
    assert len(run.metrics[0].points) == 1
    with pytest.raises(DataError, match=r"loss of run a in x has two values at step 3: 1 and 2"):
        gather(measured(Point(1.0, step=3), Point(2.0, step=3)), Path("x"))
    with pytest.raises(DataError, match=r"at the end: 1 and 2"):
        gather(measured(Point(1.0), Point(2.0)), Path("x"))
    with pytest.raises(DataError, match=r"at 5 tokens: 1 and nan"):
        gather(measured(Point(1.0, tokens=5), Point(math.nan, tokens=5)), Path("x"))


def test_nan_in_the_middle_is_left_out_and_said_and_at_the_end_is_kept() -> None:
    points = [Point(3.0, step=0), Point(math.nan, step=1), Point(math.inf, step=2), Point(2.0, step=3)]
    with pytest.warns(MetricsWarning, match="2 of 4 values of loss of run a in x"):
        (run,) = gather(measured(*points), Path("x"))
    assert [p.step for p in run.metrics[0].points] == [0, 3]
    (run,) = gather(measured(Point(3.0, step=0), Point(math.nan, step=9)), Path("x"))
    assert [p.step for p in run.metrics[0].points] == [0, 9]
    assert math.isnan(run.metrics[0].points[-1].value), "a run that diverged does not look as if it had ended before"
    with pytest.warns(MetricsWarning, match="1 of 2 values"):
        (run,) = gather(measured(Point(math.nan, step=0), Point(math.nan, step=1)), Path("x"))
    assert len(run.metrics[0].points) == 1, "a metric is never dropped as a whole"


def test_a_token_counter_gives_the_points_of_its_steps_their_tokens() -> None:
    counter = measured(Point(100.0, step=1), Point(200.0, step=2), metric="train/num_input_tokens_seen")
    (run,) = gather(measured(Point(3.0, step=1), Point(2.0, step=2), Point(1.0, step=3)) + counter, Path("x"))
    assert [m.name for m in run.metrics] == ["loss"]
    assert [p.tokens for p in run.metrics[0].points] == [100, 200, None]
    with pytest.raises(DataError, match=r"is 1\.5"):
        gather(measured(Point(1.5, step=1), metric="tokens"), Path("x"))
    per_batch = measured(Point(64.0, step=1), Point(64.0, step=2), metric="tokens")
    with pytest.raises(DataError, match="do not grow") as caught:
        gather(measured(Point(3.0, step=1), Point(2.0, step=2)) + per_batch, Path("x"))
    assert "rename" in str(caught.value)
    (run,) = gather(measured(Point(1e9), metric="tokens"), Path("x"))
    assert run.metrics[0].name == "tokens", "a total without a step says nothing of other points"


def test_steps_for_some_and_tokens_for_others_cannot_be_ordered() -> None:
    with pytest.raises(DataError, match="a step for some values"):
        gather(measured(Point(1.0, step=1), Point(2.0, tokens=9)), Path("x"))


def test_files_that_are_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no source 'wandbb'") as caught:
        read_metrics(tmp_path, "wandbb")
    assert "did you mean 'wandb'?" in str(caught.value)
    with pytest.raises(DataError, match="no such file or folder"):
        read_metrics(tmp_path / "missing")
    with pytest.raises(DataError, match="holds no metrics"):
        read_metrics(tmp_path)
    (tmp_path / "notes.txt").write_text("hello", encoding="utf-8")
    with pytest.raises(DataError, match=r"notes\.txt is no kind of file"):
        read_metrics(tmp_path / "notes.txt")
    for name in ("empty.csv", "empty.parquet", "empty.json"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(DataError, match="is empty"):
            read_metrics(tmp_path / name)


def test_a_folder_of_two_kinds_asks_which(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("run,acc\na,0.5\n", encoding="utf-8")
    (tmp_path / "results_1.json").write_text('{"results": {"t": {"acc,none": 0.1}}, "versions": {}}', encoding="utf-8")
    with pytest.raises(UsageError, match="files of lm-eval and table"):
        read_metrics(tmp_path)
    assert read_metrics(tmp_path, "table")[0].run == "a"
    assert read_metrics(tmp_path, "lm-eval")[0].metrics[0].name == "t/acc"


PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_the_page_names_every_source_and_direction() -> None:
    assert not [name for name in (*SOURCES, *TOKEN_COUNTERS) if f"`{name}`" not in PAGE]
    for said, wanted in (("higher", True), ("lower", False)):
        (line,) = re.findall(rf"^- {said} is better: (.*)$", PAGE, re.MULTILINE)
        assert all(direction_of(name) is wanted for name in re.findall(r"`(.+?)`", line))


BLOCKS = [text for language, text in re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.M | re.S) if language != "python"]


@pytest.mark.parametrize("block", BLOCKS)
def test_every_example_on_the_page_is_read(block: str, tmp_path: Path) -> None:
    path = tmp_path / ("results.json" if block.startswith("{") else "t.csv")
    path.write_text(block, encoding="utf-8")
    assert all(m.points for run in read_metrics(path) for m in run.metrics)
