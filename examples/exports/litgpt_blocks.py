"""Count the blocks that an exported module yields by their first token: `pip install litgpt litdata`.

Usage: python litgpt_blocks.py FOLDER/mixture_00.py BLOCKS
"""

import runpy
import sys
from collections import Counter
from itertools import islice


def count(path: str, blocks: int) -> Counter[int]:
    """First token of a block -> blocks among the first `blocks`."""
    module = runpy.run_path(path)
    mixture = module["Mixture"](num_workers=0)
    mixture.connect(max_seq_length=mixture.seq_length)
    return Counter(int(batch[0, 0]) for batch in islice(mixture.train_dataloader(), blocks))


if __name__ == "__main__":
    for token, found in count(sys.argv[1], int(sys.argv[2])).most_common():
        print(f"token {token:8} {found:>10,} blocks")
