from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cuvee.base.errors import DataError, PartialError
from cuvee.plan.trial import RECIPE
from cuvee.shards.corpus import Corpus
from cuvee.study.layout import Change, Config, CorpusRef, Lineup, MethodRef, Planned, Round
from cuvee.study.store import Store, portable, read_job
from tests.study.fakes import Grid, fake_train, problem


@pytest.fixture
def store(folder: Path, corpus: Corpus) -> Store:
    made = Store(folder)
    ref = CorpusRef(corpus.fingerprint, portable(corpus.path, folder), corpus.vocab_size)
    made.create(Config(problem(corpus), MethodRef.of(Grid()), ref, RECIPE))
    return made


def planned(corpus: Corpus, block: int = 0) -> Planned:
    question = problem(corpus)
    plan = question.plan(question.natural, block)
    return Planned(plan.id(corpus.fingerprint), plan)


def test_everything_written_is_read_back(store: Store, corpus: Corpus) -> None:
    run = planned(corpus)
    config = store.config()
    assert config.problem == problem(corpus)
    assert config.method.name == "grid"
    assert config.method.fields == {"per_round": 2, "rounds": 2, "blocks": 2}
    assert store.write_round(0, Round((run,)))
    assert store.rounds() == [Round((run,))]
    lineup = Lineup(float("nan"), {"choice": (run,), "natural": (run,)})
    store.write_lineup(lineup, "proxy")
    store.write_lineup(lineup, "proxy")
    assert len(store.lineups("proxy")) == 1
    assert store.lineups("proxy")[0].plans == (run,)
    assert store.planned() == {run.id: run}
    (trial,) = fake_train([run.plan], corpus)
    assert store.publish_trial(trial)
    assert Store(store.folder).trials([run, run]) == (trial,)
    job = read_job(store.write_job(corpus.path, (run.id,)))
    assert (store.folder / "jobs" / job.study).resolve() == store.folder.resolve()
    assert (store.folder / "jobs" / job.corpus).resolve() == corpus.path.resolve()
    assert "\\" not in job.corpus
    assert not job.corpus.startswith("/")


def test_the_first_writer_wins(store: Store, corpus: Corpus) -> None:
    first, second = Round((planned(corpus),)), Round((planned(corpus, 1),))
    assert store.write_round(0, first)
    assert not store.write_round(0, second)
    assert store.rounds() == [first]
    (trial,) = fake_train([first.plans[0].plan], corpus)
    assert store.publish_trial(trial)
    assert not store.publish_trial(replace(trial, message="late"))
    assert Store(store.folder).trial(trial.id) == trial


RACER = """
import sys
from pathlib import Path
from cuvee.base.files import publish
folder, me = Path(sys.argv[1]), sys.argv[2]
sys.stdin.read(1)
print(sum(publish(folder / f"{n:04d}.json", me.encode() * 1000) for n in range(60)))
"""


def test_two_racing_processes_write_every_round_once(tmp_path: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), me], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for me in "xy"
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("g")
        racer.stdin.flush()
    wins = [int(racer.communicate()[0]) for racer in racers]
    contents = [(tmp_path / f"{n:04d}.json").read_text() for n in range(60)]
    assert sum(wins) == 60
    assert [contents.count(me * 1000) for me in "xy"] == wins
    assert len(list(tmp_path.iterdir())) == 60


def test_leftovers_of_killed_processes_mean_nothing(store: Store, corpus: Corpus) -> None:
    run = planned(corpus)
    store.write_round(0, Round((run,)))
    path = store.trial_path(run.id)
    path.parent.mkdir(parents=True)
    (path.parent / f".{path.name}.0123.tmp").write_bytes(b'{"id"')
    (store.folder / "rounds" / ".0001.json.0123.tmp").write_bytes(b"{")
    assert store.rounds() == [Round((run,))]
    assert not store.has(run.id)
    assert store.trials([run]) == ()
    assert store.unreadable() == ()


@pytest.mark.parametrize("damage", [b"", b'{"id": "', b"null", b'{"format": 1}', b"\xff\xfe"])
def test_a_damaged_trial_is_seen_and_set_aside(store: Store, corpus: Corpus, damage: bytes) -> None:
    run = planned(corpus)
    (trial,) = fake_train([run.plan], corpus)
    for _ in range(2):
        path = store.trial_path(run.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(damage)
        assert store.trial(run.id) is None
        assert store.unreadable() == (run.id,)
        store.set_aside(run.id)
        assert not store.has(run.id)
    assert store.bad() == (f"{run.id}.0.bad", f"{run.id}.1.bad")
    assert store.publish_trial(trial)
    assert store.trial(run.id) == trial
    assert store.unreadable() == ()


def test_a_trial_under_another_id_is_damaged(store: Store, corpus: Corpus) -> None:
    (trial,) = fake_train([planned(corpus).plan], corpus)
    store.publish_trial(trial)
    other = store.trial_path("00" + trial.id[2:])
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(store.trial_path(trial.id).read_bytes())
    assert store.trial(other.stem) is None


def test_a_newer_format_is_refused_and_nothing_is_set_aside(store: Store, corpus: Corpus) -> None:
    run = planned(corpus)
    path = store.trial_path(run.id)
    path.parent.mkdir(parents=True)
    path.write_text('{"format": 2, "id": "new"}')
    with pytest.raises(DataError, match="format 2"):
        store.trial(run.id)
    assert path.exists()
    for name in ("study.json", "choice.json", "verification.json", "rounds/0000.json", "verify/0000.json"):
        target = store.folder / name
        target.parent.mkdir(exist_ok=True)
        target.write_text('{"format": 2}')
    for read in (
        store.config,
        store.choice,
        lambda: store.verification("proxy"),
        store.rounds,
        lambda: store.lineups("proxy"),
    ):
        with pytest.raises(DataError, match="upgrade"):
            read()


def test_a_file_with_unknown_keys_is_refused(store: Store) -> None:
    path = store.folder / "study.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "extra": 1}))
    with pytest.raises(DataError, match="extra"):
        store.config()


def test_no_study_is_an_error_with_the_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no study in"):
        Store(tmp_path / "nothing").config()


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_nothing_that_is_taken_for_whole(
    store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned(corpus)
    (trial,) = fake_train([run.plan], corpus)
    for name in ("link", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(PartialError, match="full") as caught:
                store.publish_trial(trial)
            assert caught.value.exit_code == 5
            with pytest.raises(PartialError):
                store.write_round(0, Round((run,)))
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", full)
        with pytest.raises(PartialError):
            store.remember(Change("now", "question", ("guards",)))
    assert not store.has(run.id)
    assert store.rounds() == []
    assert not [p for p in store.folder.rglob("*.tmp")]
    assert store.publish_trial(trial)


def test_the_history_survives_a_line_cut_short(store: Store) -> None:
    change = Change("2026-01-01T00:00:00+00:00", "question", ("guards",), {"seed": 1})
    store.remember(change)
    with open(store.folder / "history.jsonl", "a") as file:
        file.write('{"format": 1, "ti')
    assert store.history() == (change,)


def test_retired_files_are_kept_apart(store: Store) -> None:
    for turn in range(2):
        (store.folder / "choice.json").write_text("{}")
        store.retire(["choice.json", "verification.json"])
        assert (store.folder / f"retired/000{turn}/choice.json").exists()
    store.retire(["choice.json"])
    assert not (store.folder / "retired/0002").exists()


def test_sweeping_removes_only_what_belongs_to_published_trials(store: Store, corpus: Corpus) -> None:
    done, open_ = planned(corpus), planned(corpus, 1)
    store.publish_trial(fake_train([done.plan], corpus)[0])
    for run in (done, open_):
        temporary = store.checkpoint_path(run.id).with_name(f".{run.id}.pt.0123.tmp")
        for path in (store.checkpoint_path(run.id), temporary, store.claim_path(run.id)):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"")
    store.sweep([done, open_])
    left = {p.name for p in (store.folder / "checkpoints").iterdir()}
    assert left == {f"{open_.id}.pt", f".{open_.id}.pt.0123.tmp"}
    assert [p.stem for p in (store.folder / "claims").iterdir()] == [open_.id]
