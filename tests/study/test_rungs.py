"""Studies whose runs have several lengths: what each part makes of them, and that no part mixes them up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cuvee.base.errors import UsageError
from cuvee.methods.halving import Halving, differences
from cuvee.plan.problem import Problem, Proxy
from cuvee.plan.rungs import ladder
from cuvee.plan.trial import Plan, Trial
from cuvee.proxies.train import train
from cuvee.report.write import report_data
from cuvee.shards.corpus import Corpus
from cuvee.study import judge, pilot
from cuvee.study.checks import check_plan
from cuvee.study.past import past_of
from cuvee.study.study import Study
from tests.study.fakes import Inline, fake_train, problem

pytestmark = pytest.mark.slow

METHOD = Halving(runs=20, blocks=2, predictor="ridge-log")


def question(corpus: Corpus) -> Problem:
    return problem(corpus, target_tokens=10_000)


def longer_is_better(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
    """The formula, a bit/byte worse for every halving: a part that mixed lengths up would see it."""
    (trial,) = fake_train(plans, corpus)
    worse = {1024: 2.0, 2048: 1.0, 4096: 0.0, 8192: -1.0}[plans[0].tokens]
    curves = tuple(
        replace(c, bits_per_byte=tuple(v + worse for v in c.bits_per_byte), nats=tuple(2 * v for v in c.nats))
        for c in trial.curves
    )
    return (replace(trial, curves=curves),)


@pytest.fixture
def study(folder: Path, corpus: Corpus) -> Study:
    made = Study.open(folder, question(corpus), corpus, METHOD)
    made.run(runner=Inline(longer_is_better))
    made.choose()
    return made


def test_a_study_climbs_and_is_resumed_alike(study: Study, corpus: Corpus, tmp_path: Path) -> None:
    assert [Counter(p.tokens for p in plans) for plans in study.rounds()] == [{1024: 20}, {2048: 10}, {4096: 6}]

    class Stop(Exception):
        pass

    made: list[str] = []

    def killed(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
        if len(made) in (7, 24, 33):
            made.append("killed")
            raise KeyboardInterrupt
        made.append(plans[0].id(corpus.fingerprint))
        return longer_is_better(plans, corpus)

    again = tmp_path / "again"
    for _ in range(4):
        try:
            Study.open(again, question(corpus), corpus, METHOD).run(runner=Inline(killed))
        except KeyboardInterrupt:
            continue
    other = Study.load(again, corpus)
    assert other.rounds() == study.rounds()
    assert [t.id for t in other.trials()] == [t.id for t in study.trials()]
    assert len(made) - 3 == len(study.trials())


def test_only_full_runs_are_compared(study: Study) -> None:
    full = [t for t in study.trials() if t.plan.kind == "train"]
    assert len(full) == 6
    choice = study.choice()
    assert choice is not None
    assert choice.provenance is not None
    assert choice.provenance.runs == 6
    best = judge.best_observed(study.problem, study.trials())
    assert best in {t.plan.schedule for t in full}
    assert pilot.measured(study.problem, study.trials()) == pilot.measured(study.problem, full)
    verification = study.verify(choice, seeds=2, runner=Inline(longer_is_better))
    assert verification.arm("best seen").schedule == best
    assert {t.plan.tokens for t in study.verification_trials()} == {4096}


def test_transfer_is_checked_from_the_full_runs(study: Study) -> None:
    found = study.check_transfer(
        Proxy(tokens=8192, size="0.3M", seq_len=16, batch=16), mixtures=4, runner=Inline(longer_is_better)
    )
    ids = {t.id for t in study.trials() if t.plan.kind == "train"}
    assert len(found.pairs) == 4
    assert {pair.small for pair in found.pairs} < ids


def test_a_report_pairs_every_run_with_natural_of_its_length(study: Study) -> None:
    data = report_data(study)
    rungs = ladder(study.problem, 3, 0.5)
    wanted = {
        (block, round(value, 9)) for rung in rungs for (_, block), value in differences(rung, study.trials()).items()
    }
    rows = {(r.block, round(r.difference, 9)) for r in data.runs if r.difference}
    assert rows == wanted
    assert Counter(r.role for r in data.runs) == {"shorter": 30, "proposed": 4, "natural": 2}


def test_evidence_for_another_study_is_the_full_runs(study: Study) -> None:
    assert len(past_of(study.path, (), study.problem.proxy).runs) == 6


def test_a_dry_run_counts_the_rungs(folder: Path, corpus: Corpus) -> None:
    fresh = Study.open(folder, question(corpus), corpus, METHOD)
    found = fresh.cost(verify_seeds=0, speed="assumed")
    assert found.rungs == ((1024, 20), (2048, 10), (4096, 6))
    assert (found.runs, found.tokens) == (36, 20 * 1024 + 10 * 2048 + 6 * 4096)
    assert "10 of 2,048 tokens each" in str(found)
    fresh.run(runner=Inline(longer_is_better))
    done = fresh.cost(verify_seeds=0, speed="assumed")
    assert (done.runs, done.tokens, done.finished) == (0, 0, 36)


def test_a_full_run_of_another_length_is_refused(corpus: Corpus) -> None:
    own = question(corpus)
    plan = own.plan(own.natural, 0)
    check_plan(plan, own)
    check_plan(replace(plan, steps=plan.steps // 2, kind="short"), own)
    with pytest.raises(UsageError, match="sees 2,048 tokens"):
        check_plan(replace(plan, steps=plan.steps // 2), own)


def test_real_runs_climb(folder: Path, corpus: Corpus) -> None:
    torch.set_num_threads(1)
    method = Halving(runs=10, blocks=2, rungs=3)
    study = Study.open(folder, question(corpus), corpus, method)
    study.run(runner=Inline(train))
    choice = study.choose()
    assert [len(r) for r in study.rounds()] == [10, 6, 4]
    trials = study.trials()
    assert {t.status for t in trials} == {"done"}
    assert choice.diagnostics["short_runs"] == 16
    natural = {t.plan.tokens: t.loss("a") for t in trials if t.plan.schedule.at(0) == study.problem.natural}
    assert natural[1024] > natural[2048] > natural[4096], "a longer run has learned more"
    for trial in trials:
        assert trial.curves[0].tokens[-1] == trial.plan.tokens == sum(trial.realised), "each run is complete"
