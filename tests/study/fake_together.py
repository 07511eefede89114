"""The command for `torchrun` with frequent checkpoints, and slow enough to be killed until there is one; notes who runs from where.

`torchrun -m tests.study.fake_together JOB`; a process notes its rank, its number and its first step in the study's folder.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path

from cuvee.proxies.ddp import train_together
from cuvee.study import together


def on_step(step: int, steps: int) -> None:
    note = Path(sys.argv[1]).parent.parent / f"{os.environ['RANK']}.{os.getpid()}.first"
    if not note.exists():
        note.write_text(str(step), encoding="utf-8")
    if note.read_text(encoding="utf-8") == "1":
        time.sleep(0.2)


if __name__ == "__main__":
    vars(together)["train_together"] = partial(train_together, checkpoint_seconds=1, on_step=on_step)
    sys.exit(together.main(sys.argv[1:]))
