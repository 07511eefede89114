"""The mixture from 1,024,000 to 2,048,000 tokens, for NeMo 2."""

from nemo.collections.llm.gpt.data import PreTrainingDataModule

data = PreTrainingDataModule(
    paths=[
        '0.4', '/d/web_text_document',
        '0.6', '/d/math_text_document',
    ],
    seq_length=1024,
    global_batch_size=8,
    micro_batch_size=1,
    split="100,0,0",
    seed=43,
)
