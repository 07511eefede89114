"""Load an exported dataset configuration with Megatron-Bridge's own class: `pip install megatron-bridge` (it needs a GPU).

Usage: python megatron_bridge.py FOLDER/dataset-00.py
"""

import runpy
import sys


def blend(path: str) -> dict[str, float]:
    """Prefix -> weight, after the configuration's own checks."""
    dataset = runpy.run_path(path)["dataset"]
    dataset.finalize()
    return dict(zip(*dataset.blend, strict=True))


if __name__ == "__main__":
    for name, weight in blend(sys.argv[1]).items():
        print(f"{name:40} {weight:8.4%}")
