"""The mixture from 1,024,000 to 2,048,000 tokens, for Megatron-Bridge."""

from megatron.bridge.training.config import GPTDatasetConfig

dataset = GPTDatasetConfig(
    seq_length=1024,
    blend=([
        '/d/web_text_document',
        '/d/math_text_document',
    ], [0.4, 0.6]),
    split="100,0,0",
    random_seed=43,
    reset_attention_mask=False,
    reset_position_ids=False,
    eod_mask_loss=False,
)
