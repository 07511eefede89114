"""A trainer of one's own for `cuvee suggest` and `cuvee tell`: a bigram model in numpy, which needs nothing of Cuvée.

Usage: python outside_trainer.py PLAN.json... > results.json

It reads plans and the files that they name (Megatron shards, or JSONL taken as bytes), trains on the tokens asked for of every
domain, out of that domain's pool and as many times over as needed, and writes the bits per byte of every target.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np

DTYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "<i4", 5: "<i8", 8: "<u2"}
STRENGTH = 4.0  # how much the unigram counts against the bigram


def read(path: Path) -> np.ndarray:
    """Tokens of a file: of a Megatron pair its own, of JSONL the bytes of its texts, each ended by 0."""
    if path.suffix == ".bin":
        code = struct.unpack_from("<9sQB", path.with_suffix(".idx").read_bytes())[2]
        return np.fromfile(path, DTYPES[code]).astype(np.int64)
    texts = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    return np.frombuffer("\0".join([*texts, ""]).encode("utf-8"), np.uint8).astype(np.int64)


class Bigram:
    """P(next | before) = (count(before, next) + STRENGTH P(next)) / (count(before) + STRENGTH)."""

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        self.single = np.ones(vocabulary)
        self.before = np.zeros(vocabulary)
        self.pairs: dict[int, float] = {}

    def train(self, tokens: np.ndarray, times: float = 1.0) -> None:
        """Count the tokens `times` over."""
        self.single += times * np.bincount(tokens, minlength=self.vocabulary)
        self.before += times * np.bincount(tokens[:-1], minlength=self.vocabulary)
        for pair, count in zip(*np.unique(tokens[:-1] * self.vocabulary + tokens[1:], return_counts=True), strict=True):
            self.pairs[int(pair)] = self.pairs.get(int(pair), 0.0) + times * float(count)

    def bits(self, tokens: np.ndarray) -> float:
        """What it costs to say all tokens but the first."""
        unigram = self.single / self.single.sum()
        seen, place = np.unique(tokens[:-1] * self.vocabulary + tokens[1:], return_inverse=True)
        count = np.array([self.pairs.get(int(pair), 0.0) for pair in seen])[place]
        p = (count + STRENGTH * unigram[tokens[1:]]) / (self.before[tokens[:-1]] + STRENGTH)
        return float(-np.log2(p).sum())


def run(plan_file: Path) -> dict:
    """Train one plan and score its targets."""
    plan, here = json.loads(plan_file.read_text(encoding="utf-8")), plan_file.parent
    model = Bigram(max(plan["tokenizer"]["vocab_size"], 256))
    for domain, wanted in plan["domain_tokens"].items():
        pool = np.concatenate([read(here / shard) for shard in plan["pools"][domain]["shards"]])
        passes, rest = divmod(wanted, len(pool))
        for tokens, times in ((pool, passes), (pool[:rest], 1)):
            if times and len(tokens) > 1:
                model.train(tokens, times)
    as_tokens = all(shard.endswith(".bin") for pool in plan["pools"].values() for shard in pool["shards"])
    metrics = {
        name: model.bits(read(here / target["shard" if as_tokens else "file"])) / target["bytes"]
        for name, target in plan["targets"].items()
    }
    return {"run": plan["run"], "metrics": metrics}


if __name__ == "__main__":
    print(json.dumps({"format": 1, "runs": [run(Path(name)) for name in sys.argv[1:]]}))
