"""litgpt: a DataModule with litdata's CombinedStreamingDataset, after the pattern of its TinyLlama module.

Weights count blocks of fixed length. Without `iterate_over_all=False` litdata reads every source to its end, whatever the
weights say. litgpt 26857050 (2026-06-29) has no mixture on its command line. A file is read by its syntax tree.
"""

from __future__ import annotations

from collections.abc import Mapping

from cuvee.base.errors import DataError
from cuvee.interop.record import Blend, Exporter, Handover, Stage, weights
from cuvee.interop.texts import assigned, collected, number, phase_files, python_tree

BODY = '''

@dataclass
class Mixture(DataModule):
    """Blocks of the domains, drawn with the weights above."""

    seq_length: int = {seq_len}
    batch_size: int = 1
    seed: int = {seed}
    num_workers: int = 4

    def connect(self, tokenizer=None, batch_size: int = 1, max_seq_length: int = {seq_len}) -> None:
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
'''
HEAD = '''"""The mixture from {start:,} to {stop:,} tokens, for litgpt: `litgpt pretrain --data {module}.Mixture`."""

from dataclasses import dataclass

from litdata.streaming import CombinedStreamingDataset, StreamingDataLoader, StreamingDataset, TokensLoader
from litgpt.data import DataModule

'''


def _render(handed: Handover) -> Mapping[str, str]:
    names = [n.replace("-", "_") for n in phase_files(len(handed.stages), "mixture", "py")]
    return {name: _phase(handed, stage, name[:-3]) for name, stage in zip(names, handed.stages, strict=True)}


def _phase(handed: Handover, stage: Stage, module: str) -> str:
    found = weights(handed, stage, "tokens")
    paths = "".join(f"    {path!r},\n" for path in found)
    numbers = "".join(f"    {weight:.10g},\n" for weight in found.values())
    head = HEAD.format(start=stage.start, stop=stage.stop, module=module)
    body = BODY.replace("{seq_len}", str(handed.seq_len)).replace("{seed}", str(stage.seed))
    return f"{head}PATHS = (\n{paths})\nWEIGHTS = (\n{numbers})\n{body}"


def _parse(files: Mapping[str, str]) -> tuple[Blend, ...]:
    return tuple(_blend(name, files[name], None if len(files) > 1 else 0) for name in files)


def _blend(name: str, text: str, start: int | None) -> Blend:
    tree = python_tree(name, text)
    paths, amounts = assigned(tree, "PATHS"), assigned(tree, "WEIGHTS")
    if len(paths) != len(amounts):
        raise DataError(f"{name}: {len(paths)} paths and {len(amounts)} weights", wanted="a weight a path")
    pairs = ((str(p), number(w, str(p))) for p, w in zip(paths, amounts, strict=True))
    return Blend(collected(pairs, name), start)


def _launch(handed: Handover) -> str:
    return (
        "```\nlitgpt pretrain CONFIG --data mixture_00.Mixture\n```\n\nSources are drawn at random with the weights: shares hold "
        "in expectation, not at every prefix."
    )


LITGPT = Exporter(
    name="litgpt",
    title="litgpt",
    unit="tokens",
    tested_against="litgpt 0.5.13 with litdata 0.2.76, the module run and its blocks counted",
    data="data/{slug}",
    reads="litdata chunks of tokens (TokensLoader)",
    exhausted="with iterate_over_all=False the first source that ends stops the epoch.",
    render=_render,
    parse=_parse,
    recognises=lambda name, text: name.endswith(".py") and "CombinedStreamingDataset" in text,
    launch=_launch,
)
