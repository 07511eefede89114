"""The mixture from 0 to 1,024,000 tokens, for Megatron-Bridge."""

from megatron.bridge.training.config import GPTDatasetConfig

dataset = GPTDatasetConfig(
    seq_length=1024,
    blend=([
        '/d/web_text_document',
        '/d/code_text_document',
        '/d/math_text_document',
    ], [0.6, 0.3, 0.1]),
    split="100,0,0",
    random_seed=42,
    reset_attention_mask=False,
    reset_position_ids=False,
    eod_mask_loss=False,
)
