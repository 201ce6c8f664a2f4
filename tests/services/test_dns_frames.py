"""Frames that reach the DNS service in groups: what one does to it is no affair of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfv.services.base import Place
from nfv.services.dns import service
from nfv.services.frames import Frame


class _Stack:
    """Takes every frame but one."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def deliver(self, _stage: int, data: bytes) -> None:
        if data == b"bad":
            raise ValueError("no frame")
        self.taken.append(data)


def test_a_frame_that_fails_keeps_no_other_from_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[tuple[str, str]] = []

    def log(level: str, message: str) -> None:
        logged.append((level, message))

    made = service.start(Place("lab", "dns", tmp_path, tmp_path, lambda *_: None, log))
    stack = _Stack()
    monkeypatch.setattr(made, "_stack", stack)
    made.receive([Frame(0, 0, 0, data) for data in (b"one", b"bad", b"two")])
    assert stack.taken == [b"one", b"two"]
    assert logged == [("error", f"a frame failed: ValueError('no frame'): {b'bad'.hex()}")]
