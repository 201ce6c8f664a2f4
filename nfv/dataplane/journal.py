"""Lines of JSON in a file that is begun anew at a limit, the latest last."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

_LIMIT = 4 << 20  # bytes; with the one old file that is kept, twice that


class Journal:
    """A file of lines; the one before it has the same name with ".1"."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("a")

    def close(self) -> None:
        self._file.close()

    def write(self, *rows: Mapping[str, object]) -> None:
        """Add a line for each; they are there when this returns."""
        text = "".join(json.dumps(row) + "\n" for row in rows)
        if self._file.tell() + len(text) > _LIMIT:
            self._file.close()
            os.replace(self._path, self._path.with_name(f"{self._path.name}.1"))
            self._file = self._path.open("a")
        self._file.write(text)
        self._file.flush()
