"""Mix dummy records with the weights exported for MaxText and print records taken: `pip install grain`.

Usage: python maxtext_grain.py FOLDER/mixture-00.json
"""

import json
import sys
from collections import Counter
from pathlib import Path

import grain

entries = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
records = [grain.MapDataset.source([name]).repeat(1_000_000) for name in entries]
mixed = grain.MapDataset.mix(records, weights=[entry["weight"] for entry in entries.values()])
for name, count in Counter(mixed[i] for i in range(100_000)).items():
    print(f"{name:20} {count:>8,} of 100,000 records")
