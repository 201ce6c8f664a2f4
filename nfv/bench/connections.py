"""TCP connections through a firewall (RFC 9411, sections 7.2 and 7.5), without payload.

All connections take each step of the handshake before the next one begins: what is found is how
quickly a device follows handshakes, and how many connections it knows at a time.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from nfv.bench.outcome import Limit, Outcome
from nfv.bench.trial import Trial


class Step(Enum):
    """A segment of every connection; those of the far end pass only where it is known."""

    SYN = "syn"
    SYN_ACK = "syn-ack"
    ACK = "ack"
    ANSWER = "answer"
    RESET = "reset"

    @property
    def forward(self) -> bool:
        """Whether the near end sends it."""
        return self not in (Step.SYN_ACK, Step.ANSWER)


HANDSHAKE = (Step.SYN, Step.SYN_ACK, Step.ACK)


class Take(Protocol):
    """Has every connection take a step, as fast as possible."""

    def __call__(self, step: Step) -> Trial: ...


def connections(take: Take, size: str) -> Outcome:
    """How many connections were open at a time, and opened a second.

    A connection counts if the far end's answer arrives, after all handshakes. All are reset then.
    """
    handshake = [take(step) for step in HANDSHAKE]
    answers = take(Step.ANSWER)
    reset = take(Step.RESET)
    seconds = sum(trial.seconds for trial in handshake)
    figures = {
        "connections": float(answers.received),
        "cps": answers.received / seconds if seconds else 0.0,
        "loss": answers.loss,
    }
    limit = Limit.LOSS if answers.lost else Limit.ASKED
    return Outcome("connections", size, figures, [*handshake, answers, reset], limit)
