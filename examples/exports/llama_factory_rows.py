"""Load an exported mixture with LLaMA-Factory and count its rows by their text: `pip install llamafactory`.

Usage: cd FOLDER && python llama_factory_rows.py train-00.yaml
"""

import sys
from collections import Counter
from types import SimpleNamespace

import yaml
from llamafactory.data.loader import _get_merged_dataset
from llamafactory.hparams import DataArguments
from transformers import TrainingArguments


def count(path: str) -> Counter[str]:
    """First 40 characters of a row -> rows; dataset_info.json must lie in the current folder."""
    with open(path, encoding="utf-8") as file:
        settings = yaml.safe_load(file)
    stage, seed = settings.pop("stage"), settings.pop("seed")
    data, training = DataArguments(**settings), TrainingArguments(output_dir="out", seed=seed, report_to=[])
    hubs = SimpleNamespace(cache_dir=None, hf_hub_token=None, ms_hub_token=None, om_hub_token=None)
    rows = _get_merged_dataset(data.dataset, hubs, data, training, stage)
    return Counter(row["_prompt"][0]["content"][:40] for row in rows)


if __name__ == "__main__":
    for name, found in count(sys.argv[1]).most_common():
        print(f"{name:40} {found:>10,} rows")
