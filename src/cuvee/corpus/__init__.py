"""Text in, shards out: readers, near-duplicates, the three splits, the tokenizer. The way in is `prepare.prepare`."""
