"""Examples of a target as windows of tokens, ready to be scored: a value and its file (.npz, no pickle).

`corpus.windows` makes them; here is only what a machine that scores needs.

Letters: W windows, L tokens that a model reads at once, E examples, C continuations of the example that has most.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.base.files import FORMAT, replace

Kind = Literal["text", "continuation", "choice"]
"""What an example is: a text, a prompt with its one continuation, or a prompt with several of which one is right."""
_DTYPES: dict[str, Any] = {
    "tokens_WL1": np.int32,
    "counts_WL": np.bool_,
    "example_W": np.int32,
    "choice_W": np.int32,
    "gold_E": np.int32,
    "bytes_EC": np.int64,
}


@dataclass(frozen=True, eq=False)
class Tokenised:
    """Tokens of examples. Sum the nats where `counts_WL` over the windows of one example and continuation.

    Args:
        kind: Of all examples.
        tokens_WL1: Token 0 to L - 1 are read, 1 to L predicted; filled up with the end of text.
        counts_WL: `counts_WL[w, l]`: the prediction of `tokens_WL1[w, l + 1]` counts. Over all windows every token of every
            continuation counts once and no other.
        example_W: Which example a window is of; windows come in the order of examples, continuations, text.
        choice_W: Which of its continuations.
        gold_E: The right continuation; 0 where there is one.
        bytes_EC: UTF-8 bytes of the text that the counted tokens of a continuation stand for; 0: no such continuation.

    Raises:
        DataError: arrays that do not fit together.
    """

    kind: Kind
    tokens_WL1: NDArray[np.int32]
    counts_WL: NDArray[np.bool_]
    example_W: NDArray[np.int32]
    choice_W: NDArray[np.int32]
    gold_E: NDArray[np.int32]
    bytes_EC: NDArray[np.int64]

    def __post_init__(self) -> None:
        windows, width = self.tokens_WL1.shape
        examples, most = self.bytes_EC.shape
        fits = (
            self.kind in get_args(Kind)
            and all(getattr(self, name).dtype == dtype for name, dtype in _DTYPES.items())
            and self.counts_WL.shape == (windows, width - 1)
            and self.example_W.shape == self.choice_W.shape == (windows,)
            and self.gold_E.shape == (examples,)
            and bool(((self.example_W >= 0) & (self.example_W < examples)).all())
            and bool(((self.choice_W >= 0) & (self.choice_W < most)).all())
            and bool(((self.gold_E >= 0) & (self.gold_E < most)).all())
        )
        if not fits:
            raise DataError(
                "arrays of examples that do not fit together", wanted="what `corpus.windows.tokenise` makes"
            )

    @property
    def seq_len(self) -> int:
        """L."""
        return int(self.counts_WL.shape[1])

    @property
    def sha(self) -> str:
        """Identity of the content, 32 hex digits."""
        digest = hashlib.blake2b(self.kind.encode("utf-8"), digest_size=16)
        for name, dtype in _DTYPES.items():
            array = getattr(self, name)
            digest.update(f"{name} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<")).data)
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write everything to `path`, whole or not at all.

        Raises:
            PartialError: the disk is full.
        """
        out = io.BytesIO()
        arrays = {name: getattr(self, name) for name in _DTYPES}
        np.savez_compressed(out, allow_pickle=False, format=np.array(FORMAT), kind=np.array(self.kind), **arrays)
        replace(path, out.getvalue())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            DataError: missing, not such a file, or written by a newer Cuvée.
        """
        try:
            with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
                if int(file["format"]) > FORMAT:
                    raise DataError(
                        f"{path} has format {file['format']}", wanted=f"{FORMAT} or older", fix="upgrade cuvee"
                    )
                kind: Any = str(file["kind"])
                return cls(kind, **{name: file[name] for name in _DTYPES})
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path} holds no examples: {error}",
                wanted="a file that Tokenised.save wrote",
                fix="remove it to remake it",
            ) from error
