"""What a study costs and can find, asked before it is run, as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuvee.testing.corpora import synthetic
from tests.cli.test_cli import call

pytestmark = pytest.mark.slow

STUDY = """\
corpus: corpus
study: {study}
target_tokens: 60_000
targets: {{a: 1}}
small_pools: {pools}
proxy: {{size: 0.1M, tokens: {tokens}, seq_len: 32, batch: 8, eval_points: 1}}
method: {{name: regression, runs: 16, blocks: 4}}
verify: {{seeds: 2{large}}}
workers: 2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("planning")
    synthetic(root / "corpus", documents=200)
    return root


def written(folder: Path, *, study: str = "study", tokens: int = 8192, pools: str = "cap", large: str = "") -> Path:
    path = folder / "a study.yaml"
    text = STUDY.format(study=study, tokens=tokens, pools=pools, large=f", large: {{{large}}}" if large else "")
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.slow
def test_detect_asks_for_a_pilot_and_then_plans(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(folder)
    code, value, _ = call(capsys, "run", path, "--dry-run", "--detect", "1%")
    assert (code, value["noise"], value["detect"]["needed"]) == (0, None, None)
    assert value["detect"]["pilot_runs"] == 8
    assert not (folder / "study").exists(), "a dry run writes nothing"

    code, value, _ = call(capsys, "run", path, "--pilot")
    assert code == 0
    noise = value["noise"]
    assert 0 < noise["low"] < noise["sd"] < noise["cautious"] < noise["high"]
    trials = {p.name for p in (folder / "study" / "trials").rglob("*.json")}
    assert len(trials) == 8

    code, value, _ = call(capsys, "run", path, "--dry-run", "--detect", str(2 * noise["sd"]))
    found = value["detect"]
    assert code == 0
    assert found["bits"] == pytest.approx(2 * noise["sd"])
    assert found["as_written"]["search_runs"] == 16
    assert found["needed"]["finds"] <= found["bits"]
    assert found["needed"]["verify_blocks"] <= found["cautious"]["verify_blocks"]
    assert set(found["needed"]["bill"]) == {"tokens", "flops", "cpu_seconds", "seconds", "disk"}
    assert {p.name for p in (folder / "study" / "trials").rglob("*.json")} == trials


def test_a_dry_run_says_how_to_measure_the_noise(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cuvee.cli.app import main

    path = written(folder, study="unmade", tokens=512)
    with pytest.raises(SystemExit):
        main(["run", str(path), "--dry-run"])
    out = capsys.readouterr().out
    assert f"cuvee run '{path}' --pilot" in out
    assert "8 runs, " in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--dry-run", "--detect", "half"), "--detect got 'half'"),
        (("--dry-run", "--detect", "0,5%"), "--detect got '0,5%'"),
        (("--detect", "0.5%"), "--detect plans"),
        (("--dry-run", "--pilot"), "--pilot spends"),
    ],
)
def test_options_that_do_not_fit(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    code, value, err = call(capsys, "run", written(folder), *words)
    assert (code, value["ok"]) == (2, False)
    assert said in err


def test_workers_that_would_share_a_gpu_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(folder)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("proxy: {", "proxy: {device: cuda, together: auto, "), encoding="utf-8")
    code, _, err = call(capsys, "run", path, "--dry-run")
    assert code == 2
    assert "2 workers on the GPU of this machine" in err
    code, _, err = call(capsys, "run", path, "--dry-run", "--workers", "1")
    assert "workers on the GPU" not in err


def test_small_pools_are_refused_with_the_smallest_sound_proxy(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, value, err = call(capsys, "run", written(folder, pools="refuse", tokens=512), "--dry-run")
    assert (code, value["error"]["type"]) == (4, "InfeasibleError")
    assert "pools matched to r/R" in err
    sound = int(value["error"]["fix"].split("at least ")[1].split(", ")[0].replace(",", ""))
    code, _, _ = call(capsys, "check", written(folder, pools="refuse", tokens=sound))
    assert code == 0
    assert call(capsys, "check", written(folder, pools="refuse", tokens=sound - 600))[0] == 4


@pytest.mark.slow
def test_larger_runs_are_in_the_cost(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    large = "size: 0.3M, tokens: 16_384, batch: 8, seeds: 2, transfer: 4"
    code, value, _ = call(capsys, "run", written(folder, study="unmade", tokens=512, large=large), "--dry-run")
    assert code == 0
    assert value["cost"]["large"]["verify_runs"] == 10
    assert value["cost"]["large"]["transfer_runs"] == 8
    code, value, err = call(
        capsys,
        "run",
        written(folder, study="unmade", tokens=512, large="size: 0.1M, tokens: 512, batch: 8"),
        "--dry-run",
    )
    assert (code, value["ok"]) == (2, False)
    assert "as large as the proxies" in err


@pytest.mark.slow
def test_larger_runs_with_small_pools_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # whole steps: the one step of the proxies is longer than all that the larger runs train on
    path = written(folder, study="unmade", tokens=512, pools="refuse", large="size: 0.3M, tokens: 512, batch: 8")
    path.write_text(path.read_text(encoding="utf-8").replace("32, batch: 8", "32, batch: 1800"), encoding="utf-8")
    assert call(capsys, "check", path)[0] == 0
    code, value, err = call(capsys, "run", path, "--dry-run")
    assert (code, value["error"]["type"]) == (4, "InfeasibleError")
    assert "the larger runs: pools matched" in err
    assert "proxy tokens of at least" in err
