"""Check an exported configuration with axolotl's own schema: `pip install axolotl`.

Usage: python axolotl_check.py FOLDER/axolotl-00.yaml
"""

import sys

import yaml
from axolotl.utils.schemas.config import AxolotlInputConfig

NEEDED = {"base_model": "MODEL", "micro_batch_size": 1, "gradient_accumulation_steps": 1, "learning_rate": 1e-4}


def files(path: str) -> list[str]:
    """The files that axolotl would read, in order."""
    with open(path, encoding="utf-8") as file:
        config = AxolotlInputConfig(**NEEDED, num_epochs=1, **yaml.safe_load(file))
    return [name for dataset in config.datasets for name in dataset.data_files]


if __name__ == "__main__":
    print("\n".join(files(sys.argv[1])))
