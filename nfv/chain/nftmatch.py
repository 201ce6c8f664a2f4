"""Conditions of a rule of nftables, as `nft -j list ruleset` writes them (libnftables-json(5))."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, summarize_address_range
from typing import Any

from nfv.chain.imported import Keys, NoRuleError
from nfv.chain.match import PROTOCOLS, TCP_FLAGS

FAMILIES = {"ip": "ipv4", "ip6": "ipv6"}

_TRACKED = frozenset({"established", "related"})
_PORTED = ("tcp", "udp", "sctp", "dccp", "udplite")
_PROTOCOLS = {**PROTOCOLS, "ipv6-icmp": 58, "ipencap": 4}
_ICMP_TYPES = {
    "icmp": {
        "echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5,
        "echo-request": 8, "router-advertisement": 9, "router-solicitation": 10,
        "time-exceeded": 11, "parameter-problem": 12, "timestamp-request": 13,
        "timestamp-reply": 14, "info-request": 15, "info-reply": 16, "address-mask-request": 17,
        "address-mask-reply": 18,
    },
    "icmpv6": {
        "destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3,
        "parameter-problem": 4, "echo-request": 128, "echo-reply": 129,
        "mld-listener-query": 130, "mld-listener-report": 131, "mld-listener-done": 132,
        "mld-listener-reduction": 132, "nd-router-solicit": 133, "nd-router-advert": 134,
        "nd-neighbor-solicit": 135, "nd-neighbor-advert": 136, "nd-redirect": 137,
        "router-renumbering": 138, "ind-neighbor-solicit": 141, "ind-neighbor-advert": 142,
        "mld2-listener-report": 143,
    },
}  # fmt: skip
_ICMP_CODES = {
    "icmp": {
        "net-unreachable": 0, "host-unreachable": 1, "prot-unreachable": 2, "port-unreachable": 3,
        "frag-needed": 4, "net-prohibited": 9, "host-prohibited": 10, "admin-prohibited": 13,
    },
    "icmpv6": {
        "no-route": 0, "admin-prohibited": 1, "addr-unreachable": 3, "port-unreachable": 4,
        "policy-fail": 5, "reject-route": 6,
    },
}  # fmt: skip
_OFFSET = 0x1FFF  # of the fragment, in ip frag-off (RFC 791)


@dataclass
class Conditions:
    """What the conditions of one rule have become so far."""

    sets: Mapping[str, list[Any]]  # elements of named sets of ports and the like
    lists: Mapping[str, str]  # our names of sets of addresses
    keys: Keys = field(default_factory=dict)
    without: Keys = field(default_factory=dict)
    asks_for_states: bool = False  # of connections
    is_tracked: bool = False  # only packets of known connections
    is_invalid: bool = False  # only packets of none
    used: set[str] = field(default_factory=set)  # sets of addresses

    def add(self, match: Mapping[str, Any]) -> None:
        """One `match` statement. Raises `NoRuleError`."""
        left, op, right = match.get("left"), match.get("op", "=="), match.get("right")
        if not isinstance(left, dict) or len(left) != 1:
            raise NoRuleError("this condition has no equivalent")
        ((kind, what),) = left.items()
        if kind == "&":
            self._masked(what, op, right)
        elif kind == "payload" and "protocol" in what:
            self._payload(str(what["protocol"]), str(what.get("field")), op, right)
        elif kind == "meta":
            self._meta(str(what.get("key")), op, right)
        elif kind == "ct" and what.get("key") == "state":
            self._state(op, right)
        else:
            name = what.get("key", "") if isinstance(what, dict) else ""
            raise NoRuleError(f"{kind} {name}".rstrip() + " has no equivalent")

    def _payload(self, protocol: str, name: str, op: str, right: Any) -> None:
        if protocol in FAMILIES:
            self._put("family", FAMILIES[protocol], "==")
        handler = _FIELDS.get((protocol, name)) or _FIELDS.get(("", name))
        if protocol in _PORTED or protocol in _ICMP_TYPES:
            self._put("proto", protocol, "==")
        if handler is None or (name in ("sport", "dport") and protocol not in (*_PORTED, "th")):
            raise NoRuleError(f"{protocol} {name} has no equivalent")
        if protocol == "th" and "proto" not in self.keys:
            raise NoRuleError("th needs a protocol before it")
        handler(self, protocol, op, right)

    def _meta(self, key: str, op: str, right: Any) -> None:
        if key in ("nfproto", "protocol"):
            self._family(key, op, right)
        elif key == "l4proto":
            self._protocol("", op, right)
        elif key == "length":
            self._put("length", self._ranges(op, right), op)
        elif key in ("iif", "oif", "iifname", "oifname"):
            raise NoRuleError("a chain has two interfaces, which direction tells apart")
        else:
            raise NoRuleError(f"meta {key} has no equivalent")

    def _family(self, _key: str, op: str, right: Any) -> None:
        name = FAMILIES.get(right, right) if isinstance(right, str) else right
        if op != "==" or name not in FAMILIES.values():
            raise NoRuleError("neither IPv4 nor IPv6")
        self._put("family", name, "==")

    def _protocol(self, _protocol: str, op: str, right: Any) -> None:
        found = []
        for one in self._elements(right):
            number = one if isinstance(one, int) else _PROTOCOLS.get(str(one))
            if number is None:
                raise NoRuleError(f"protocol {one} is not known")
            found.append(next((n for n, known in PROTOCOLS.items() if known == number), number))
        self._put("proto", found[0] if len(found) == 1 else found, op)

    def _state(self, op: str, right: Any) -> None:
        states = set(right) if isinstance(right, list) else {right}
        if isinstance(right, dict):
            states = set(right.get("set", ()))
        self.asks_for_states = True
        if op not in ("in", "=="):
            raise NoRuleError("! with states of connections")
        if states <= _TRACKED:
            self.is_tracked = True
        elif states == {"invalid"}:
            self.is_invalid = True
        elif "new" not in states:
            raise NoRuleError("states other than new are decided before the rules")

    def _addresses(self, key: str, op: str, right: Any) -> None:
        found: list[str] = []
        for one in [right] if isinstance(right, str) else self._elements(right):
            if isinstance(one, str) and one.startswith("@"):
                found.append(self._list(one[1:]))
            else:
                found += prefixes(one)
        self._put(key, found, op)

    def _list(self, name: str) -> str:
        if name not in self.lists:
            raise NoRuleError(f"set {name} is not one of fixed addresses")
        self.used.add(name)
        return self.lists[name]

    def _macs(self, key: str, op: str, right: Any) -> None:
        self._put(key, self._elements(right), op)

    def _ports(self, key: str, op: str, right: Any) -> None:
        self._put(key, self._ranges(op, right), op)

    def _dscp(self, _protocol: str, op: str, right: Any) -> None:
        names = {"be": "df"}  # the same code point
        elements = self._elements(right)
        self._put(
            "dscp", [names.get(one, one) if isinstance(one, str) else one for one in elements], op
        )

    def _icmp_type(self, protocol: str, op: str, right: Any) -> None:
        if op != "==":
            raise NoRuleError(f"{op} with types of ICMP")
        known = _ICMP_TYPES[protocol]
        self._put("icmp_type", [known.get(str(one), one) for one in self._elements(right)], op)

    def _icmp_code(self, protocol: str, op: str, right: Any) -> None:
        types, codes = self.keys.get("icmp_type"), self._elements(right)
        if op != "==" or not isinstance(types, list) or len(types) != 1:
            raise NoRuleError("codes of ICMP without the one type that they are of")
        known = _ICMP_CODES[protocol]
        self.keys["icmp_type"] = [f"{types[0]}/{known.get(str(code), code)}" for code in codes]

    def _flags(self, _protocol: str, op: str, right: Any) -> None:
        values = _flag_names(right)
        if op == "in" and len(values) == 1:
            self._put("tcp_flags", values[0], "==")
        elif op == "!":
            self._put("tcp_flags", f"none/{','.join(values)}", "==")
        elif op == "==":
            self._put("tcp_flags", f"{','.join(values) or 'none'}/{','.join(TCP_FLAGS)}", op)
        else:
            raise NoRuleError("some of several TCP flags")

    def _masked(self, parts: Any, op: str, right: Any) -> None:
        """A field of which a mask leaves some bits."""
        left, mask = parts if isinstance(parts, list) and len(parts) == 2 else ({}, None)
        payload = left.get("payload", {}) if isinstance(left, dict) else {}
        place = payload.get("protocol"), payload.get("field")
        if place == ("tcp", "flags") and op == "==":
            self._put("proto", "tcp", "==")
            values, examined = ",".join(_flag_names(right)), ",".join(_flag_names(mask))
            self._put("tcp_flags", f"{values or 'none'}/{examined}", op)
        elif place == ("ip", "frag-off") and (mask, right) == (_OFFSET, 0) and op in ("==", "!="):
            self._put("family", "ipv4", "==")
            self._put("fragment", "later" if op == "!=" else ["none", "first"], "==")
        else:
            raise NoRuleError("a mask has no equivalent here")

    def _put(self, key: str, value: object, op: str) -> None:
        """A condition, or an exception if it is negated."""
        there = self.without if op == "!=" else self.keys
        if there.get(key, value) != value:
            raise NoRuleError(f"several conditions on {key}")
        there[key] = value

    def _elements(self, right: Any) -> list[Any]:
        """One value, or those of a set."""
        if isinstance(right, str) and right.startswith("@"):
            if right[1:] not in self.sets:
                raise NoRuleError(f"set {right[1:]} is not one of fixed values")
            return self.sets[right[1:]]
        if isinstance(right, dict) and "set" in right:
            return list(right["set"])
        return [right]

    def _ranges(self, op: str, right: Any) -> list[object]:
        """Numbers and ranges, as a rule has them."""
        compared = {"<": (0, -1), "<=": (0, 0), ">": (1, 0), ">=": (0, 0)}
        if op in compared:
            if not isinstance(right, int):
                raise NoRuleError("this comparison has no equivalent")
            low, high = compared[op]
            edge = right + low + high
            return [f"0-{edge}" if op in ("<", "<=") else f"{edge}-65535"]
        return [_range(one) for one in self._elements(right)]


def _range(value: Any) -> object:
    if isinstance(value, dict) and "range" in value:
        low, high = value["range"]
        return f"{low}-{high}"
    if not isinstance(value, int):
        raise NoRuleError(f"{value} is no number")
    return value


def prefixes(value: Any) -> list[str]:
    """The prefixes of an address, a prefix or a range of addresses. Raises `NoRuleError`."""
    try:
        if isinstance(value, dict) and "prefix" in value:
            return [f"{value['prefix']['addr']}/{value['prefix']['len']}"]
        if isinstance(value, dict) and "range" in value:
            low, high = map(ip_address, value["range"])
            return list(map(str, summarize_address_range(low, high)))
        return [str(ip_address(value))]
    except (ValueError, TypeError, KeyError) as error:
        raise NoRuleError("no address, prefix or range") from error


def _flag_names(value: Any) -> list[str]:
    """Names of TCP flags: one, several, or none."""
    if isinstance(value, dict) and "|" in value:
        return [name for part in value["|"] for name in _flag_names(part)]
    if isinstance(value, list):
        return [name for part in value for name in _flag_names(part)]
    if value == 0:
        return []
    names = {"ecn": "ece"}
    if not isinstance(value, str) or names.get(value, value) not in TCP_FLAGS:
        raise NoRuleError(f"TCP flags {value}")
    return [names.get(value, value)]


def _keyed(key: str, method: Callable[[Conditions, str, str, Any], None]) -> Any:
    return lambda conditions, _protocol, op, right: method(conditions, key, op, right)


_FIELDS: Mapping[tuple[str, str], Callable[[Conditions, str, str, Any], None]] = {
    ("ip", "saddr"): _keyed("src", Conditions._addresses),
    ("ip", "daddr"): _keyed("dst", Conditions._addresses),
    ("ip6", "saddr"): _keyed("src", Conditions._addresses),
    ("ip6", "daddr"): _keyed("dst", Conditions._addresses),
    ("ether", "saddr"): _keyed("src_mac", Conditions._macs),
    ("ether", "daddr"): _keyed("dst_mac", Conditions._macs),
    ("ether", "type"): _keyed("protocol", Conditions._family),
    ("ip", "protocol"): Conditions._protocol,
    ("ip", "dscp"): Conditions._dscp,
    ("ip6", "dscp"): Conditions._dscp,
    ("ip", "length"): _keyed("length", Conditions._ports),
    ("icmp", "type"): Conditions._icmp_type,
    ("icmpv6", "type"): Conditions._icmp_type,
    ("icmp", "code"): Conditions._icmp_code,
    ("icmpv6", "code"): Conditions._icmp_code,
    ("tcp", "flags"): Conditions._flags,
    ("", "sport"): _keyed("sport", Conditions._ports),
    ("", "dport"): _keyed("dport", Conditions._ports),
}
