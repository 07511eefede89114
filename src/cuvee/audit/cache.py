"""Counted words, kept: reading and splitting samples takes longer than everything after it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from cuvee.audit.merges import Merges
from cuvee.audit.words import Samples, Splitter, read_samples
from cuvee.base.codec import content_id
from cuvee.base.files import hash_file, replace
from cuvee.base.progress import Progress
from cuvee.corpus.readers import Fields
from cuvee.corpus.sources import find_files

_VERSION = 2
"""Raised by hand when words are counted in another way."""


def cached_samples(
    sources: Sequence[Path],
    merges: Merges,
    most_bytes: int,
    domains: str,
    fields: Fields,
    folder: Path | None,
    progress: Progress,
) -> Samples:
    """`read_samples`, or what it found the last time for the same bytes and the same way of splitting them.

    A file in `folder` that is not whole is made again.
    """

    def fresh() -> Samples:
        return read_samples(sources, merges, most_bytes=most_bytes, domains=domains, fields=fields, progress=progress)

    if folder is None:
        return fresh()
    files = find_files(sources, domains, leave_out=folder, text_field=fields.text).files
    splitter = Splitter(merges)
    split = [merges.normalizer, merges.pre_tokenizer, splitter.by_spaces, splitter.by_spaces and splitter.digits_alone]
    key = content_id(
        [
            _VERSION,
            [[f.label, f.domain, f.kind, f.unit, hash_file(Path(f.path))] for f in files],
            split,
            most_bytes,
            fields,
        ]
    )
    path = folder / f"{key}.npz"
    found = _load(path)
    if found is None:
        found = fresh()
        replace(path, _dump(found))
    return found


def _dump(samples: Samples) -> bytes:
    counts, buffer = samples.count_W_nG, io.BytesIO()
    facts = {"categories": samples.categories, "passed_over": samples.passed_over, "bad": samples.bad}
    np.savez(
        buffer,
        facts=np.frombuffer(json.dumps(facts).encode("utf-8"), np.uint8),
        words=np.frombuffer("".join(samples.words).encode("utf-8"), np.uint8),
        lengths=np.array([len(w) for w in samples.words], np.int32),
        data=counts.data,
        indices=counts.indices,
        indptr=counts.indptr,
        shape=np.array(counts.shape),
        bytes_n=samples.bytes_n,
        documents_n=samples.documents_n,
    )
    return buffer.getvalue()


def _load(path: Path) -> Samples | None:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            part = {name: file[name] for name in file.files}
        facts = json.loads(part["facts"].tobytes())
        text, ends = part["words"].tobytes().decode("utf-8"), np.cumsum(part["lengths"]).tolist()
        return Samples(
            categories=tuple(facts["categories"]),
            words=tuple(text[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)),
            count_W_nG=csr_matrix((part["data"], part["indices"], part["indptr"]), shape=tuple(part["shape"])),
            bytes_n=part["bytes_n"],
            documents_n=part["documents_n"],
            passed_over=facts["passed_over"],
            bad=facts["bad"],
        )
    except Exception:  # whatever is wrong with the file, the remedy is to count again
        return None
