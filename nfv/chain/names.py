"""Names of kernel objects, derived from the names in the topology file. The same always."""

from __future__ import annotations

from hashlib import sha256

from nfv.chain.fields import MAX_DEVICE_NAME

HOST_DEVICE = "eth0"
"""The interface of a host SAP, in its own namespace."""

RESERVED_DEVICES = frozenset(
    {"lo", "all", "default"}  # `all` and `default` are directories in /proc/sys/net/ipv4/conf
    | {"sit0", "tunl0", "gre0", "gretap0", "erspan0", "ip6tnl0", "ip6gre0"}  # fallback tunnels
)
"""Device names that the kernel gives away itself in every network namespace."""

_HASH_DIGITS = 6


def fabric_netns(topology: str) -> str:
    """Namespace of the plumbing: the fabric side of every SAP and router interface."""
    return f"nfv.{topology}"


def node_netns(topology: str, node: str) -> str:
    """Namespace of a host SAP, or of a function with interfaces."""
    return f"nfv.{topology}.{node}"


def sap_device(sap: str) -> str:
    """Device of a SAP in the fabric."""
    return _device(sap)


def fabric_device(vnf: str, interface: str) -> str:
    """Device of a function's interface in the fabric."""
    return _device(f"{vnf}.{interface}")


def flood_device(vnf: str, port: str) -> str:
    """Device of a switch's port in the fabric that flooded frames are sent into."""
    return _device(f"{vnf}.{port}.in")


def service_device(vnf: str) -> str:
    """Tap device of a function's service, in the fabric."""
    return _device(f"{vnf}.service")


def interface_device(interface: str) -> str:
    """Device of a function's interface in the function's own namespace."""
    return _device(interface)


def tap_device(topology: str, sap: str) -> str:
    """Tap device of a SAP, in the namespace of the program that uses it."""
    return _device(f"{topology}-{sap}")


def mac(topology: str, node: str, interface: str = "") -> str:
    """MAC address of a SAP or of a function's interface: unicast, locally administered."""
    digest = sha256("\0".join((topology, node, interface)).encode()).digest()
    return "02:" + digest[:5].hex(":")


def owner(topology: str, node: str | None = None) -> str:
    """Mark (interface alias) of the devices and namespaces that belong to a topology."""
    return f"nfv:{topology}" if node is None else f"nfv:{topology}:{node}"


def _device(text: str) -> str:
    """`text` where it fits into a device name, else its beginning and a hash of the whole."""
    if len(text) <= MAX_DEVICE_NAME:
        return text
    beginning = text[: MAX_DEVICE_NAME - 1 - _HASH_DIGITS].rstrip("-.")
    return f"{beginning}-{sha256(text.encode()).hexdigest()[:_HASH_DIGITS]}"
