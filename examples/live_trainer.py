"""Change the mixture inside a run of transformers' Trainer: `pip install 'cuvee[hf]'`.

Usage: python live_trainer.py CORPUS_FOLDER OUT     a folder written by `cuvee prepare`; checkpoints go to OUT
"""

import sys
from collections.abc import Mapping

from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

import cuvee
from cuvee.interop.live import Examples, live_weights

SEQ_LEN, BATCH = 64, 8


def main(folder: str, out: str) -> None:
    """From even shares to the first domain alone, once the loss is below 99 % of its first value."""
    corpus = cuvee.Corpus.open(folder)
    even = cuvee.Mixture.from_shares(dict.fromkeys(corpus.domains, 1.0))
    later = cuvee.Mixture.from_shares({d: float(i == 0) for i, d in enumerate(corpus.domains)})
    loader = cuvee.Loader(corpus, cuvee.Schedule.constant(even), seq_len=SEQ_LEN, seed=0, batch=2 * BATCH)
    first: list[float] = []

    def rule(step: int, metrics: Mapping[str, float]) -> cuvee.Mixture | None:
        first.append(metrics["loss"])
        return later if metrics["loss"] < 0.99 * first[0] else None

    set_seed(0)
    config = LlamaConfig(
        vocab_size=corpus.inventory.tokenizer.vocab_size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=SEQ_LEN,
    )
    arguments = TrainingArguments(
        output_dir=out,
        max_steps=30,
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=2,
        learning_rate=3e-3,
        logging_steps=5,
        save_steps=15,
        report_to=[],
    )
    examples = Examples(loader)
    Trainer(
        LlamaForCausalLM(config), arguments, train_dataset=examples, callbacks=[live_weights(examples, rule)]
    ).train()
    for phase in examples.batches.schedule.phases:
        print(f"from {phase.start:,} tokens: {phase.mixture.as_dict()}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
