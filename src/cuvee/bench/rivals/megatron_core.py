"""NVIDIA megatron-core: `BlendedDataset` of `GPTDataset`s, the index built and cached before, in a DataLoader."""

from __future__ import annotations

import logging
from typing import Any

import harness
import torch
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from torch.utils.data import DataLoader


class Tokenizer:
    """What the dataset asks of one."""

    def __init__(self, vocab_size: int) -> None:
        self.unique_identifiers = {"name": "bench"}
        self.vocab_size, self.eod, self.pad, self.unk_id = vocab_size, vocab_size + 1, vocab_size + 2, vocab_size + 3


def stacked(rows: list[Any]) -> Any:
    """Inputs and the last target, as the other loaders give them."""
    return torch.stack([torch.cat([r["tokens"], r["labels"][-1:]]) for r in rows])


class MegatronCore(harness.Rival):
    """A dataset of the whole run; the state is how many samples were consumed."""

    packages = ("megatron-core", "torch", "numpy")

    @classmethod
    def prepare(cls, load: harness.Workload) -> None:
        load.own("MegatronCore").mkdir(parents=True, exist_ok=True)
        cls(load, 0, None)

    def __init__(self, load: harness.Workload, workers: int, state: Any) -> None:
        if not torch.distributed.is_initialized():  # the builder asks for its rank
            store = torch.distributed.HashStore()  # type: ignore[attr-defined]
            torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        prefixes = [str(load.work / prefix) for prefix, _ in load.domains]
        config = GPTDatasetConfig(
            random_seed=load.seed,
            sequence_length=load.seq_len,
            blend=(prefixes, list(load.weights)),
            split="1,0,0",
            path_to_cache=str(load.own("MegatronCore")),
            tokenizer=Tokenizer(load.width * len(load.domains)),
            reset_position_ids=False,
            reset_attention_mask=False,
            eod_mask_loss=False,
            create_attention_mask=False,
        )
        samples = int(sum(n for _, n in load.domains) / load.seq_len * 0.95)
        builder = BlendedMegatronDatasetBuilder(GPTDataset, [samples, 0, 0], lambda: True, config)
        data = builder.build()[0]
        order = range(state or 0, len(data))
        self.batch = load.batch
        self.loader = DataLoader(data, load.batch, sampler=order, num_workers=workers, collate_fn=stacked)

    def state(self, batches: int) -> Any:
        return batches * self.batch


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    harness.main(MegatronCore)
