"""Where sources lie: files here or objects in a store, listed and opened in one way."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cuvee.base.errors import DataError
from cuvee.corpus import remote
from cuvee.corpus.remote import Access
from cuvee.shards.blobs import Blob, LocalBlob


def is_remote(address: str) -> bool:
    """Whether fsspec is to read it; `file://` is a path."""
    return "://" in address and not address.startswith("file://")


@dataclass
class Places:
    """Lists and opens files. Relative paths are taken from `base`.

    Args:
        access: How object stores are read.
    """

    base: Path
    access: Access
    _listed: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    _whole: set[str] = field(default_factory=set, repr=False)

    def find(self, address: str) -> list[str]:
        """Files at an address, below that folder, or matching its `*`, in sorted order; hidden ones are left out.

        Raises:
            DataError: a store does not answer.
        """
        if is_remote(address):
            found = remote.find(address, self.access)
            self._listed.update(found)
            below = len(address.split("*")[0])
            return [a for a in found if not any(part.startswith(".") for part in a[below:].split("/"))]
        path = self.local(address)
        if path.is_dir():
            walked = os.walk(path, followlinks=True)
            files = [Path(root, name) for root, _, names in walked for name in names]
            inside = [file for file in files if not any(p.startswith(".") for p in file.relative_to(path).parts)]
        elif path.exists():
            inside = [path]
        else:
            inside = [Path(name) for name in glob.glob(str(path), recursive=True) if os.path.isfile(name)]
        return sorted(str(file) for file in inside)

    def exists(self, address: str) -> bool:
        """Whether a file is there.

        Raises:
            DataError: a store does not answer.
        """
        if not is_remote(address):
            return self.local(address).is_file()
        if address in self._listed or address.rpartition("/")[0] in self._whole:
            return address in self._listed
        try:
            return remote.info_of(address, self.access) is not None
        except remote.Unanswered as error:
            if error.forbidden:  # what many stores say of what is not there to those who may not list
                return False
            raise

    def list_beside(self, address: str) -> None:
        """List the folder of a file in a store, so that `exists` knows its other files without asking for each.

        Raises:
            DataError: the store does not answer.
        """
        found = remote.beside(address, self.access)
        if address in found:  # a web server may show nothing, or something else
            self._listed.update(found)
            self._whole.add(address.rpartition("/")[0])

    def blob(self, address: str) -> Blob:
        """The file.

        Raises:
            DataError: there is none.
        """
        if is_remote(address):
            return remote.blob_of(address, self.access, self._listed.get(address))
        return LocalBlob(self.local(address))

    def local(self, address: str) -> Path:
        """The path of an address that is not in a store."""
        return self.base / Path(address.removeprefix("file://")).expanduser()

    def all(self, address: str, domain: str) -> list[str]:
        """Files at an address as `find` gives them; a Megatron prefix stands for its two files.

        Raises:
            DataError: nothing lies there.
        """
        found = self.find(address)
        if not found and not any(c in address for c in "*?["):
            found = [address + end for end in (".bin", ".idx") if self.exists(address + end)]
        if not found:
            raise DataError(
                f"domain {domain!r}: nothing lies at {address}",
                wanted="a file, a folder, a pattern with *, or the common prefix of a .bin and an .idx",
                fix="check the path; relative ones are taken from the folder of the sources file",
            )
        return found if is_remote(address) else [str(self.local(f)) for f in found]
