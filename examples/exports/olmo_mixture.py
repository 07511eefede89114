"""Build the mixture of an exported folder with OLMo-core and print what it chose: `pip install ai2-olmo-core`.

Usage: python olmo_mixture.py FOLDER/source_mixture-00.yaml REQUESTED_TOKENS BATCH_TOKENS SEQ_LEN
"""

import sys

import numpy as np
from olmo_core.data.source_mixture import SourceMixtureDatasetConfig, SourceMixtureList

path, tokens, batch, seq_len = sys.argv[1], *map(int, sys.argv[2:5])
sources = SourceMixtureList.from_yaml(path)
sources.validate()
config = SourceMixtureDatasetConfig(source_list=sources, requested_tokens=tokens, global_batch_size=batch, quiet=True)
built = config.build(npdtype=np.uint16, sequence_length=seq_len)
chosen = {outcome.name: sum(path.tokens for path in outcome.path_tokens) for outcome in built.sources}
for name, count in chosen.items():
    print(f"{name:20} {count:>14,} tokens {count / sum(chosen.values()):8.4%}")
