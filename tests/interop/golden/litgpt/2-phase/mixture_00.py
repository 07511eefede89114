"""The mixture from 0 to 1,024,000 tokens, for litgpt: `litgpt pretrain --data mixture_00.Mixture`."""

from dataclasses import dataclass

from litdata.streaming import CombinedStreamingDataset, StreamingDataLoader, StreamingDataset, TokensLoader
from litgpt.data import DataModule

PATHS = (
    '/d/web',
    '/d/code',
    '/d/math',
)
WEIGHTS = (
    0.6,
    0.3,
    0.1,
)


@dataclass
class Mixture(DataModule):
    """Blocks of the domains, drawn with the weights above."""

    seq_length: int = 1024
    batch_size: int = 1
    seed: int = 42
    num_workers: int = 4

    def connect(self, tokenizer=None, batch_size: int = 1, max_seq_length: int = 1024) -> None:
        self.batch_size, self.seq_length = batch_size, max_seq_length + 1

    def train_dataloader(self) -> StreamingDataLoader:
        parts = [
            StreamingDataset(
                input_dir=path, item_loader=TokensLoader(block_size=self.seq_length), shuffle=True, drop_last=True,
                seed=self.seed,
            )
            for path in PATHS
        ]
        mixed = CombinedStreamingDataset(datasets=parts, seed=self.seed, weights=WEIGHTS, iterate_over_all=False)
        return StreamingDataLoader(mixed, batch_size=self.batch_size, num_workers=self.num_workers, drop_last=True)

    def val_dataloader(self) -> StreamingDataLoader:
        return self.train_dataloader()
