"""The mixture from 0 to 1,024,000 tokens: rows of each domain, drawn with these probabilities (they count rows)."""

from datasets import IterableDataset, interleave_datasets, load_dataset

FILES = (
    '/d/web/*.jsonl',
    '/d/code/*.jsonl',
    '/d/math/*.jsonl',
)
PROBABILITIES = (
    0.9196185286,
    0.0735694823,
    0.0068119891,
)
SKIPPED = (0, 0, 0, )  # rows that earlier phases took, about
ROWS = 1670  # of the phase; rows differ in length, so its tokens hold in expectation


def mixture(seed: int = 42) -> IterableDataset:
    """The rows of the phase, in order."""
    parts = [load_dataset("json", data_files=f, split="train", streaming=True).repeat(None) for f in FILES]
    parts = [part.skip(rows) for part, rows in zip(parts, SKIPPED, strict=True)]
    return interleave_datasets(parts, probabilities=list(PROBABILITIES), seed=seed).take(ROWS)
