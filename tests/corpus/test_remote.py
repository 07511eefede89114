from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cuvee.base.errors import DataError, UsageError
from cuvee.base.processes import environment
from cuvee.corpus.remote import Access, BlockCache, blob_of, filesystem, find
from tests.corpus.store import PROTOCOLS, Folders, Store, serving

DATA = np.random.default_rng(0).integers(0, 256, 10_000).astype(np.uint8)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "x.bin").write_bytes(DATA.tobytes())
    with serving(tmp_path / "served") as server:
        yield server


def address(store: Store, protocol: str, name: str = "x.bin") -> str:
    return f"{protocol}://127.0.0.1:{store.server_address[1]}/{name}"


def access(
    tmp_path: Path, *, timeout: float = 5.0, attempts: int = 3, cache_bytes: int = 1 << 20, block: int = 1000
) -> Access:
    return Access(tmp_path / "cache", cache_bytes, block, timeout, attempts, wait=0.01)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_any_range_is_read_and_nothing_twice(store: Store, tmp_path: Path, protocol: str) -> None:
    blob = blob_of(address(store, protocol), access(tmp_path))
    assert blob.size == 10_000
    for start, stop in ((0, 1), (999, 1001), (2500, 7300), (9_990, 10_000), (9_990, 20_000), (5, 5)):
        assert np.array_equal(blob.read(start, stop), DATA[start:stop])
    asked = len(store.requests)
    assert asked == len(set(store.requests)) == 9
    again = blob_of(address(store, protocol), access(tmp_path))
    assert np.array_equal(again.read(2500, 7300), DATA[2500:7300])
    assert len(store.requests) == asked


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_object_replaced_by_one_of_the_same_size_is_read_anew(store: Store, tmp_path: Path, protocol: str) -> None:
    assert np.array_equal(blob_of(address(store, protocol), access(tmp_path)).read(0, 500), DATA[:500])
    (store.folder / "x.bin").write_bytes(DATA[::-1].tobytes())
    os.utime(store.folder / "x.bin", (10**9, 10**9))
    assert np.array_equal(blob_of(address(store, protocol), access(tmp_path)).read(0, 500), DATA[::-1][:500])


@pytest.mark.parametrize("mark", ["ETag", "Last-Modified", "Content-MD5", "Digest", "blob_id", "xet_hash", "mtime"])
def test_every_mark_of_a_store_tells_two_contents_apart(tmp_path: Path, mark: str) -> None:
    first, second = (blob_of("memory://x", access(tmp_path), {"size": 8, mark: tag}) for tag in ("a", "b"))
    assert first.stamp != second.stamp


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("trouble", ["500", "cut", "stall", "whole"])
def test_passing_trouble_is_waited_out(store: Store, tmp_path: Path, protocol: str, trouble: str) -> None:
    blob = blob_of(address(store, protocol), access(tmp_path, timeout=0.5 if trouble == "stall" else 5))
    store.trouble = [trouble, trouble]
    assert np.array_equal(blob.read(0, 500), DATA[:500])
    assert len(store.requests) == 3


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("trouble", "said"),
    [("500", "500"), ("cut", ""), ("stall", "no answer within 0.4 s"), ("whole", "got 10,000 bytes")],
)
def test_lasting_trouble_ends_in_an_error(store: Store, tmp_path: Path, protocol: str, trouble: str, said: str) -> None:
    blob = blob_of(address(store, protocol), access(tmp_path, timeout=0.4 if trouble == "stall" else 5))
    store.always = trouble
    with pytest.raises(DataError, match="could not read") as caught:
        blob.read(0, 500)
    assert "3 attempt(s)" in caught.value.what
    assert said in caught.value.what
    assert address(store, protocol) in caught.value.what
    assert len(store.requests) == 3
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_will_not_pass_is_not_tried_again(store: Store, tmp_path: Path, protocol: str) -> None:
    blob = blob_of(address(store, protocol), access(tmp_path))
    store.always = "403"
    with pytest.raises(DataError, match=r"1 attempt\(s\)"):
        blob.read(0, 500)
    with pytest.raises(DataError, match="there is no"):
        blob_of(address(store, protocol, "y.bin"), access(tmp_path))


def test_stores_that_are_not_known_are_named() -> None:
    with pytest.raises(UsageError, match="nonsense"):
        filesystem("nonsense://bucket/x")


def test_listings_have_patterns_and_folders(tmp_path: Path) -> None:
    files = filesystem("memory://listing")
    for name in ("a/1.npy", "a/2.npy", "a/sub/3.npy", "b.txt"):
        files.pipe_file(f"/listing/{name}", b"x")
    root, given = "memory://listing", access(tmp_path)
    assert list(find(f"{root}/a", given)) == [f"{root}/a/{n}" for n in ("1.npy", "2.npy", "sub/3.npy")]
    assert list(find(f"{root}/a/*.npy", given)) == [f"{root}/a/1.npy", f"{root}/a/2.npy"]
    assert list(find(f"{root}/b.txt", given)) == [f"{root}/b.txt"]
    assert find(f"{root}/c", given) == {}


@pytest.mark.parametrize("path", ["b", "b/**/*.npy", "b/2*/*/*.npy"])
@pytest.mark.parametrize("folder", ["b/2024", "b/2024/01"])
def test_a_folder_that_cannot_be_listed_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, folder: str
) -> None:
    wanted = [f"b/{year}/01/x.npy" for year in (2023, 2024, 2025)]
    for name in wanted:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.setattr(Folders, "root", tmp_path)
    monkeypatch.setattr(Folders, "stalled", {folder: 2})
    assert list(find(f"folders://{path}", access(tmp_path))) == [f"folders://{name}" for name in wanted]
    Folders.stalled[folder] = 3
    with pytest.raises(DataError, match=r"could not read .* 3 attempt\(s\), the last one said TimeoutError"):
        find(f"folders://{path}", access(tmp_path))


def total(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.glob("??/*"))


def test_the_cache_stays_in_its_bound_and_keeps_what_was_used_last(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path, 16_000)
    for i in range(60):
        cache.get(f"{i:04d}", 1000, lambda i=i: bytes([i]) * 1000)  # type: ignore[misc]
        os.utime(tmp_path / "00" / f"{i:04d}", ns=(i * 10**9, i * 10**9))
    assert total(tmp_path) <= 17_000
    made: list[int] = []
    fresh = BlockCache(tmp_path, 16_000)
    for i in (59, 0):
        fresh.get(f"{i:04d}", 1000, lambda i=i: made.append(i) or bytes(1000))  # type: ignore[misc, func-returns-value]
    assert made == [0]


def test_a_torn_block_is_made_again(tmp_path: Path) -> None:
    BlockCache(tmp_path, 10_000).get("aa", 4, lambda: b"good")
    (tmp_path / "aa" / "aa").write_bytes(b"go")
    assert BlockCache(tmp_path, 10_000).get("aa", 4, lambda: b"good").tobytes() == b"good"


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    left = tmp_path / "aa" / ".aa.1.tmp"
    left.parent.mkdir()
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    BlockCache(tmp_path, 10_000).get("ab", 4, lambda: b"good")
    assert not left.exists()


HAMMER = """
import sys, numpy as np
from pathlib import Path
from cuvee.corpus.remote import BlockCache
cache, rng = BlockCache(Path(sys.argv[1]), 40_000), np.random.default_rng(int(sys.argv[2]))
for k in range(int(sys.argv[3])):
    i = int(rng.integers(100))
    found = cache.get(f"{i:02d}", 1000, lambda: bytes([i]) * 1000)
    assert found.tobytes() == bytes([i]) * 1000, i
"""


def hammer(folder: Path, seed: int, rounds: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", HAMMER, str(folder), str(seed), str(rounds)]
    return subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE)


@pytest.mark.slow
def test_processes_share_a_cache_and_one_may_be_killed(tmp_path: Path) -> None:
    victim = hammer(tmp_path, 0, 10**8)
    others = [hammer(tmp_path, seed, 500) for seed in (1, 2)]
    while not list(tmp_path.glob("??/??")):
        assert victim.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert [(p.communicate()[1], p.returncode) for p in others] == [(b"", 0)] * 2
    assert total(tmp_path) <= 40_000 * (1 + 3 / 16) + 3000
