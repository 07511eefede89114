from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuvee.base.errors import UsageError
from cuvee.plan.problem import Problem, Proxy, Target
from cuvee.plan.trial import Cost, Curve, Measure, Plan, Trial
from cuvee.shards.corpus import Corpus
from cuvee.study.outside import Suggestion, Told
from cuvee.study.study import Study
from tests.study.fakes import Grid, Inline, problem

pytestmark = pytest.mark.slow

QUIZ = Measure("quiz", "outside", unit="accuracy", direction="maximise")
LARGE = Proxy(tokens=8192, size="0.1M", seq_len=16, batch=16, eval_points=1)
FOUR = Grid(per_round=4, rounds=1)


def question(corpus: Corpus, *, quiz: bool = False) -> Problem:
    """About two domains, and if wanted a quiz of which more is better."""
    asked = replace(problem(corpus), trainer="outside")
    return replace(asked, measures=(QUIZ,), objective=(*asked.objective, Target("quiz"))) if quiz else asked


def losses(plan: Plan) -> dict[str, float]:
    """By formula: a target's own share helps, blocks shift all alike."""
    w_D = plan.schedule.mean(plan.tokens).shares
    return {
        d: float(2 - 0.3 * math.log(w + 0.02) + 0.01 * (plan.block % 7))
        for d, w in zip(plan.schedule.domains, w_D, strict=True)
    }


def told(plan: Plan) -> dict[str, float]:
    """What is told of a plan: its targets by the formula, and an accuracy that goes with the share of b."""
    every = losses(plan)
    return {t: every[t] for t in plan.targets} | {m.name: 0.9 - 0.1 * every["b"] for m in plan.measures}


def opened(folder: Path, corpus: Corpus, quiz: bool = False, method: Grid | None = None) -> Study:
    return Study.open(folder, question(corpus, quiz=quiz), corpus, method or Grid())


def drive(study: Study, **wanted: Any) -> list[Suggestion]:
    """The whole study; what was suggested."""
    seen = [study.suggest(2, **wanted)]
    while seen[-1].stage != "done":
        for run in seen[-1].runs:
            study.tell(run.id, told(run.plan))
        seen.append(study.suggest(2, **wanted))
    return seen


def test_a_study_by_suggestions_only(folder: Path, corpus: Corpus) -> None:
    seen = drive(opened(folder, corpus))
    assert [(s.stage, len(s.runs), s.finished) for s in seen[:2]] == [("round 0", 6, 0), ("round 1", 4, 0)]
    assert [s.stage for s in seen[2:]] == ["verify", "done"]
    assert {p.plan.split for p in seen[2].runs} == {"verify"}
    study = Study.load(folder)
    verification = study.verification()
    assert verification is not None
    assert not verification.missing
    assert {t.provenance["trainer"] for t in study.trials()} == {"outside"}
    assert not list(folder.glob("jobs/*")), "no worker was told anything"


def test_the_same_losses_lead_to_the_choice_of_a_study_that_trains_itself(
    folder: Path, corpus: Corpus, tmp_path: Path
) -> None:
    def train(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
        (plan,) = plans
        curves = tuple(Curve(t, (plan.tokens,), (), (losses(plan)[t],)) for t in plan.targets)
        realised = plan.schedule.mean(plan.tokens).tokens(plan.tokens)
        return (Trial(plan.id(corpus.fingerprint), plan, "done", curves, realised, Cost(0, 0, 0), {}),)

    outside = opened(folder, corpus)
    drive(outside)
    inside = Study.open(tmp_path / "inside", problem(corpus), corpus, Grid())
    inside.run(runner=Inline(train))
    mine, theirs = inside.choose(), outside.choice()
    assert theirs is not None
    assert theirs.schedule == mine.schedule
    assert not {t.id for t in inside.trials()} & {t.id for t in outside.trials()}, "runs of two trainers are two runs"
    verified = inside.verify(mine, 2, runner=Inline(train))
    found = outside.verification()
    assert found is not None
    assert [a.differences for a in found.arms] == [a.differences for a in verified.arms]


def test_transfer_and_the_larger_scale_when_asked_for(folder: Path, corpus: Corpus) -> None:
    seen = drive(opened(folder, corpus, method=FOUR), large=LARGE, large_seeds=2, transfer=4)
    assert [s.stage for s in seen] == ["round 0", "verify", "transfer", "verify-large", "done"]
    transfer = seen[2]
    assert {p.plan.tokens for p in transfer.runs} == {LARGE.trained_tokens}
    assert transfer.finished >= 5, "the small runs of the pairs are those of the search"
    assert all(
        large > small for large, small in zip(transfer.runs[0].plan.pools, seen[0].runs[0].plan.pools, strict=True)
    )
    study = Study.load(folder)
    assert study.verification("large") is not None
    found = study.transfer()
    assert found is not None
    assert found.spearman == pytest.approx(1)


def test_suggesting_again_gives_the_same_and_half_told_the_other_half(folder: Path, corpus: Corpus) -> None:
    first = opened(folder, corpus).suggest()
    files = {p: p.read_bytes() for p in folder.rglob("*.json")}
    assert opened(folder, corpus).suggest() == first
    assert {p: p.read_bytes() for p in folder.rglob("*.json")} == files
    for run in first.runs[::2]:
        left = opened(folder, corpus).tell(run.id, told(run.plan))
    assert left == Suggestion("round 0", first.runs[1::2], 3)
    assert opened(folder, corpus).suggest() == left
    for run in first.runs[1::2]:
        left = Study.load(folder).tell(run.id, told(run.plan))
    assert left == Suggestion("round 0", (), 6)
    assert opened(folder, corpus).suggest().stage == "round 1"


def test_less_is_better_inside(folder: Path, corpus: Corpus) -> None:
    study = opened(folder, corpus, quiz=True)
    run = study.suggest().runs[0]
    steps = (run.plan.tokens // 2, run.plan.tokens)
    quiz = Told((0.2, 0.41), steps, (math.nan, 0.02), "acc", "maximise")
    loss = Told((2.5, 1.75), steps, unit="bpb", direction="minimise")
    study.tell(run.id, {"a": loss, "c": 1.5, "quiz": quiz}, source="eval.csv")
    (trial,) = study.trials()
    curve = trial.curve("quiz")
    assert curve is not None
    assert curve.bits_per_byte == (-0.2, -0.41)
    assert math.isnan(curve.errors[0])
    assert curve.errors[1] == 0.02
    assert trial.curve("a") == Curve("a", steps, (), (2.5, 1.75))
    assert trial.curve("c") == Curve("c", (run.plan.tokens,), (), (1.5,))
    assert trial.realised == run.plan.schedule.mean(run.plan.tokens).tokens(run.plan.tokens)
    assert trial.provenance["from"] == "eval.csv"
    assert repr(Study.load(folder).trials()) == repr(study.trials())


def test_a_metric_to_maximise_pulls_the_choice_its_way(folder: Path, corpus: Corpus) -> None:
    study = Study.open(
        folder, replace(question(corpus, quiz=True), objective=(Target("quiz"),)), corpus, Grid(per_round=6, rounds=1)
    )
    seen = drive(study)
    choice = study.choice()
    assert choice is not None
    w_D = np.array([p.plan.schedule.phases[0].mixture.share("b") for p in seen[0].runs])
    feasible = [study.problem.feasible().contains(p.plan.schedule.phases[0].mixture.shares) for p in seen[0].runs]
    assert choice.schedule.phases[0].mixture.share("b") == pytest.approx(max(w_D[feasible]))


def test_the_same_telling_is_nothing_and_another_is_refused(folder: Path, corpus: Corpus) -> None:
    study = opened(folder, corpus)
    run = study.suggest().runs[0]
    study.tell(run.id, {"a": 1.25, "c": 2.0})
    (path,) = folder.glob("trials/*/*.json")
    before = path.stat().st_mtime_ns
    study.tell(run.id, {"c": 2.0, "a": 1.25}, source="again.json")
    assert path.stat().st_mtime_ns == before
    with pytest.raises(UsageError, match=r"told before: .*a 1\.25 .*now .*a 1\.5 "):
        study.tell(run.id, {"a": 1.5, "c": 2.0})
    path.write_bytes(path.read_bytes()[:99])
    opened(folder, corpus).tell(run.id, {"a": 1.5, "c": 2.0})
    assert opened(folder, corpus).trials()[0].loss("a") == 1.5


def test_runs_that_diverged_or_failed_and_realised_tokens(folder: Path, corpus: Corpus) -> None:
    study = opened(folder, corpus)
    runs = study.suggest().runs
    half = runs[0].plan.tokens // 2
    study.tell(runs[0].id, {"a": Told((3.0, math.inf), (half, 2 * half))}, status="diverged")
    study.tell(runs[1].id, {}, status="failed", message="out of memory")
    study.tell(runs[2].id, {"a": Told((2.0,), (6000,)), "c": 2.0}, realised={"a": 1000, "b": 3000, "c": 2000})
    trials = {t.id: t for t in study.trials()}
    assert trials[runs[0].id].status == "diverged"
    assert trials[runs[0].id].curves == (Curve("a", (half,), (), (3.0,)),)
    assert (trials[runs[1].id].status, trials[runs[1].id].message) == ("failed", "out of memory")
    assert trials[runs[2].id].realised == (1000, 3000, 2000)
    assert trials[runs[2].id].curves[1].tokens == (6000,)
    assert study.suggest().finished == 3


Wrong = tuple[Mapping[str, float | Told], dict[str, Any], str]
GOOD = {"a": 1.0, "c": 1.0, "quiz": 0.5}


@pytest.mark.parametrize(
    "wrong",
    [
        ({"a": 1.0, "c": 1.0}, {}, r"no value of quiz in run .*wanted: values of a, c, quiz"),
        (GOOD | {"quizz": 1.0}, {}, r"no target 'quizz'.*did you mean 'quiz'\?"),
        (GOOD | {"b": 1.0}, {}, r"no target 'b'.*wanted: values of a, c, quiz"),
        (GOOD | {"quiz": Told((0.5,), unit="f1")}, {}, r"given in f1.*wanted: accuracy"),
        (GOOD | {"a": Told((3.0,), unit="nats/token")}, {}, r"wanted: bits/byte.*1 nat/token is 1\.4427"),
        (
            GOOD | {"quiz": Told((0.5,), direction="minimise")},
            {},
            r"to minimise by its source.*wanted: a metric to maximise",
        ),
        (GOOD | {"a": math.nan}, {}, r"a of run .* is nan.*--diverged"),
        (GOOD | {"a": -math.inf}, {}, r"is -inf.*--diverged"),
        (GOOD | {"a": Told((2.0, 1.0), (4096, 2048))}, {}, r"tokens 4,096, 2,048.*wanted: tokens that ascend"),
        (
            GOOD | {"a": Told((2.0, 1.0), (1024, 4096 - 100))},
            {},
            r"ends at 3,996 tokens.*4,096 tokens, within 2%.*--realised",
        ),
        (GOOD | {"a": Told((2.0, 1.0))}, {}, r"2 values without tokens"),
        (GOOD | {"a": Told((), ())}, {}, r"0 values"),
        (GOOD | {"a": Told((2.0, 1.0), (4096,))}, {}, r"2 values, 1 tokens"),
        (GOOD | {"a": Told((2.0,), errors=(-0.1,))}, {}, r"standard errors -0\.1"),
        (GOOD, {"realised": {"a": 1, "b": 1, "d": 1}}, r"realised tokens of 'd'"),
        (GOOD, {"realised": {"a": 4096}}, r"every domain in the mixture: b, c"),
        (GOOD, {"realised": {"a": -1, "b": 1, "c": 1}}, r"at least 0"),
        (GOOD, {"realised": {"a": 0, "b": 0, "c": 0}}, r"realised tokens of run"),
        ({}, {"status": "failed"}, r"without a message"),
        (GOOD, {"status": "failed", "message": "no"}, r"with metrics"),
    ],
)
def test_what_is_refused(folder: Path, corpus: Corpus, wrong: Wrong) -> None:
    metrics, more, said = wrong
    study = opened(folder, corpus, quiz=True)
    run = study.suggest().runs[0]
    with pytest.raises(UsageError) as error:
        study.tell(run.id, metrics, **more)
    assert re.search(said, str(error.value), re.DOTALL), str(error.value)
    assert not study.trials()
    study.tell(run.id, GOOD)


def test_an_unknown_run_and_none_at_all(folder: Path, corpus: Corpus) -> None:
    study = opened(folder, corpus)
    with pytest.raises(UsageError, match="nothing was suggested yet"):
        study.tell("0" * 32, {})
    run = study.suggest().runs[0].id
    with pytest.raises(UsageError, match=rf"did you mean '{run}'"):
        study.tell(run[:-1], {})


@pytest.mark.parametrize("what", [lambda s: s.suggest(), lambda s: s.tell("x", {})])
def test_a_study_of_proxies_takes_nothing_from_outside(
    folder: Path, corpus: Corpus, what: Callable[[Study], object]
) -> None:
    study = Study.open(folder, problem(corpus), corpus, Grid())
    with pytest.raises(UsageError, match=r"trainer: outside"):
        what(study)


def test_a_study_of_an_outside_trainer_starts_no_workers(folder: Path, corpus: Corpus) -> None:
    study = opened(folder, corpus)
    with pytest.raises(UsageError, match=r"(?s)6 runs wait for an outside trainer.*cuvee suggest"):
        study.run(runner=Inline())
    drive(study)
    choice = study.choice()
    assert choice is not None
    with pytest.raises(UsageError, match="wait for an outside trainer"):
        study.verify(choice, 5, runner=Inline())
    assert not list(folder.glob("jobs/*"))


def test_runs_of_another_outside_trainer_are_not_taken_over(folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    opened(folder, corpus)
    with pytest.raises(UsageError, match="taken over"):
        Study.open(tmp_path / "other", question(corpus), corpus, Grid(), reuse=[folder])
