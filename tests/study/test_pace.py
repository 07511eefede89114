"""What is left of a study: by arithmetic on stated runs, and of a real one that another process makes and that is killed."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.base.codec import to_json
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.plan.trial import Cost
from cuvee.proxies import train as training
from cuvee.proxies.progress import Progress, tell
from cuvee.shards.corpus import Corpus
from cuvee.study import claims
from cuvee.study.layout import Planned, Round
from cuvee.study.pace import Pace, _between, pace, work
from cuvee.study.status import status
from cuvee.study.store import Store
from cuvee.study.study import Study
from tests.study.fakes import Grid, fake_train, problem
from tests.study.fleet import start, trials

pytestmark = pytest.mark.slow

RUNS = 8
STEPS = 16


@pytest.fixture
def eight(folder: Path, corpus: Corpus) -> Store:
    """A study with eight runs to make."""
    question = problem(corpus)
    made = Study.open(folder, question, corpus, Grid())._store
    plans = [question.plan(question.natural, block) for block in range(RUNS)]
    made.write_round(0, Round(tuple(Planned(p.id(corpus.fingerprint), p) for p in plans)))
    return made


def ended(store: Store, corpus: Corpus, *seconds: float) -> None:
    """The first runs, which took so long."""
    for run, took in zip(store.planned().values(), seconds, strict=False):
        (trial,) = fake_train([run.plan], corpus)
        store.publish_trial(replace(trial, cost=Cost(took, took, 1.0)))


def now(store: Store) -> Pace:
    planned = list(store.planned().values())
    return pace(store, [planned], store.trials(planned), store.config().corpus.vocab_size)


def test_without_a_run_that_ended_it_says_so(eight: Store) -> None:
    found = now(eight)
    assert (found.ended, found.planned, found.eta_seconds, found.tokens_per_second) == (0, RUNS, None, None)
    assert str(found) == "0 of 8 planned runs ended; no run has ended yet, so the time left is not known"


def test_what_is_left_is_shared_by_the_workers(eight: Store, corpus: Corpus) -> None:
    ended(eight, corpus, 10.0, 10.0, 10.0, 10.0)
    idle = now(eight)
    assert idle.eta_seconds is None
    assert idle.work_seconds == pytest.approx(40)
    assert "nobody is at work; 40 s of one worker left" in str(idle)
    first, second = (claims.take(eight.claim_path(i)) for i in list(eight.planned())[4:6])
    assert first is not None
    assert second is not None
    with first, second:
        found = now(eight)
        assert found.eta_seconds == pytest.approx((20 * 0.95, (20 + 5) * 1.05))
        assert found.tokens_per_second == pytest.approx(2 * 4096 / 10)
        tell(eight.checkpoint_path(list(eight.planned())[4]), Progress(STEPS // 2, 7.0))
        assert now(eight).eta_seconds == pytest.approx((17.5 * 0.95, (17.5 + 5) * 1.05))
    assert str(found) == "4 of 8 planned runs ended; 819 tokens/s by 2 workers; 19 s to 26 s left"


def test_few_or_uneven_runs_are_doubted(eight: Store, corpus: Corpus) -> None:
    with claims.take(eight.claim_path(list(eight.planned())[7])) or pytest.fail("nobody else holds it"):
        ended(eight, corpus, 10.0)
        assert now(eight).eta_seconds == pytest.approx((70 * 0.8, 70 * 1.2))
        ended(eight, corpus, 10.0, 4.0, 16.0)
        low, high = now(eight).eta_seconds or (0, 0)
        assert low < 50 * 0.4
        assert high > 50 * 1.6


def test_a_run_that_is_being_made_tells_before_any_ends(eight: Store) -> None:
    first = next(iter(eight.planned()))
    with claims.take(eight.claim_path(first)) or pytest.fail("nobody else holds it"):
        tell(eight.checkpoint_path(first), Progress(STEPS // 4, 3.0))
        found = now(eight)
    assert found.tokens_per_second == pytest.approx(1024 / 3)
    assert found.eta_seconds == pytest.approx((0.8 * (7.75 * 12), 1.2 * (7.75 * 12)))
    eight.forget(first)
    assert eight.progress(first) is None


def test_larger_runs_are_reckoned_by_their_work(eight: Store, corpus: Corpus) -> None:
    ended(eight, corpus, *[2.0] * RUNS)
    assert now(eight).left == "nothing left"
    (plan, *_) = [run.plan for run in eight.planned().values()]
    large = replace(plan, size="1M", steps=3 * STEPS)
    eight.write_round(1, Round((Planned(large.id(corpus.fingerprint), large),)))
    ratio = work(large, corpus.vocab_size) / work(plan, corpus.vocab_size)
    assert ratio > 3
    assert now(eight).work_seconds == pytest.approx(2 * ratio)


def five_in_batches_of_eight(store: Store, corpus: Corpus) -> list[str]:
    """Five arms of a block that are trained together, with three copies; their ids in the order of the batch."""
    (first, *_) = store.planned().values()
    shares = ((k, 6 - k, 6) for k in range(1, 6))
    arms = [
        replace(first.plan, together=8, schedule=Schedule.constant(Mixture.from_array(first.plan.schedule.domains, s)))
        for s in (np.array(share) / 12 for share in shares)
    ]
    store.retire(["rounds"])
    store.write_round(0, Round(tuple(Planned(p.id(corpus.fingerprint), p) for p in arms)))
    return sorted(store.planned())


def test_copies_in_a_batch_take_time_and_are_no_work(eight: Store, corpus: Corpus) -> None:
    ids = five_in_batches_of_eight(eight, corpus)
    plans = [run.plan for run in eight.planned().values()]
    with claims.take(eight.claim_path(ids[0])) or pytest.fail("nobody else holds it"):
        tell(eight.checkpoint_path(ids[0]), Progress(STEPS // 4, 20.0))
        begun = now(eight)
    assert begun.eta_seconds == pytest.approx((60 * 0.8, 60 * 1.2))
    assert begun.work_seconds == pytest.approx(60)
    assert begun.tokens_per_second == pytest.approx(5 * 1024 / 20)
    ended(eight, corpus, *[10.0] * 5)  # 80 s of the clock by eight
    assert now(eight).work_seconds == 0
    alone = replace(plans[0], block=1)  # a run in a batch of its own
    again = [replace(p, block=2) for p in plans]
    later = Round(tuple(Planned(p.id(corpus.fingerprint), p) for p in (alone, *again)))
    eight.write_round(1, later)
    with claims.take(eight.claim_path(later.plans[0].id)) or pytest.fail("nobody else holds it"):
        found = now(eight)
    assert found.eta_seconds == pytest.approx((160 * 0.8, 160 * 1.2))
    assert found.tokens_per_second == pytest.approx(5 * 4096 / 80)


def test_a_batch_of_which_some_are_published_counts_once(eight: Store, corpus: Corpus) -> None:
    first, second, *_ = ids = five_in_batches_of_eight(eight, corpus)
    (trial,) = fake_train([eight.planned()[first].plan], corpus)
    eight.publish_trial(replace(trial, cost=Cost(10.0, 10.0, 1.0)))
    with claims.take(eight.claim_path(first)) or pytest.fail("nobody else holds it"):
        tell(eight.checkpoint_path(second), Progress(STEPS // 2, 40.0))
        found = now(eight)
    assert (found.ended, found.planned, found.workers) == (1, len(ids), 1)
    assert found.eta_seconds == pytest.approx((40 * 0.8, 40 * 1.2))


@given(
    st.lists(st.floats(0, 1e9, allow_subnormal=False), min_size=1, max_size=9),
    st.lists(st.floats(1e-15, 1e-6), min_size=1, max_size=9),
    st.integers(1, 9),
)
def test_the_least_is_no_more_than_the_most(left: list[float], rates: list[float], workers: int) -> None:
    low, high = _between(left, rates, workers) or pytest.fail("somebody is at work")
    assert 0 <= low <= high


def test_a_training_tells_how_far_it_is(eight: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "TELL", 0.0)
    run, seen, advance = next(iter(eight.planned().values())), list[Progress | None](), training.Run.advance

    clock = [0.0]

    def compiles(self: training.Run) -> None:
        clock[0] += 2.0 if self.step else 100.0
        advance(self)

    monkeypatch.setattr(training.Run, "advance", compiles)
    monkeypatch.setattr(training, "_now", lambda: (clock[0], clock[0]))
    checkpoint = eight.checkpoint_path(run.id)
    training.train([run.plan], corpus, checkpoint=checkpoint, on_step=lambda *_: seen.append(eight.progress(run.id)))
    assert [told and told.step for told in seen] == [None, *range(2, STEPS + 1)]
    assert all(told.seconds == 2.0 * told.step for told in seen if told), "of the first step nothing is foretold"
    eight.forget(run.id)
    assert not list(checkpoint.parent.iterdir())


def test_a_real_study_in_another_process_and_after_a_kill(folder: Path, corpus: Corpus) -> None:
    process = start(folder, corpus.path)
    while trials(folder) < 1:
        assert process.poll() is None
        time.sleep(0.05)
    seen = []
    while trials(folder) < 3:  # of the six of the first round
        assert process.poll() is None
        seen.append(status(Store(folder)).pace)
        time.sleep(0.02)
    process.kill()
    process.communicate()
    at_work = [found for found in seen if found.workers]
    assert at_work
    for found in at_work:
        assert found.eta_seconds is not None
        assert 0 < found.eta_seconds[0] < found.eta_seconds[1]
        assert found.tokens_per_second
    assert [found.ended for found in seen] == sorted(found.ended for found in seen)
    while any(claims.held(path) for path in folder.glob("claims/*.json")):
        time.sleep(0.05)
    after = status(Store(folder))
    assert (after.pace.workers, after.pace.eta_seconds) == (0, None)
    assert after.pace.work_seconds
    assert "nobody is at work" in str(after)
    assert json.loads(json.dumps(to_json(after)))["pace"]["eta_seconds"] is None
