"""The weights that training goes on from, as a file that a machine with numpy and torch alone can read.

`<sha>.npz`, one array per parameter of `proxies.model.Decoder` by its name, without the leading K, fp32; and `format`.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuvee.base.codec import canonical
from cuvee.base.errors import DataError
from cuvee.base.files import FORMAT, publish
from cuvee.plan.sizes import Size
from cuvee.plan.trial import Start

Weights = Mapping[str, NDArray[np.float32]]


def start_of(size: Size, vocab_size: int, weights: Weights) -> Start:
    """What a plan calls these weights: blake2b-128 of the shape and of every array's name, shape and bytes."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(canonical({"format": FORMAT, "size": size, "vocab_size": vocab_size}).encode("utf-8"))
    for name, array in sorted(weights.items()):
        digest.update(canonical([name, array.shape]).encode("utf-8"))
        digest.update(np.ascontiguousarray(array, "<f4").reshape(-1).data)
    return Start(digest.hexdigest(), size, vocab_size)


def path_of(folder: Path, start: Start) -> Path:
    """The file of a start in the folder of inputs."""
    return folder / f"{start.sha}.npz"


def save_start(folder: Path, start: Start, weights: Weights) -> Path:
    """Write the weights into `folder` unless they are there; the path of the file.

    Raises:
        PartialError: the disk is full.
    """
    path = path_of(folder, start)
    if not path.is_file():
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"format": np.int64(FORMAT), **weights}
        np.savez(buffer, **arrays)
        publish(path, buffer.getvalue())
    return path


def load_start(folder: Path, start: Start) -> dict[str, NDArray[np.float32]]:
    """The weights of `start`, their hash verified.

    Raises:
        DataError: no file, one that cannot be read or holds other weights, or one of a newer format.
    """
    path = path_of(folder, start)
    fix = "remove it if it is there, and run the command that made the study again: it writes it from the checkpoint"
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DataError(f"no weights to start from: {path} is missing", fix=fix) from None
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {error}", wanted="an .npz as it was written", fix=fix) from error
    if (found := int(arrays.pop("format", FORMAT))) > FORMAT:
        raise DataError(f"{path} has format {found}", wanted=f"format {FORMAT} or older", fix="upgrade cuvee")
    if (sha := start_of(start.size, start.vocab_size, arrays).sha) != start.sha:
        raise DataError(f"{path} holds other weights: their hash is {sha}", wanted=start.sha, fix=fix)
    return arrays
