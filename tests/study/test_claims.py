from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from cuvee.base.codec import to_json
from cuvee.base.files import dump_json
from cuvee.study import claims


def write(path: Path, owner: claims.Owner) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dump_json({"format": 1, **to_json(owner)}))


def age(path: Path, seconds: float) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "claims" / "x.json"
    claim = claims.take(path)
    assert claim is not None
    assert claims.take(path) is None
    assert claims.held(path)
    claim.release()
    assert not path.exists()
    again = claims.take(path)
    assert again is not None
    again.release()


def test_a_claim_of_a_dead_process_on_this_host_is_stale_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write(path, claims.Owner(claims.host(), dead_pid(), "n"))
    assert claims.is_stale(path)
    assert not claims.held(path)
    claim = claims.take(path)
    assert claim is not None
    assert claims.held(path)
    claim.release()


def test_a_process_that_waits_to_be_reaped_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not claims.alive(process.pid)
    process.wait()
    assert claims.alive(os.getpid())


def test_a_claim_from_elsewhere_is_stale_after_a_minute_of_silence(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write(path, claims.Owner("another host", 1, "n"))
    assert not claims.is_stale(path)
    assert claims.take(path) is None
    age(path, claims.PATIENCE - 5)
    assert not claims.is_stale(path)
    age(path, 10)
    assert claims.is_stale(path)
    claim = claims.take(path)
    assert claim is not None
    claim.release()


def test_a_claim_of_this_process_that_went_silent_can_be_taken_over_and_its_holder_removes_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.json"
    old = claims.take(path)
    assert old is not None
    age(path, claims.PATIENCE + 1)
    new = claims.take(path)
    assert new is not None
    old.release()
    assert claims.read_owner(path) == new.owner
    new.release()
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_claim_counts_by_its_age(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"{")
    assert claims.take(path) is None
    age(path, claims.PATIENCE + 1)
    claim = claims.take(path)
    assert claim is not None
    claim.release()


def test_a_takeover_that_was_killed_half_way_blocks_nobody(tmp_path: Path) -> None:
    path, dead = tmp_path / "x.json", claims.Owner(claims.host(), dead_pid(), "n")
    write(path, dead)
    write(tmp_path / ".x.json.n", dead)
    claim = claims.take(path)
    assert claim is not None
    claim.release()
    assert list(tmp_path.iterdir()) == []


def test_of_many_that_take_over_a_stale_claim_at_most_one_wins(tmp_path: Path) -> None:
    for turn in range(20):
        path = tmp_path / f"{turn}.json"
        write(path, claims.Owner(claims.host(), dead_pid() if turn == 0 else 2**22 + 1, "n"))
        won: list[claims.Claim] = []
        start = threading.Barrier(4)

        def contend(path: Path = path, start: threading.Barrier = start, won: list[claims.Claim] = won) -> None:
            start.wait()
            claim = claims.take(path)
            if claim is not None:
                won.append(claim)

        threads = [threading.Thread(target=contend) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        won[0].release()


def test_the_heartbeat_touches(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    claim = claims.take(path)
    assert claim is not None
    touched = threading.Event()
    before = path.stat().st_mtime_ns
    claim._released = _Beats(2, touched)
    claim._thread = threading.Thread(target=claim._beat)
    os.utime(path, ns=(before - 10**10, before - 10**10))
    claim._thread.start()
    assert touched.wait(10)
    assert path.stat().st_mtime_ns > before - 10**10
    claim.release()


class _Beats(threading.Event):
    """Lets the heartbeat run so many times without waiting."""

    def __init__(self, beats: int, done: threading.Event) -> None:
        super().__init__()
        self.beats, self.done = beats, done

    def wait(self, timeout: float | None = None) -> bool:
        self.beats -= 1
        if self.beats < 0:
            self.done.set()
        return self.beats < 0
