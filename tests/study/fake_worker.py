"""The worker command with other trainings: `python -m tests.study.fake_worker MODE JOB ...`."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cuvee.plan.trial import Plan, Trial
from cuvee.shards.corpus import Corpus
from cuvee.study.worker import Trainer, main
from tests.study.fakes import fake_train


def crash_once(
    plans: Sequence[Plan], corpus: Corpus, *, checkpoint: Path | None = None, inputs: Path | None = None
) -> tuple[Trial, ...]:
    """Dies at its first run, works when started again."""
    assert checkpoint is not None
    if not checkpoint.exists():
        checkpoint.write_bytes(b"")
        os.kill(os.getpid(), signal.SIGKILL)
    return fake_train(plans, corpus)


def crash(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
    """Dies at every run."""
    print("about to die", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def hang(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
    """Never ends."""
    while True:
        time.sleep(0.01)


def full(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
    """Finds the disk full."""
    raise OSError(28, "No space left on device")


def eager(
    plans: Sequence[Plan], corpus: Corpus, *, checkpoint: Path | None = None, inputs: Path | None = None
) -> tuple[Trial, ...]:
    """The real training with a checkpoint after every step, on one thread as the real worker has it."""
    import torch

    from cuvee.proxies.train import train

    torch.set_num_threads(1)
    return train(plans, corpus, checkpoint=checkpoint, checkpoint_seconds=0)


def witness(
    plans: Sequence[Plan], corpus: Corpus, *, checkpoint: Path | None = None, inputs: Path | None = None
) -> tuple[Trial, ...]:
    """The real training, slow enough to be killed, with a checkpoint after every step; notes the first step that it makes."""
    import torch

    from cuvee.proxies.train import train

    assert checkpoint is not None
    torch.set_num_threads(1)
    note = checkpoint.parent.parent / f"{checkpoint.stem}.{os.getpid()}.first"

    def on_step(step: int, steps: int) -> None:
        if not note.exists():
            note.write_text(str(step), encoding="utf-8")
        time.sleep(0.1)

    return train(plans, corpus, checkpoint=checkpoint, checkpoint_seconds=0, on_step=on_step)


def halfway(
    plans: Sequence[Plan], corpus: Corpus, *, checkpoint: Path | None = None, inputs: Path | None = None
) -> tuple[Trial, ...]:
    """The real training with a checkpoint after every step; one that begins at its first step dies halfway."""
    import torch

    from cuvee.proxies.train import train

    torch.set_num_threads(1)
    seen: list[int] = []

    def on_step(step: int, steps: int) -> None:
        seen.append(step)
        if seen[0] == 1 and step > steps // 2:
            os.kill(os.getpid(), signal.SIGKILL)

    return train(plans, corpus, checkpoint=checkpoint, checkpoint_seconds=0, on_step=on_step)


MODES: dict[str, Trainer] = {
    "fake": fake_train,
    "crash": crash,
    "crash-once": crash_once,
    "hang": hang,
    "full": full,
    "eager": eager,
    "witness": witness,
    "halfway": halfway,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[2:], MODES[sys.argv[1]]))
