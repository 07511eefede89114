"""Progress on stderr: a bar with an ETA on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, Self


class Progress(Protocol):
    """What a long job reports to: `advance` by some units, `say` a line."""

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Record `amount` finished units and, if given, a short note shown beside the bar."""

    def foresee(self, left: str) -> None:
        """Record how long it will take, in words, by one who knows better than the bar; empty for nobody."""

    def say(self, line: str) -> None:
        """Print a line that stays."""


class Silent:
    """Reports nothing: the default of the library, which never prints."""

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Nothing."""

    def foresee(self, left: str) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""


class Bar:
    """A bar with an ETA on a terminal; without one, a line at most every `every` seconds. A total of 0 is not known."""

    def __init__(self, label: str, total: float, *, every: float = 10.0) -> None:
        self.label, self.total, self.every = label, total, every
        self.done, self.started, self.last = 0.0, time.monotonic(), 0.0
        self.foreseen, self.live = "", sys.stderr.isatty()

    def __enter__(self) -> Self:
        if self.live:
            from rich.console import Console
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as RichProgress

            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
            self._rich = RichProgress(*columns, TextColumn("{task.fields[left]}"), console=Console(stderr=True))
            self._task = self._rich.add_task(self.label, total=self.total or None, left="")
            self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self._rich.stop()
        elif kind is None:
            self._line("")

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Record `amount` finished units."""
        self.done += amount
        if self.live:
            described = f"{self.label} {note}".strip()
            self._rich.update(self._task, completed=self.done, description=described, left=self._left())
        elif time.monotonic() - self.last >= self.every:
            self._line(note)

    def foresee(self, left: str) -> None:
        """Record how long it will take, in place of the bar's own reckoning."""
        self.foreseen = left

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self.live:
            self._rich.console.print(line, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def _left(self) -> str:
        if self.foreseen or not 0 < self.done < self.total:
            return self.foreseen
        return f"about {(time.monotonic() - self.started) / self.done * (self.total - self.done):.0f} s left"

    def _line(self, note: str) -> None:
        self.last = time.monotonic()
        spent, left = self.last - self.started, self._left()
        # a total of 1 is a fraction of the whole job, any other a number of things
        count = (
            f"{self.done:.0%}" if self.total == 1 else f"{self.done:.0f}" + (f"/{self.total:.0f}" if self.total else "")
        )
        print(
            f"{self.label}: {count} after {spent:.0f} s{', ' if left else ''}{left} {note}".rstrip(),
            file=sys.stderr,
            flush=True,
        )
