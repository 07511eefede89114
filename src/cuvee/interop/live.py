"""Live changes of the mixture in the trainer of Hugging Face transformers.

    examples = Examples(loader)
    trainer = Trainer(model, arguments, train_dataset=examples, callbacks=[live_weights(examples, rule)])

In a loop of one's own no callback is needed: `cuvee.stream.torch.TorchDataset` has `change` and `reweight`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from cuvee.base.codec import from_json, to_json
from cuvee.base.errors import DataError, UsageError, missing_extra
from cuvee.base.files import dump_json, load_json, replace
from cuvee.interop.mixturefile import write_mixture
from cuvee.mixture.weights import Mixture
from cuvee.stream.loader import Loader, LoaderState
from cuvee.stream.torch import TorchDataset

Rule = Callable[[int, Mapping[str, float]], Mixture | None]
"""(optimiser step, the numbers that the trainer logged at it) -> the mixture from now on, or None to go on as it is."""

STATE, MIXTURE = "cuvee_loader.json", "cuvee_mixture.json"


class Examples(IterableDataset[dict[str, torch.Tensor]]):
    """The sequences of a loader one by one, as a causal language model of transformers takes them.

    `input_ids` and `labels` are the first L tokens of each sequence, int64, shape L, and -100 in place of the labels where
    the sequence is padded: such models shift the labels themselves, so the last token of the L + 1 is left out.

    Args:
        loader: Of all ranks (`world_size=1`): transformers deals the sequences of a batch out to its ranks itself.
        log: A file of live changes that outlives the run (`TorchDataset`).

    Raises:
        UsageError: a loader of one rank among several.
    """

    def __init__(self, loader: Loader, log: Path | str | None = None) -> None:
        if not isinstance(loader, Loader):
            raise UsageError(f"got a {type(loader).__name__}", wanted="a cuvee.Loader, whose rows are of one length")
        if loader.world_size != 1:
            raise UsageError(
                f"a loader of one rank of {loader.world_size}",
                wanted="one with world_size=1: the Trainer deals sequences out to its ranks itself",
            )
        self.start, self.batch, self.corpus = loader.batches, loader.batch, loader.fingerprint
        self.batches = TorchDataset(loader, ("tokens", "documents"), log)
        self.share = loader.batch
        """Sequences that a worker process reads before the next worker's turn; `live_weights` sets it."""

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info is not None else (0, 1)
        for n, (tokens, documents) in enumerate(self.batches.all_here()):
            labels = torch.where(documents >= 0, tokens, -100)
            for start in range(0, self.batch, self.share):
                if (n * self.batch + start) // self.share % workers == worker:
                    for i in range(start, min(start + self.share, self.batch)):
                        yield {"input_ids": tokens[i, :-1], "labels": labels[i, :-1]}


def live_weights(examples: Examples, rule: Rule) -> Any:
    """A `transformers.TrainerCallback` that asks `rule` after every log of a loss and reweights `examples`.

    `rule` is asked on every process and must answer alike (numbers that only one rank is given, it must not use). A change
    holds from the first batch that no process has begun to read. Beside every checkpoint it saves the loader's state (for
    `resume`) and `cuvee_mixture.json`, the schedule with its changes so far.

    Raises:
        UsageError: transformers is not installed. From the Trainer: batches of another size than the loader's, a run that
            goes on from a checkpoint without `resume`.
    """
    try:
        from transformers import TrainerCallback
    except ModuleNotFoundError as error:
        raise missing_extra("transformers", "hf", "a callback for its Trainer") from error

    class LiveWeights(TrainerCallback):  # type: ignore[misc]
        step, asked = -1, 0

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            _check(examples, args, state)
            dispatch = args.accelerator_config.dispatch_batches
            # one process reads for all where batches are dispatched; else each reads all and keeps its own
            examples.share = args.train_batch_size * (args.world_size if dispatch is False else 1)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            metrics = {k: float(v) for k, v in (logs or {}).items() if isinstance(v, int | float)}
            if "loss" not in metrics and not any(k.startswith("eval_") for k in metrics):
                return  # the summary at the end
            self.asked = self.asked + 1 if state.global_step == self.step else 1
            self.step = state.global_step
            mixture = rule(state.global_step, metrics)
            if mixture is not None:
                which = f", log {self.asked}" if self.asked > 1 else ""
                examples.batches.reweight(mixture, f"the rule, after step {state.global_step}{which}")

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                saved = examples.batches.state_after(state.global_step - examples.start)
                replace(folder / STATE, dump_json(to_json(saved)))
                write_mixture(
                    folder / MIXTURE, examples.batches.schedule, corpus=examples.corpus, origin="live_weights"
                )

    return LiveWeights()


def _check(examples: Examples, args: Any, state: Any) -> None:
    size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    if size != examples.batch:
        raise UsageError(
            f"the Trainer takes {size} sequences a step, the loader gives {examples.batch}",
            wanted="the same: per_device_train_batch_size * gradient_accumulation_steps * processes",
            fix=f"Loader(..., batch={size})"
            if not state.global_step
            else "another per_device_train_batch_size or gradient_accumulation_steps: the run began with the loader's batch",
        )
    if state.global_step != examples.start:
        raise UsageError(
            f"the Trainer starts at step {state.global_step}, the loader at {examples.start}",
            wanted="the same step",
            fix="cuvee.interop.live.resume(loader, CHECKPOINT) before Examples(loader)",
        )
    if state.global_step and not args.ignore_data_skip:
        raise UsageError(
            f"the Trainer would skip the {state.global_step} steps before its checkpoint, which the loader has behind it",
            fix="TrainingArguments(..., ignore_data_skip=True)",
        )


def resume(loader: Loader, checkpoint: str | Path) -> None:
    """Put `loader` where it was when `checkpoint` was saved, live changes included.

    Raises:
        DataError: the checkpoint holds no state of a loader; it was saved on another corpus.
        UsageError: it was saved under another schedule, seed, seq_len or batch.
    """
    path = Path(checkpoint) / STATE
    if not path.is_file():
        raise DataError(f"{checkpoint} holds no {STATE}", wanted="a checkpoint saved with the callback live_weights")
    loader.restore(from_json(LoaderState, load_json(path)))
