"""What others trained on, from what they published: the mixture behind a tokenizer's merges."""
