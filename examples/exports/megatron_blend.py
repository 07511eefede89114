"""Count the sequences that Megatron takes from each shard of an exported blend: `pip install megatron-core`.

Usage: python megatron_blend.py FOLDER/blend-00.txt SEQUENCES
"""

import sys

import numpy as np
from megatron.core.datasets import helpers
from megatron.core.datasets.utils import get_blend_from_list


def count(path: str, sequences: int) -> dict[str, int]:
    """Prefix -> sequences among the first `sequences` of the run."""
    with open(path, encoding="utf-8") as file:
        prefixes, weights = get_blend_from_list(file.read().split())
    which, place = np.zeros(sequences, np.int16), np.zeros(sequences, np.int64)
    helpers.build_blending_indices(which, place, np.array(weights), len(prefixes), sequences, False)
    return dict(zip(prefixes, np.bincount(which, minlength=len(prefixes)).tolist(), strict=True))


if __name__ == "__main__":
    for name, found in count(sys.argv[1], int(sys.argv[2])).items():
        print(f"{name:40} {found:>10,} sequences")
