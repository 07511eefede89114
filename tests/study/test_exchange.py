"""The exchange: what goes up comes down whole, and what is broken there is never taken for what it says."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuvee.base.errors import DataError, UsageError
from cuvee.base.files import replace
from cuvee.cli.studyfile import RayEntry
from cuvee.plan.trial import Measure
from cuvee.proxies import checkpoint
from cuvee.proxies.way import Way
from cuvee.shards.corpus import Corpus
from cuvee.study.layout import Planned
from cuvee.study.runners import remote
from cuvee.study.runners.exchange import Courier, Exchange, with_retries
from cuvee.study.runners.ray import Ray
from cuvee.study.runners.remote import Unanswered
from cuvee.study.store import Store
from cuvee.study.worker import slower
from cuvee.testing.corpora import synthetic
from tests.study.fakes import fake_train

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(params=["file", "memory"])
def exchange(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Exchange]:
    """One in a folder, one in a store of objects."""
    yield Exchange(f"file://{tmp_path}/bucket/deep" if request.param == "file" else f"memory://{tmp_path.name}/deep")
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAIT", 0.0)


@pytest.fixture
def small(tmp_path: Path) -> Corpus:
    return synthetic(tmp_path / "corpus", documents=40)


def runs(store: Store) -> tuple[Planned, ...]:
    return tuple(store.planned().values())


def note(monkeypatch: pytest.MonkeyPatch, name: str, noted: list[str]) -> None:
    """Have the names of files noted that `put` or `get` is called with."""
    function = getattr(Exchange, name)

    def noting(self: Exchange, *given: Any) -> Any:
        noted.extend(g for g in given if isinstance(g, str))
        return function(self, *given)

    monkeypatch.setattr(Exchange, name, noting)


def write(exchange: Exchange, name: str, content: bytes) -> None:
    files, root = exchange._place
    files.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
    files.pipe_file(f"{root}/{name}", content)


def content(exchange: Exchange, name: str) -> bytes:
    return exchange.read([name])[name.rpartition("/")[2]]


# addresses


@pytest.mark.parametrize(
    "url", ["bucket/cuvee", "/mnt/cuvee", "file://mnt/cuvee", "s3:bucket", "s3://b/*", "zip::s3://b/x", "s3://b?sig=x"]
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(UsageError, match="exchange"):
        Ray(exchange=url)
    with pytest.raises(UsageError, match="exchange"):
        RayEntry(exchange=url)


def test_a_password_is_refused_and_not_said() -> None:
    with pytest.raises(UsageError) as error:
        Ray(exchange="ftp://me:hidden@host/cuvee")
    assert "password" in str(error.value)
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["https://host/c?sv=1&sig=hidden", "s3://me:hidden@[bad", "s3:me:hidden@host/x", "s3://me:hid?hidden@host"]
)
def test_credentials_in_what_is_no_address_are_not_said(url: str) -> None:
    with pytest.raises(UsageError) as error:
        Ray(exchange=url)
    assert "hidden" not in str(error.value)


def test_an_unknown_kind_of_store() -> None:
    with pytest.raises(UsageError, match="nowhere"):
        Exchange("nowhere://bucket/x").size("a")


def test_without_fsspec_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UsageError, match=r"cuvee\[remote\]"):
        Exchange("memory://x").size("a")


# files


def test_files_go_up_and_come_down(exchange: Exchange, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    assert exchange.size("x/a") is None
    assert not exchange.get("x/a", tmp_path / "b")
    exchange.put(tmp_path / "a", "x/a")
    assert exchange.size("x/a") == 3
    assert exchange.get("x/a", tmp_path / "deep" / "b")
    assert (tmp_path / "deep" / "b").read_bytes() == b"one"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["b"]
    assert exchange.read(["x/a", "x/none"]) == {"a": b"one"}
    exchange.remove(["x/a", "x/none"])
    assert exchange.size("x/a") is None


def test_a_store_that_fails_for_a_moment_and_one_that_stays_away(
    exchange: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"one")
    files, _ = exchange._place
    left = [3]
    put, copy = files.put_file, shutil.copyfile

    def flaky(*args: Any, **given: Any) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(5, "the network is down")
        (put if "memory" in exchange.url else copy)(*args, **given)

    monkeypatch.setattr(files, "put_file", flaky)
    monkeypatch.setattr(shutil, "copyfile", flaky)
    exchange.put(tmp_path / "a", "a")
    assert exchange.size("a") == 3
    left[0] = remote.ATTEMPTS
    with pytest.raises(Unanswered, match="the network is down"):
        exchange.put(tmp_path / "a", "b")
    assert exchange.size("b") is None


def test_a_file_that_breaks_off_on_a_mounted_folder_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = Exchange(f"file://{tmp_path}/bucket")
    (tmp_path / "a").write_bytes(b"one")
    exchange.put(tmp_path / "a", "a")

    def half(path: Path, to: Path) -> None:
        to.write_bytes(b"o")
        raise OSError(5, "broken off")

    monkeypatch.setattr(shutil, "copyfile", half)
    with pytest.raises(Unanswered):
        exchange.put(tmp_path / "a", "a")
    assert content(exchange, "a") == b"one"
    assert [p.name for p in (tmp_path / "bucket").iterdir()] == ["a"]


def test_what_is_forbidden_is_said_at_once(exchange: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, _ = exchange._place
    calls: list[str] = []

    def forbid(path: str, *more: str, **given: Any) -> None:
        calls.append(path)
        raise PermissionError("Access Denied")

    monkeypatch.setattr(files, "info", forbid)
    with pytest.raises(DataError, match="not allowed"):
        exchange.size("a")
    assert len(calls) == 1
    monkeypatch.setattr(files, "get_file", forbid)
    with pytest.raises(DataError, match=r"not allowed(?s:.*)credentials"):
        exchange.bring_corpus("f" * 32, tmp_path / "cache")


# corpora


def test_a_corpus_comes_down_as_it_went_up(exchange: Exchange, small: Corpus, tmp_path: Path) -> None:
    exchange.send_corpus(small)
    path = exchange.bring_corpus(small.fingerprint, tmp_path / "cache")
    assert path == tmp_path / "cache" / "corpora" / small.fingerprint
    assert Corpus.open(path).fingerprint == small.fingerprint
    Corpus.open(path).check()


def test_an_upload_that_was_broken_off_is_no_corpus_and_goes_on(
    exchange: Exchange, small: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    put = Exchange.put

    def until_killed(self: Exchange, path: Path, name: str) -> None:
        if len(sent) == 5 or path.name == "inventory.json":
            raise KeyboardInterrupt
        sent.append(name)
        put(self, path, name)

    with monkeypatch.context() as patch:
        patch.setattr(remote, "AT_ONCE", 1)
        patch.setattr(Exchange, "put", until_killed)
        with pytest.raises(KeyboardInterrupt):
            exchange.send_corpus(small)
    with pytest.raises(DataError, match="no whole corpus"):
        exchange.bring_corpus(small.fingerprint, tmp_path / "cache")
    first = set(sent)
    note(monkeypatch, "put", sent)
    exchange.send_corpus(small)
    assert len(sent) == len(set(sent)) > len(first), "nothing is sent twice"
    exchange.bring_corpus(small.fingerprint, tmp_path / "cache")
    count = len(sent)
    exchange.send_corpus(small)
    assert len(sent) == count


def test_a_damaged_shard_is_found_before_it_is_used(exchange: Exchange, small: Corpus, tmp_path: Path) -> None:
    exchange.send_corpus(small)
    name = f"corpora/{small.fingerprint}/{small.inventory.domains[0].train.shards[0].path}.bin"
    damaged = bytearray(content(exchange, name))
    damaged[7] ^= 1
    write(exchange, name, bytes(damaged))
    with pytest.raises(DataError, match=r"(?s)no whole corpus.*remove it there"):
        exchange.bring_corpus(small.fingerprint, tmp_path / "cache")
    assert not (tmp_path / "cache" / "corpora" / small.fingerprint).exists()


def test_an_inventory_does_not_lead_out_of_the_cache(exchange: Exchange, small: Corpus, tmp_path: Path) -> None:
    exchange.send_corpus(small)
    name = f"corpora/{small.fingerprint}/inventory.json"
    shard = small.inventory.domains[0].train.shards[0].path
    write(exchange, name, content(exchange, name).replace(f'"{shard}"'.encode(), b'"../../../out"'))
    with pytest.raises(DataError, match=r"no whole corpus.*out"):
        exchange.bring_corpus(small.fingerprint, tmp_path / "cache")


def test_of_many_tasks_at_once_one_brings_the_corpus(
    exchange: Exchange, small: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange.send_corpus(small)
    litter = tmp_path / "cache" / "corpora" / f".{small.fingerprint}.tmp" / small.fingerprint
    litter.mkdir(parents=True)
    (litter / "inventory.json").write_text("of a task that was killed", encoding="utf-8")
    brought: list[str] = []
    note(monkeypatch, "get", brought)
    tasks = [
        threading.Thread(target=exchange.bring_corpus, args=(small.fingerprint, tmp_path / "cache")) for _ in range(4)
    ]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    assert len(brought) == len(set(brought)) > 0
    Corpus.open(tmp_path / "cache" / "corpora" / small.fingerprint).check()


# inputs


def test_inputs_come_down_by_way_of_the_cache(exchange: Exchange, store: Store, tmp_path: Path) -> None:
    told = (Measure("exam", "text", search="aa", verify="bb"), Measure("score", "outside", unit="accuracy"))
    scored = [Planned(run.id, dataclasses.replace(run.plan, measures=told)) for run in runs(store)]
    store.inputs.mkdir(parents=True)
    with pytest.raises(DataError, match=r"inputs/aa\.npz"):
        exchange.bring_inputs(scored, tmp_path / "cache", tmp_path / "apart")
    for name in ("aa.npz", "bb.npz", "of others.npz"):
        np.savez(store.inputs / name, name=name)
    exchange.send_inputs(scored, store.inputs)
    assert exchange.size("inputs/of others.npz") is None
    for task in ("one", "two"):
        exchange.bring_inputs(scored, tmp_path / "cache", tmp_path / task)
        assert {p.name: p.read_bytes() for p in (tmp_path / task).iterdir()} == {
            name: (store.inputs / name).read_bytes() for name in ("aa.npz", "bb.npz")
        }
    whole = (tmp_path / "cache" / "inputs" / "aa.npz").read_bytes()
    assert whole == (store.inputs / "aa.npz").read_bytes()
    for k, there in enumerate((whole[: len(whole) // 2], whole.replace(b"a\0\0\0a", b"a\0\0\0b"), b"")):
        write(exchange, "inputs/aa.npz", there)
        with pytest.raises(DataError, match=r"(?s)aa\.npz is not whole.*remove it there"):
            exchange.bring_inputs(scored, tmp_path / f"cache {k}", tmp_path / f"broken {k}")
        assert not (tmp_path / f"cache {k}" / "inputs" / "aa.npz").exists()


# trials and checkpoints


def test_trials_come_home_once_and_broken_ones_do_not(
    exchange: Exchange, store: Store, corpus: Corpus, tmp_path: Path
) -> None:
    a, b, c = runs(store)
    apart = Store(tmp_path / "apart")
    for run in (a, b, c):
        apart.publish_trial(*fake_train([run.plan], corpus))
    Courier(exchange, apart).send()
    whole = {run.id: content(exchange, f"trials/{run.id}.json") for run in (a, b, c)}
    write(exchange, f"trials/{b.id}.json", whole[b.id][: len(whole[b.id]) // 2])
    write(exchange, f"trials/{c.id}.json", whole[a.id])  # another's
    write(exchange, f"checkpoints/{a.id}.pt", b"done with")
    write(exchange, f"checkpoints/{b.id}.pt", b"needed")
    exchange.bring_home(store, (a, b, c), corpus.fingerprint)
    assert [store.has(run.id) for run in (a, b, c)] == [True, False, False]
    assert store.trial_path(a.id).read_bytes() == apart.trial_path(a.id).read_bytes()
    assert [exchange.size(f"checkpoints/{run.id}.pt") for run in (a, b)] == [None, 6]

    forged = whole[c.id].replace(b'"block": 2', b'"block": 7')  # says that it is c, and is not
    assert forged != whole[c.id]
    write(exchange, f"trials/{c.id}.json", forged)
    write(exchange, f"trials/{b.id}.json", whole[b.id])
    exchange.bring_home(store, (a, b, c), corpus.fingerprint)
    assert [store.has(run.id) for run in (a, b, c)] == [True, True, False]
    assert store.unreadable() == ()


def test_a_retry_comes_home_before_the_run_that_tells_of_it(store: Store, corpus: Corpus) -> None:
    run = runs(store)[0]
    ids = with_retries([run, run], corpus.fingerprint)
    assert len(ids) == 2
    assert ids[1] == run.id


def test_a_retry_goes_up_before_the_run_that_tells_of_it(
    exchange: Exchange, store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, _ = runs(store)
    retries = [slower(run.plan, corpus.fingerprint) for run in (a, b)]
    for run in (a, retries[0], b, retries[1]):
        store.publish_trial(*fake_train([run.plan], corpus))
        os.utime(store.trial_path(run.id), ns=(1, 1))  # clocks of file systems are coarse
    sent: list[str] = []
    note(monkeypatch, "put", sent)
    Courier(exchange, store).send()
    assert set(sent[:2]) == {f"trials/{run.id}.json" for run in retries}
    assert set(sent[2:]) == {f"trials/{run.id}.json" for run in (a, b)}


def test_a_courier_sends_what_is_new(
    exchange: Exchange, store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, _ = runs(store)
    sent: list[str] = []
    note(monkeypatch, "put", sent)
    write(exchange, f"checkpoints/{a.id}.pt", b"first")
    courier = Courier(exchange, store)
    courier.bring(with_retries([a, b], corpus.fingerprint))
    assert store.checkpoint_path(a.id).read_bytes() == b"first"
    assert not store.checkpoint_path(b.id).exists()
    courier.send()
    assert sent == []
    replace(store.checkpoint_path(a.id), b"second")
    store.publish_trial(*fake_train([b.plan], corpus))
    courier.send()
    courier.send()
    assert sent == [f"trials/{b.id}.json", f"checkpoints/{a.id}.pt"]
    assert content(exchange, f"checkpoints/{a.id}.pt") == b"second"
    store.forget(a.id)
    courier.send()
    assert len(sent) == 2
    assert not list(store.folder.glob(".*.tmp"))


def test_a_file_that_is_replaced_while_it_is_sent_goes_up_as_it_was(
    exchange: Exchange, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.checkpoint_path(runs(store)[0].id)
    replace(path, b"first")
    put = Exchange.put

    def meanwhile(self: Exchange, copy: Path, name: str) -> None:
        replace(path, b"other")
        os.utime(path, ns=(1, 1))
        put(self, copy, name)

    with monkeypatch.context() as patch:
        patch.setattr(Exchange, "put", meanwhile)
        courier = Courier(exchange, store)
        courier.send()
    assert content(exchange, f"checkpoints/{path.name}") == b"first"
    courier.send()
    assert content(exchange, f"checkpoints/{path.name}") == b"other"


def test_half_a_checkpoint_is_none(exchange: Exchange, store: Store, corpus: Corpus) -> None:
    pytest.importorskip("torch")
    from cuvee.proxies.train import train

    run = runs(store)[0]
    path = store.checkpoint_path(run.id)

    def stop(step: int, steps: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([run.plan], corpus, checkpoint=path, checkpoint_seconds=0, on_step=stop)
    whole = path.read_bytes()
    assert checkpoint.load(path, (run.id,), Way().name) is not None
    for there in (whole[: len(whole) // 2], whole[:-1], whole[:10], b""):
        write(exchange, f"checkpoints/{path.name}", there)
        Courier(exchange, store).bring([run.id])
        assert path.read_bytes() == there
        assert checkpoint.load(path, (run.id,), Way().name) is None
