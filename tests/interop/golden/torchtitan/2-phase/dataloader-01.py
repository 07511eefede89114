"""The data of one phase, for `config.dataloader` of a torchtitan configuration. Weights are shares of tokens."""

from torchtitan.components.data import (
    ConcatThenSplitPackingConfig,
    DatasetMixConfig,
    GrainDataLoader,
    IndexedJsonlSource,
    SingleDatasetConfig,
    WeightedDataset,
)
from torchtitan.hf_datasets.text_datasets import TextProcessor


def text_of(row):
    return row["text"]


def not_empty(sample):
    return sample is not None


def packed(pattern):
    """Rows of fixed length of one source: packed before mixing, so that weights count tokens."""
    return ConcatThenSplitPackingConfig(
        dataset=SingleDatasetConfig(
            source=IndexedJsonlSource.Config(patterns=(pattern,)),
            processor=TextProcessor.Config(text_fn=text_of),
            post_filters=(not_empty,),
        )
    )


dataloader = GrainDataLoader.Config(
    dataset=DatasetMixConfig(
        datasets=(
            WeightedDataset(dataset=packed('/d/web/*.jsonl'), weight=0.2),
            WeightedDataset(dataset=packed('/d/math/*.jsonl'), weight=0.8),
        )
    ),
    seed=43,
    shuffle=True,
    repeat=True,
)
