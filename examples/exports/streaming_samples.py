"""Count the samples in one epoch of an exported mixture: `pip install mosaicml-streaming`.

Usage: python streaming_samples.py FOLDER/streams-00.yaml FIELD     FIELD is what samples are counted by
"""

import sys
from collections import Counter

import yaml
from streaming import Stream, StreamingDataset


def count(path: str, field: str) -> Counter[str]:
    """Value of `field` -> samples of one epoch that have it; the MDS folders must be there."""
    with open(path, encoding="utf-8") as file:
        settings = yaml.safe_load(file)
    streams = [Stream(**stream) for stream in settings.pop("streams").values()]
    return Counter(sample[field] for sample in StreamingDataset(streams=streams, batch_size=8, **settings))


if __name__ == "__main__":
    for name, found in count(*sys.argv[1:3]).items():
        print(f"{name:40} {found:>10,} samples")
