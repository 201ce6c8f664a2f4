"""TCP connections between two SAPs, opened from both ends by generators."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from nfv.bench.connections import HANDSHAKE, Step
from nfv.bench.trial import Load, Trial
from nfv.closing import Closing
from nfv.dataplane.load.fitting import Setup
from nfv.dataplane.load.rig import Rig, check_arrival
from nfv.dataplane.resident import agentctl
from nfv.dataplane.state import State
from nfv.traffic import flows
from nfv.traffic.flows import ACK, RST, SYN, Flow

_FLAGS = {
    Step.SYN: SYN,
    Step.SYN_ACK: SYN | ACK,
    Step.ACK: ACK,
    Step.ANSWER: ACK,
    Step.RESET: RST | ACK,
}
_WARM_UP = 16  # connections besides those that are measured, as flow caches remember them
_WARM_UPS = 5
_SLOWEST = 100_000  # segments a second, as slow as which a step may be


class Handshakes(Closing):
    """Connections of a profile, as long as the `with` block lasts."""

    def __init__(self, applied: State, setup: Setup) -> None:
        """Raises `InputError` as `Rig` does."""
        count = setup.profile.flows + _WARM_UP
        tcp = {"proto": "tcp", "churn": 0, "sizes": ("64",), "flows": count}
        profile = setup.profile.model_copy(update=tcp)
        seconds = max(setup.seconds, count / _SLOWEST)
        setup = replace(setup, profile=profile, seconds=seconds)
        self._near = Rig(applied, setup)
        fitted = self._near.profile
        turned = fitted.model_copy(
            update={"src": fitted.dst, "dst": fitted.src, "src_mac": None, "dst_mac": None}
        )
        back = replace(setup, near=setup.far, far=setup.near, profile=turned)
        self._far = Rig(applied, back)
        found = flows.flows(fitted)
        self._few, self._flows = found[:_WARM_UP], found[_WARM_UP:]
        self.size = fitted.sizes[0]
        self._open = ExitStack()

    def __enter__(self) -> Handshakes:
        with ExitStack() as stack:
            stack.enter_context(self._near)
            stack.enter_context(self._far)
            self._warm_up()
            self._open = stack.pop_all()
        return self

    def close(self) -> None:
        self._open.close()

    def take(self, step: Step) -> Trial:
        """Have every connection take a step."""
        return self._step(step, self._flows)

    def _warm_up(self) -> None:
        """Open and reset a few until none is lost, as neighbours may have to be found first."""
        for _ in range(_WARM_UPS):
            trials = [self._step(step, self._few) for step in (*HANDSHAKE, Step.RESET)]
            if not any(trial.lost for trial in trials):
                return
            agentctl.sync(self._near.applied.name)
        for step, trial in zip(HANDSHAKE, trials, strict=False):
            check_arrival(trial, (self._near if step.forward else self._far).setup)

    def _step(self, step: Step, found: list[Flow]) -> Trial:
        rig = self._near if step.forward else self._far
        frames = [
            flows.template(
                rig.profile,
                flow if step.forward else flow.reverse,
                number,
                int(self.size),
                rig.macs,
                _FLAGS[step],
            )
            for number, flow in enumerate(found)
        ]
        rig.load(frames, len(found))
        return rig.run(Load(rig.setup.seconds, frames=len(found)))
