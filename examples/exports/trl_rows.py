"""Build an exported mixture with TRL and count its rows: `pip install 'trl>=1.10'`.

Usage: python trl_rows.py FOLDER/sft-00.yaml [FIELD]     rows are counted by FIELD, domain when left out
"""

import sys
from collections import Counter

import yaml
from trl.scripts.utils import DatasetMixtureConfig, get_dataset


def count(path: str, field: str) -> Counter[str]:
    """Value of `field` -> rows that TRL keeps."""
    with open(path, encoding="utf-8") as file:
        datasets = yaml.safe_load(file)["datasets"]
    return Counter(get_dataset(DatasetMixtureConfig(datasets=datasets))["train"][field])


if __name__ == "__main__":
    for name, found in count(sys.argv[1], *(sys.argv[2:] or ["domain"])).items():
        print(f"{name:40} {found:>10,} rows")
