"""Emitted commands: instead of starting workers, write a script that starts them, for Slurm or for a shell.

The script holds all it needs: the interpreter, its environment, a job file a task. A task is the worker command, so it
may be killed, run again, and run twice at a time: runs are claimed, go on from their checkpoints, and count once.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cuvee.base.errors import PartialError
from cuvee.base.files import replace
from cuvee.base.processes import KEEP_MEMORY, ONE_THREAD, environment
from cuvee.study.runners.local import Outcome
from cuvee.study.store import Store, read_job
from cuvee.study.worker import together

Kind = Literal["slurm", "bash"]
HELD = (
    *ONE_THREAD,
    *KEEP_MEMORY,
    "PYTHONPATH",
    "PYTHONSAFEPATH",
    "CC",
    "CXX",
    "TORCHINDUCTOR_CACHE_DIR",
    "XDG_CACHE_HOME",
)
"""What the script sets for its workers, as it is here: schedulers may start tasks with nothing in their environment."""
ENDS: dict[Kind, str] = {
    "slurm": 'work "${job[$SLURM_ARRAY_TASK_ID]}"',
    # without the trap an interrupt would reach this shell only: what a script starts with & ignores interrupts
    "bash": """\
if [ $# -gt 0 ]; then work "${job[$1]}"; exit; fi
trap 'kill $(jobs -p) 2> /dev/null' EXIT
pids=() code=0
for one in "${job[@]}"; do work "$one" & pids+=($!); done
for pid in "${pids[@]}"; do wait "$pid" || code=$?; done
exit "$code\"""",
}


class Emitted(PartialError):
    """The answer of `Study.run` and `Study.verify` where commands are emitted and runs are missing."""

    def __init__(self, script: Path, command: str, runs: int, tasks: int) -> None:
        self.script, self.runs, self.tasks = script, runs, tasks
        super().__init__(
            f"{runs} runs are to be made by {tasks} tasks of {script}",
            wanted="their trials in the study's folder",
            fix=f"{command}, and when it has ended this command again: it goes on from there",
        )


@dataclass(frozen=True)
class Emit:
    """Writes a script with one task a worker; the runs that are missing are dealt out to them, several to each.

    Runs that are trained together go to one task, with those of them that are there: a batch is then the same, and claimed
    under the same name, whoever makes it.

    Args:
        kind: `slurm`: one array for `sbatch`. `bash`: all tasks at once, or the one whose number is given.
        folder: Where the script goes; one that is there is replaced.
    """

    kind: Kind
    folder: Path

    def run(self, jobs: Sequence[Path], poll: Callable[[], None]) -> tuple[Outcome, ...]:
        """Write the script.

        Raises:
            Emitted: always; nothing is made here.
        """
        given, here = read_job(jobs[0]), jobs[0].resolve().parent
        store = Store(here / given.study)
        planned = store.planned()
        batches = [tuple(run.id for run in batch) for batch in together([planned[run] for run in given.plans])]
        batches = [batch for batch in batches if not all(map(store.has, batch))]
        left = [run for batch in batches for run in batch if not store.has(run)]
        parts = [tuple(run for batch in batches[k :: len(jobs)] for run in batch) for k in range(len(jobs))]
        tasks = [store.write_job(here / given.corpus, part).resolve() for part in parts if part]
        script = self.folder.resolve() / f"{self.kind}.sh"
        replace(script, _text(self.kind, tasks).encode())
        command = "sbatch" if self.kind == "slurm" else "bash"
        raise Emitted(script, f"{command} {shlex.quote(str(script))}", len(left), len(tasks))


def _text(kind: Kind, tasks: Sequence[Path]) -> str:
    here = environment()
    array = f"#SBATCH --job-name=cuvee --array=0-{len(tasks) - 1} --ntasks=1 --cpus-per-task=1"
    return "\n".join(
        [
            "#!/bin/bash",
            *([array] if kind == "slurm" else []),
            *(f"export {name}={shlex.quote(here[name])}" for name in HELD if name in here),
            "job=(",
            *(f"  {shlex.quote(str(task))}" for task in tasks),
            ")",
            f'work() {{ {shlex.quote(sys.executable)} -m cuvee.study.worker "$1"; }}',
            ENDS[kind],
            "",
        ]
    )
