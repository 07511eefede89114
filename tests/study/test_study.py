from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from cuvee.base.errors import DataError, PartialError, UsageError
from cuvee.plan.choice import Choice
from cuvee.plan.problem import Problem, Target
from cuvee.plan.trial import Plan, Trial
from cuvee.shards.corpus import Corpus
from cuvee.study.alternatives import about
from cuvee.study.judge import FIRST_BLOCK
from cuvee.study.study import Study
from cuvee.testing.corpora import synthetic
from tests.study.fakes import GUARD, Grid, Inline, fake_train, problem


class Counting:
    """The formula, with a count of the runs made and failures on demand."""

    def __init__(self, broken: dict[int, str] | None = None) -> None:
        self.made: list[str] = []
        self.broken = broken or {}

    def __call__(self, plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
        (trial,) = fake_train(plans, corpus)
        self.made.append(trial.id)
        how = self.broken.pop(len(self.made), "")
        if how == "failed":
            raise ValueError("a broken plan")
        return (replace(trial, status="diverged", message="loss nan at step 3"),) if how == "diverged" else (trial,)


class Log:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.done, self.lines = 0.0, list[str]()

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        self.done += amount

    def foresee(self, left: str) -> None: ...

    def say(self, line: str) -> None:
        self.lines.append(line)


def made(folder: Path, corpus: Corpus, question: Problem | None = None, train: Counting | None = None) -> Study:
    study = Study.open(folder, question or problem(corpus), corpus, Grid())
    study.run(runner=Inline(train or Counting()))
    study.choose()
    return study


def test_rounds_until_the_method_has_seen_enough(folder: Path, corpus: Corpus) -> None:
    train, log = Counting(), Log()
    study = Study.open(folder, problem(corpus), corpus, Grid(per_round=3, rounds=2, blocks=2))
    study.run(workers=3, progress=log, runner=Inline(train))
    assert [len(r) for r in study.rounds()] == [8, 6]
    assert len(train.made) == len(set(train.made)) == 14 == log.done
    assert [t.id for t in study.trials()] == sorted(train.made)
    choice = study.choose()
    assert study.choice() == choice
    assert set(choice.evidence) == set(train.made)
    assert choice.provenance is not None
    assert (choice.provenance.runs, choice.provenance.blocks) == (14, (0, 1))
    assert choice.provenance.fingerprint == corpus.fingerprint
    assert choice.provenance.tokenizer == corpus.inventory.tokenizer.sha
    assert choice.provenance.versions == {"trainer": "formula"}
    others = study.alternatives()
    assert others is not None
    assert others.about == about(choice)
    assert study.front() is None
    study.run(runner=Inline(train))
    assert len(train.made) == 14


def test_running_again_gives_the_same_bytes_and_runs_nothing(folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    made(folder, corpus)
    before = (folder / "choice.json").read_bytes()
    train = Counting()
    made(folder, corpus, train=train)
    assert (folder / "choice.json").read_bytes() == before
    assert train.made == []
    made(tmp_path / "another", corpus)
    assert (tmp_path / "another" / "choice.json").read_bytes() == before


def test_a_round_is_proposed_only_when_the_last_one_has_ended(folder: Path, corpus: Corpus) -> None:
    @dataclass(frozen=True)
    class Watching(Grid):
        def propose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> tuple[Plan, ...]:
            assert len(trials) in (0, 6, 10)
            assert [t.id for t in trials] == sorted(t.id for t in trials)
            return super().propose(problem, trials, rng)

    class Stops(Inline):
        """Makes one run, then is stopped."""

        def run(self, jobs: Sequence[Path], poll: object) -> tuple[()]:
            raise PartialError("stopped")

    study = Study.open(folder, problem(corpus), corpus, Watching())
    with pytest.raises(PartialError):
        study.run(runner=Stops())
    rounds = study.rounds()
    again = Study.open(folder, problem(corpus), corpus, Watching())
    again.run(runner=Inline())
    assert again.rounds()[0] == rounds[0]


def test_failed_and_diverged_runs_are_trials(folder: Path, corpus: Corpus) -> None:
    train = Counting({2: "failed", 5: "diverged"})
    study = made(folder, corpus, train=train)
    assert sorted(t.status for t in study.trials() if t.status != "done") == ["diverged", "failed"]
    status = study.status()
    assert [(s.planned, s.done, s.diverged, s.failed, s.left) for s in status.stages] == [
        (6, 4, 1, 1, 0),
        (4, 4, 0, 0, 0),
    ]
    assert any("a broken plan" in m for m in status.messages)
    assert any("loss nan" in m for m in status.messages)
    again = Counting()
    made(folder, corpus, train=again)
    assert again.made == []


def test_a_round_without_any_good_run_ends_the_search(folder: Path, corpus: Corpus) -> None:
    study = Study.open(folder, problem(corpus), corpus, Grid())
    with pytest.raises(DataError, match=r"none of the 6 runs of round 0 .*a broken plan"):
        study.run(runner=Inline(Counting(dict.fromkeys(range(1, 7), "failed"))))
    assert len(study.trials()) == 6


def test_a_damaged_trial_is_set_aside_said_and_run_again(folder: Path, corpus: Corpus) -> None:
    study = made(folder, corpus)
    before = (folder / "choice.json").read_bytes()
    victim = study.trials()[3].id
    path = folder / "trials" / victim[:2] / f"{victim}.json"
    path.write_bytes(path.read_bytes()[:100])
    assert victim in Study.load(folder).status().unreadable
    train, log = Counting(), Log()
    again = Study.open(folder, problem(corpus), corpus, Grid())
    again.run(progress=log, runner=Inline(train))
    again.choose()
    assert train.made == [victim]
    assert any(victim in line and ".bad" in line for line in log.lines)
    assert again.status().set_aside == (f"{victim}.0.bad",)
    assert (folder / "choice.json").read_bytes() == before


def test_a_study_moves_with_its_corpus(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new" / "place"
    corpus = synthetic(old / "corpus")
    study = made(old / "studies" / "one", corpus)
    choice = study.choice()
    shutil.move(old, new)
    loaded = Study.load(new / "studies" / "one")
    assert loaded.corpus is not None
    assert loaded.choice() == choice
    assert "tmp" not in (new / "studies" / "one" / "study.json").read_text()
    assert str(tmp_path) not in "".join(p.read_text() for p in (new / "studies").rglob("*.json"))
    train = Counting()
    again = made(new / "studies" / "one", loaded.corpus, train=train)
    assert train.made == []
    again.verify(again.choose(), seeds=2, runner=Inline())


def test_without_its_corpus_a_study_can_still_be_read(tmp_path: Path) -> None:
    corpus = synthetic(tmp_path / "corpus")
    study = made(tmp_path / "study", corpus)
    verification = study.verify(study.choose(), seeds=2, runner=Inline())
    shutil.rmtree(tmp_path / "corpus")
    loaded = Study.load(tmp_path / "study")
    assert loaded.corpus is None
    assert loaded.verification() == verification
    assert loaded.trials() == study.trials()
    assert len(loaded.verification_trials()) == len(verification.trials)
    assert loaded.problem == study.problem
    assert loaded.status().chosen
    with pytest.raises(DataError, match="corpus of"):
        loaded.cost()
    with pytest.raises(UsageError, match="loaded to be read"):
        loaded.choose()


def test_a_corpus_given_at_loading_must_be_the_right_one(folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    made(folder, corpus)
    assert Study.load(folder, corpus).corpus is corpus
    other = synthetic(tmp_path / "other", seed=1)
    with pytest.raises(DataError, match=other.fingerprint):
        Study.load(folder, other)


def test_a_changed_question_keeps_the_runs_and_is_remembered(folder: Path, corpus: Corpus) -> None:
    study = made(folder, corpus)
    runs = study.trials()
    asked = replace(problem(corpus), objective=(Target("b"),), guards=(GUARD,))
    train = Counting()
    edited = made(folder, corpus, asked, train)
    assert train.made == []
    assert edited.trials() == runs
    (change,) = edited.history()
    assert (change.event, change.keys) == ("question", ("guards", "objective"))
    assert Study.load(folder).problem == asked
    more = Study.open(folder, asked, corpus, Grid(rounds=3))
    more.run(runner=Inline(train))
    assert len(more.rounds()) == 3
    assert len(train.made) == 4
    assert [c.keys for c in more.history()] == [("guards", "objective"), ("method",)]


def test_a_changed_question_puts_old_results_aside(folder: Path, corpus: Corpus) -> None:
    made(folder, corpus)
    edited = Study.open(folder, replace(problem(corpus), objective=(Target("b"),)), corpus, Grid())
    assert edited.choice() is None
    assert (folder / "retired/0000/choice.json").exists()


@pytest.mark.slow
def test_changed_evidence_is_refused_with_the_number_of_runs_lost(folder: Path, corpus: Corpus) -> None:
    study = made(folder, corpus)
    changed = problem(corpus, target_tokens=41_000)
    with pytest.raises(UsageError, match=r"target_tokens .* 10 trials no longer apply"):
        Study.open(folder, changed, corpus, Grid())
    with pytest.raises(UsageError, match="seed"):
        Study.open(folder, problem(corpus, seed=1), corpus, Grid())
    assert Study.load(folder).trials() == study.trials()
    restarted = Study.open(folder, changed, corpus, Grid(), changed_evidence="restart")
    assert restarted.trials() == ()
    assert restarted.rounds() == ()
    assert [c.event for c in restarted.history()] == ["restart"]
    restarted.run(runner=Inline())
    assert len(restarted.trials()) == 10
    train = Counting()
    back = Study.open(folder, problem(corpus), corpus, Grid(), changed_evidence="restart")
    back.run(runner=Inline(train))
    assert train.made == [], "the first runs are found again by their content"


def test_a_changed_corpus_is_refused_with_both_fingerprints(folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    made(folder, corpus)
    other = synthetic(tmp_path / "other", seed=1)
    with pytest.raises(DataError) as caught:
        Study.open(folder, problem(other), other, Grid())
    assert corpus.fingerprint in str(caught.value)
    assert other.fingerprint in str(caught.value)


def test_a_new_recipe_is_changed_evidence(folder: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    study = made(folder, corpus)
    monkeypatch.setattr("cuvee.plan.trial.RECIPE", 99)
    monkeypatch.setattr("cuvee.study.editing.RECIPE", 99)
    with pytest.raises(UsageError, match="recipe"):
        Study.open(folder, problem(corpus), corpus, Grid())
    assert len(Study.load(folder).trials()) == len(study.trials())


def test_a_preview_costs_and_writes_nothing(folder: Path, corpus: Corpus) -> None:
    fresh = Study.preview(folder, problem(corpus), corpus, Grid())
    assert fresh.cost(speed="assumed").runs == 6
    assert not folder.exists()
    made(folder, corpus)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    asked = replace(problem(corpus), objective=(Target("b"),))
    assert Study.preview(folder, asked, corpus, Grid(rounds=3)).cost(speed="assumed").runs == 4
    changed = problem(corpus, seed=1)
    with pytest.raises(UsageError, match="no longer apply"):
        Study.preview(folder, changed, corpus, Grid())
    restarted = Study.preview(folder, changed, corpus, Grid(), changed_evidence="restart")
    assert restarted.cost(speed="assumed").runs == 6
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_a_study_edited_by_another_process_writes_nothing_more(folder: Path, corpus: Corpus) -> None:
    study = Study.open(folder, problem(corpus), corpus, Grid())
    Study.open(folder, replace(problem(corpus), objective=(Target("b"),)), corpus, Grid())
    with pytest.raises(UsageError, match="edited by another process"):
        study.run(runner=Inline())
    assert study.rounds() == ()


@pytest.mark.slow
def test_runs_of_another_study_are_taken_over(folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    made(folder, corpus)
    train = Counting()
    other = Study.open(tmp_path / "other", problem(corpus), corpus, Grid(rounds=3), reuse=[folder])
    other.run(runner=Inline(train))
    assert len(other.trials()) == 14
    assert len(train.made) == 4
    seeded = Study.open(tmp_path / "third", problem(corpus, seed=1), corpus, Grid(), reuse=[folder])
    third = Counting()
    seeded.run(runner=Inline(third))
    assert len(third.made) == 10


@pytest.mark.slow
def test_verification_uses_fresh_blocks_and_the_verify_split(folder: Path, corpus: Corpus) -> None:
    study, train, log = made(folder, corpus, problem(corpus, guards=(GUARD,))), Counting(), Log()
    choice = study.choose()
    verification = study.verify(choice, seeds=3, progress=log, runner=Inline(train))
    trials = study.verification_trials()
    assert {t.plan.split for t in trials} == {"verify"}
    assert {t.plan.block for t in trials} == set(range(FIRST_BLOCK, FIRST_BLOCK + 3))
    assert [a.name for a in verification.arms] == ["choice", "natural", "uniform", "unimax", "best seen"]
    assert len(train.made) == len(trials) == 3 * len({a.schedule for a in verification.arms})
    assert [e.name for e in verification.arm("choice").estimates] == ["objective", "a", "b", "c", "guard:rest"]
    assert verification.arm("natural").differences == (0, 0, 0)
    assert "detectable" in log.lines[0]
    assert study.verification() == verification
    assert not {t.id for t in study.trials()} & {t.id for t in trials}
    more = study.verify(choice, seeds=5, runner=Inline(train))
    assert len(train.made) == 5 * len({a.schedule for a in verification.arms})
    assert more.detectable < verification.detectable
    assert [s.name for s in study.status().stages] == ["round 0", "round 1", "verification 0", "verification 1"]
    with pytest.raises(UsageError):
        study.verify(choice, seeds=0)


def test_a_failed_run_of_verification_is_named_and_left_out(folder: Path, corpus: Corpus) -> None:
    study = made(folder, corpus)
    verification = study.verify(study.choose(), seeds=3, runner=Inline(Counting({1: "failed", 5: "diverged"})))
    assert len(verification.missing) >= 2
    assert verification.missing[0] == "choice, block 1000: failed"
    assert verification.arm("choice").blocks[0] != FIRST_BLOCK
    assert len(verification.arm("uniform").blocks) == 2, "a pair without natural is no pair"


@pytest.mark.slow
def test_a_full_disk_ends_with_5_and_the_next_run_goes_on(
    folder: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = made(folder.with_name("reference"), corpus).choice()
    links, real = [0], os.link

    def link(source: object, target: object, **options: object) -> None:
        links[0] += 1
        if links[0] > 7:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)  # type: ignore[arg-type]

    study = Study.open(folder, problem(corpus), corpus, Grid())
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link)
        with pytest.raises(PartialError, match="disk is full"):
            study.run(runner=Inline())
    assert 0 < len(study.trials()) < 10
    assert study.status().unreadable == ()
    assert made(folder, corpus).choice() == reference


@dataclass(frozen=True)
class Breaks:
    """Proposes what no study can run."""

    name: ClassVar[str] = "breaks"
    how: str = "verify"

    def propose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> tuple[Plan, ...]:
        plan = problem.plan(problem.natural, 0)
        return {
            "verify": (replace(plan, split="verify"),),
            "block": (replace(plan, block=FIRST_BLOCK),),
            "wants": (replace(plan, wants=("weights",)),),  # type: ignore[arg-type]
            "forever": (plan, plan),
        }[self.how]

    def choose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> Choice:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("how", "match"),
    [("verify", "split"), ("block", "block"), ("wants", "wants weights"), ("forever", "earlier rounds")],
)
def test_a_broken_method_is_stopped(folder: Path, corpus: Corpus, how: str, match: str) -> None:
    study = Study.open(folder, problem(corpus), corpus, Breaks(how=how))
    with pytest.raises(UsageError, match=match):
        study.run(runner=Inline())


def test_a_problem_about_other_domains_is_refused(folder: Path, corpus: Corpus) -> None:
    other = replace(problem(corpus), domains=("a", "x", "c"))
    with pytest.raises(UsageError, match="a, x, c"):
        Study.open(folder, other, corpus, Grid())
    assert not folder.exists()
