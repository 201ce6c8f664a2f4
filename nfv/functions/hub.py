"""Hub: what comes in by a port leaves by every other, unchanged.

Chains end at its ports, `HUB:1` and so on. It reads nothing of a frame, so what bridges keep from
forwarding passes too. Chains that make a loop are refused; packets have 3,400 bytes at most.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from nfv.functions.base import Function, FunctionConfig, LanMtu, Port, PortNumber


class HubConfig(FunctionConfig):
    """A hub: how many ports it has."""

    ports: PortNumber = Field(description="number of ports, which are named 1, 2 and so on")
    mtu: LanMtu = 1500


class Hub(Function[HubConfig]):
    """Repeats every frame."""

    Config = HubConfig
    floods = True
    places_key = "ports"

    @property
    def interfaces(self) -> Mapping[str, Port]:
        return {str(number): Port(self.config.mtu) for number in range(1, self.config.ports + 1)}

    def defines(self) -> Mapping[str, int]:
        return {"PORTS": self.config.ports}

    def map_sizes(self) -> Mapping[str, int]:
        return {"leads": self.config.ports, "floods": self.config.ports}
