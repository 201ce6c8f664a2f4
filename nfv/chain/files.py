"""Further files that a topology file names, such as zone files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

MAX_BYTES = 1 << 28


class Files:
    """The texts of files below the directory of the topology file, and of none elsewhere.

    Two are equal if the same was read from both. Once read, a text does not change.
    """

    def __init__(
        self, directory: Path | None = None, texts: Mapping[str, str] | None = None
    ) -> None:
        """`texts` are taken for the files; without a directory there are no others."""
        self._directory = directory
        self._texts = dict(texts or {})
        self.used: dict[str, str] = {}

    def fresh(self) -> Files:
        """The same files, of which nothing was read."""
        return Files(self._directory, self._texts)

    def read(self, name: str) -> str:
        """The text of a file. Raises `ValueError` that says why there is none."""
        if name not in self.used:
            text = self._texts.get(name)
            self.used[name] = self._load(name) if text is None else text
        return self.used[name]

    def _load(self, name: str) -> str:
        if self._directory is None:
            raise ValueError(f"there is no directory to read {name} from")
        home = os.path.realpath(self._directory)
        path = os.path.realpath(os.path.join(home, name))
        if os.path.commonpath([home, path]) != home:
            raise ValueError(f"{name} is not below the directory of the topology file")
        try:
            if os.path.getsize(path) > MAX_BYTES:
                raise ValueError(f"{name} is larger than {MAX_BYTES >> 20} MiB")
            return Path(path).read_text("utf-8")
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ValueError(f"cannot read {name}: {reason}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{name} is not UTF-8 text") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Files) and self.used == other.used

    def __hash__(self) -> int:
        return hash(frozenset(self.used))
