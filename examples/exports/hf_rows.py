"""Count the rows that an exported mixture yields: `pip install datasets`.

Usage: python hf_rows.py FOLDER/mixture_00.py [FIELD]     rows are counted by FIELD, domain when left out
"""

import runpy
import sys
from collections import Counter


def count(path: str, field: str) -> Counter[str]:
    """Value of `field` -> rows of the phase that have it."""
    return Counter(row[field] for row in runpy.run_path(path)["mixture"]())


if __name__ == "__main__":
    for name, found in count(sys.argv[1], *(sys.argv[2:] or ["domain"])).items():
        print(f"{name:40} {found:>10,} rows")
