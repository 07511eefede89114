"""The report's figures against the evidence they come from."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml

from cuvee.base.codec import from_json, to_json
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture
from cuvee.report.assemble import assemble
from cuvee.report.data import ReportData
from tests.report import fakes


@pytest.fixture(scope="module")
def data() -> ReportData:
    return assemble(fakes.study(10))


def test_weights(data: ReportData) -> None:
    evidence = fakes.study(10)
    assert evidence.choice is not None
    mixture = evidence.choice.schedule.phases[0].mixture
    assert {r.domain: r.share for r in data.weights} == mixture.as_dict()
    assert [r.share for r in data.weights] == sorted((r.share for r in data.weights), reverse=True)
    for row in data.weights:
        assert row.epochs == pytest.approx(row.share * evidence.problem.target_tokens / row.tokens)
        assert row.cap_epochs == pytest.approx(4)
        assert row.low is not None
        assert row.high is not None
        assert row.low <= row.share <= row.high


def test_a_domain_at_its_cap_is_marked() -> None:
    evidence = fakes.study(2, stage="chosen")
    question = replace(evidence.problem, max_epochs=30_000_000 / sum(evidence.problem.tokens) + 0.01)
    assert evidence.choice is not None
    at_cap = replace(
        evidence.choice,
        schedule=Schedule.constant(Mixture.from_shares(dict(zip(question.domains, (0.6, 0.4), strict=True)))),
    )
    capped = question.feasible().project_mixture(at_cap.schedule.phases[0].mixture)
    chosen = replace(at_cap, schedule=Schedule.constant(capped))
    rows = assemble(replace(evidence, problem=question, choice=chosen)).weights
    assert [r.bound for r in rows] == ["cap", ""]


def test_gains_keep_a_domain_called_objective_apart(data: ReportData) -> None:
    assert [g.name for g in data.gains[:3]] == ["objective", "math", "code_c"]
    assert len(data.gains) == 11
    last = next(g for g in data.gains[1:] if g.name == "objective")
    assert last.predicted is not None
    assert data.gains[0].predicted is not None
    assert last.predicted != data.gains[0].predicted
    assert [g.weight for g in data.gains[:4]] == [1.0, 0.5, 0.5, 0.0]


def test_guards_and_aggregations(data: ReportData) -> None:
    assert [(g.name, g.state) for g in data.guards] == [("the rest", "holds")]
    rows = {a.name: a.predicted for a in data.aggregations}
    means = [g.predicted.mean for g in data.gains[1:] if g.predicted]
    assert rows["Mean over all domains"] == pytest.approx(sum(means) / 10)
    assert rows["The domain that gains least or loses most"] == max(means)


def test_runs_and_curves(data: ReportData) -> None:
    assert len(data.runs) == 48
    assert sorted(r.status for r in data.runs if r.status != "done") == ["diverged", "failed"]
    natural = {r.block: r for r in data.runs if r.role == "natural"}
    assert len(natural) == 4
    for run in data.runs:
        if run.loss is not None:
            home = natural[run.block].loss
            assert home is not None
            assert run.difference == pytest.approx(run.loss - home)
    assert len(data.curves) == 46
    last = {r.id: r.loss for r in data.runs}
    assert all(c.loss[-1] == pytest.approx(last[c.id]) for c in data.curves)


def test_costs(data: ReportData) -> None:
    assert [c.stage for c in data.costs] == ["Search", "Transfer check", "Verification", "Together"]
    assert [c.runs for c in data.costs] == [48, 46, 8, 102]
    assert data.costs[3].flops == pytest.approx(102 * 2.1e13)


def test_usage_survives_yaml_and_json(data: ReportData) -> None:
    assert data.usage is not None
    shares = {r.domain: r.share for r in data.weights}
    for loaded in (yaml.safe_load(data.usage.yaml), json.loads(data.usage.json)):
        assert loaded == pytest.approx(shares, abs=1e-6)
    assert data.usage.shell == "cuvee export 'work/a study' --to megatron --out blend/"
    compile(data.usage.python, "usage", "exec")


def test_phases() -> None:
    evidence = fakes.study(6, stage="chosen")
    assert evidence.choice is not None
    first = evidence.choice.schedule.phases[0]
    two = Schedule((first, Phase(15_000_000, evidence.problem.natural)))
    data = assemble(replace(evidence, choice=replace(evidence.choice, schedule=two)))
    assert [p.start for p in data.phases] == [0, 15_000_000]
    row = data.weights[0]
    natural = evidence.problem.natural.share(row.domain)
    assert row.share == pytest.approx((first.mixture.share(row.domain) + natural) / 2)
    assert data.usage is not None
    assert [p["start"] for p in json.loads(data.usage.json)] == [0, 15_000_000]


def test_provenance(data: ReportData) -> None:
    facts = {f.label: f.value for f in data.provenance}
    assert facts["r/R"] == "1/16 (1.88M of 30M tokens)"
    assert facts["Smallest pool"].endswith("sequences (objective); 100 are sound")
    assert facts["Blocks"] == "4 in the search, 4 fresh in the verification"
    assert facts["Corpus fingerprint"] == "f" * 32
    assert facts["torch"] == "2.9.0"
    assert "bits/byte between blocks" in facts["Paired noise"]


@pytest.mark.parametrize("stage", ["empty", "search", "chosen", "verified", "larger"])
def test_survives_json(stage: str) -> None:
    data = assemble(fakes.study(6, stage=stage))
    assert from_json(ReportData, json.loads(json.dumps(to_json(data), allow_nan=False))) == data


def test_rank_correlation_is_the_one_of_the_choice() -> None:
    assert assemble(fakes.study(6, stage="chosen")).rank_correlation == 0.91
    assert assemble(fakes.study(6, stage="search")).rank_correlation is None
