"""What training takes on this machine, measured: short real runs, as many at a time as there will be workers.

At a time, because cores share caches, memory and often arithmetic units, so that a run beside others takes more CPU-seconds
than one alone. Each process reads a request on standard input and answers in JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

from cuvee.base.codec import from_json, to_json
from cuvee.base.processes import environment
from cuvee.plan.trial import Plan
from cuvee.shards.corpus import Corpus

SECONDS = 2.0
"""That the steps of a calibration take, about; its start and one scoring come on top."""
FLOP_RATE = 3e10
"""FLOP/s assumed of one core when there is nothing to calibrate with: about what small models reach on a recent core."""


@dataclass(frozen=True)
class Speed:
    """CPU-seconds of one thread, and how much longer the clock ran meanwhile.

    Args:
        start: Of a worker, before its first run.
        run: Of the calibrated plan, its scoring included.
        stretch: Seconds a CPU-second; 1 on a machine with nothing else to do.
    """

    start: float
    run: float
    stretch: float


@dataclass(frozen=True)
class _Request:
    plan: Plan
    corpus: str
    inputs: str | None


def measure(plan: Plan, corpus: Corpus, inputs: Path | None = None, workers: int = 1) -> Speed | None:
    """What `plan` takes with so many workers at a time; None when it cannot be made here (the study will say why).

    Args:
        inputs: Where arrays lie that the plan names by their hash.
    """
    request = _Request(plan, str(corpus.path.resolve()), str(inputs.resolve()) if inputs else None)
    given = json.dumps(to_json(request)) + "\n"
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "cuvee.study.calibrate"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            text=True,
        )
        for _ in range(workers)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(given)
        process.stdin.flush()
    said = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        return None
    speeds = [from_json(Speed, json.loads(text)) for text in said]
    return Speed(*(sum(getattr(speed, item.name) for speed in speeds) / workers for item in fields(Speed)))


def answer(request: _Request, began: float) -> Speed:
    """Make a run of a few steps that scores one target, and reckon the whole run from it.

    Args:
        began: The clock when this process did.
    """
    import torch

    from cuvee.proxies.evaluate import held_out
    from cuvee.proxies.train import train

    torch.set_num_threads(1)
    plan, corpus = request.plan, Corpus.open(Path(request.corpus))
    inputs = Path(request.inputs) if request.inputs else None
    flops = plan.shape.flops_per_token(corpus.vocab_size, plan.seq_len) * plan.batch * plan.seq_len
    together = plan.together  # as many at a time as the runs will be, and each a share of what all of them take
    steps = min(max(4, round(SECONDS * FLOP_RATE / flops / together)), 200)
    texts = [held_out(corpus, target, plan.split, plan.seq_len).tokens for target in plan.targets]
    short = replace(plan, steps=steps, targets=plan.targets[:1], measures=(), wants=(), eval_points=1)
    train([replace(short, steps=2)] * together, corpus, inputs=inputs)  # what the first run of a process alone takes
    stamps, start = list[float](), time.process_time()
    train([short] * together, corpus, inputs=inputs, on_step=lambda step, steps: stamps.append(time.process_time()))
    step = (stamps[-2] - stamps[0]) / (steps - 2)
    setup = max(0.0, stamps[0] - start - step)
    scored = sum(texts) + sum(m.tokens for m in plan.measures)
    # where no domain is scored, a forward pass is taken to be a third of a step's price
    scoring = max(0.0, stamps[-1] - stamps[-2] - step)
    token = scoring / texts[0] if texts else step / (3 * plan.batch * plan.seq_len)
    scorings = plan.eval_points + (plan.start is not None)
    whole = setup + step * plan.steps + token * scored * scorings
    return Speed(
        start=max(0.0, start - setup - 2 * step - scoring),
        run=whole / together,
        stretch=max(1.0, (time.monotonic() - began) / time.process_time()),
    )


if __name__ == "__main__":
    _began = time.monotonic() - time.process_time()
    print(json.dumps(to_json(answer(from_json(_Request, json.loads(sys.stdin.readline())), _began))))
