"""A router's tables, written as the agent writes them, from what a topology declares."""

from __future__ import annotations

from nfv.dataplane.observe.offline import addresses
from nfv.dataplane.routing.routertables import RouterTables

__all__ = ["RouterTables", "fill_from_topology"]


def fill_from_topology(router: RouterTables) -> None:
    """Every neighbour that the topology declares is resolved, every static route is there.

    The router's own addresses and what is reserved go to the kernel.
    """
    router.punt_reserved()
    function = router.topology.vnfs[router.vnf]
    known = dict(addresses(router.topology, router.wiring))
    for name, interface in function.interfaces.items():
        for net in interface.ip:
            router.connect(str(net.network), name)
        own = [address.ip for address in interface.ip]
        for address in own:
            router.own(address)
        for address, mac in known.items():
            if address not in own and any(address in net.network for net in interface.ip):
                router.route(str(address), name, mac, interface.mtu)
                for route in function.routes:
                    if route.via == address:
                        router.route(str(route.to), name, mac, interface.mtu)
