"""C texts to objects, through a cache that all applies and processes share."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nfv.ebpf.object import FORMAT, Object
from nfv.errors import CompileError, InputError

_CLANG_ERROR = re.compile(
    r"^/?(?:virtual/)?(\S+?):(\d+):\d+: (?:fatal )?error: (.+)$", re.MULTILINE
)
_VERIFIER_LINE = re.compile(r"^; (.*?) @ (\S+?):(\d+)$", re.MULTILINE)


CFLAGS = [
    "-Werror=implicit-function-declaration",
    "-Wno-macro-redefined",
    "-Wno-address-of-packed-member",
    "-Wno-unknown-attributes",
    "-Wno-duplicate-decl-specifier",
    "-Wno-pass-failed",
]
"""What bcc passes to clang besides its own options."""


def cache_directory() -> Path:
    """Where compiled objects are kept: $NFV_CACHE_DIR, or /var/cache/nfv."""
    return Path(os.environ.get("NFV_CACHE_DIR", "/var/cache/nfv"))


class Compiler:
    """Compiles with the kernel headers given, each text once.

    The cache's key is the text and everything that shapes its machine code: bcc, headers, format.
    """

    def __init__(self, headers: Path) -> None:
        self.headers = headers
        self.toolchain = f"{FORMAT}:{_bcc_version()}:{headers.resolve()}:{CFLAGS}"

    def compile(self, texts: Iterable[str]) -> dict[str, Object]:
        """Objects by text. Raises `CompileError` that names the C file and line."""
        wanted = list(dict.fromkeys(texts))
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            return dict(zip(wanted, pool.map(self._one, wanted), strict=True))

    def _path(self, text: str) -> Path:
        key = hashlib.sha256(f"{self.toolchain}\0{text}".encode()).hexdigest()[:32]
        return cache_directory() / "objects" / f"{key}.json"

    def _one(self, text: str) -> Object:
        path = self._path(text)
        try:
            return Object.loads(path.read_text())
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not there yet, or damaged: compile
        done = self._run(text)
        if done.returncode != 0:
            raise _compile_error(done.stderr)
        found = Object.loads(done.stdout)
        _store(path, done.stdout)
        return found

    def _run(self, text: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "nfv.ebpf.worker", *options],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "BCC_KERNEL_SOURCE": str(self.headers)},
        )

    def explain(self, text: str, program: str, log: str) -> CompileError:
        """Why the verifier refused a program: the last C line it looked at, and its last words."""
        annotated = self._run(text, "--explain", program).stderr
        lines = _VERIFIER_LINE.findall(annotated)
        words = [line for line in log.splitlines() if line and not line.startswith("processed ")]
        reason = words[-1] if words else "no reason given"
        if not lines:
            return CompileError(f"the kernel's verifier refused {program}: {reason}", log[-2000:])
        source, file, line = lines[-1]
        return CompileError(
            f"{file}:{line}: the kernel's verifier refused this: {reason}",
            f"the line is: {source.strip()}",
        )


def _bcc_version() -> str:
    """What bcc's version file says; bcc itself, with LLVM, is loaded only to compile."""
    try:
        found = importlib.util.find_spec("bcc")
    except ValueError:  # something else goes by that name
        found = None
    version = Path(found.origin).with_name("version.py") if found and found.origin else None
    if version is None or not version.exists():
        raise InputError("bcc is not installed", "apt-get install python3-bpfcc")
    return version.read_text()


def _compile_error(stderr: str) -> CompileError:
    errors = _CLANG_ERROR.findall(stderr)
    if not errors:
        return CompileError("bcc could not compile a program", stderr.strip()[-2000:] or None)
    file, line, message = errors[0]
    more = f"and {len(errors) - 1} more errors" if len(errors) > 1 else None
    return CompileError(f"{file}:{line}: {message}", more)


def _store(path: Path, text: str) -> None:
    """Write a cache entry in one step; a cache that cannot be written is no cache, not an error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    except OSError:
        return
