"""Random rules, classifiers and firewalls, from few addresses and ports, so that they are met."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any

PORTS = (22, 53, 80, 443, 1000, 1500, 40000, 40001)
SPANS = ("22", "53", "80", "443", "1000-2000", "0-1023", "1024-65535", "40000", "0-65535")
FLAGS = ("syn", "syn/syn,ack", "ack", "rst", "fin", "psh", "none/syn,ack", "urg/urg,psh", "ece")
ICMP_TYPES = {
    "icmp": ("echo-request", "echo-reply", "3", "3/4", "11", "8/0"),
    "icmpv6": ("echo-request", "echo-reply", "1", "packet-too-big", "128/0"),
}

Config = dict[str, Any]


def prefix_around(random: Random, address: str) -> str:
    """A prefix that an address is in."""
    width = ip_address(address).max_prefixlen
    lengths = (0, 4, 8, 15, 16, 23, 24, 25, 31, 32) if width == 32 else (0, 16, 48, 64, 127, 128)
    return str(ip_network(f"{address}/{random.choice(lengths)}", strict=False))


def conditions(random: Random, addresses: Sequence[str]) -> Config:
    """What a rule or a classifier may ask of a packet."""
    found: Config = {}
    version = random.choice((4, 6))
    same = [address for address in addresses if ip_address(address).version == version]
    kind = random.randrange(8)
    if kind <= 2:
        found["proto"] = random.choice(["tcp", "udp", ["tcp", "udp"], ["udp", "sctp"]])
        for key in ("sport", "dport"):
            if random.random() < (0.2 if key == "sport" else 0.6):
                found[key] = random.sample(SPANS, random.randint(1, 2))
    elif kind == 3:
        found["proto"] = "tcp"
        found["tcp_flags"] = random.choice(FLAGS)
    elif kind == 4:
        found["proto"] = name = "icmp" if version == 4 else "icmpv6"
        if random.random() < 0.7:
            found["icmp_type"] = random.sample(ICMP_TYPES[name], random.randint(1, 2))
    elif kind == 5:
        found["proto"] = random.choice([47, 99, ["icmp", "icmpv6"], ["tcp", 99]])
    elif kind == 6:
        found["family"] = f"ipv{version}"
    for key in ("src", "dst"):
        if random.random() < 0.25:
            count = random.randint(1, 2)
            found[key] = [prefix_around(random, random.choice(same)) for _ in range(count)]
    return found


def firewall(random: Random, addresses: Sequence[str]) -> Config:
    """A firewall; what can change while it runs comes from `change`."""
    config: Config = {"type": "firewall"}
    if random.random() < 0.4:
        config["stateless"] = True
    else:
        config["connections"] = random.choice((6, 300, 65536, 65536))
    return change(random, config, addresses)


def change(random: Random, config: Config, addresses: Sequence[str]) -> Config:
    """The same firewall with other rules, of which some stay, elsewhere."""
    kept = [rule for rule in config.get("rules", ()) if random.random() < 0.6]
    fresh = [
        _rule(random, number, addresses) for number in random.sample(range(100), _amount(random))
    ]
    names = {rule["name"] for rule in kept}
    rules = kept + [rule for rule in fresh if rule["name"] not in names]
    random.shuffle(rules)
    changed = {key: value for key, value in config.items() if key != "rules"}
    return {
        **changed,
        "default": random.choice(("accept", "accept", "drop", "reject")),
        "rules": rules[:60],
    }


def _amount(random: Random) -> int:
    return random.choice((0, 1, 2, 3, 5, 8, 8, 13, 40))


def _rule(random: Random, number: int, addresses: Sequence[str]) -> Config:
    rule: Config = {"name": f"r{number}", **conditions(random, addresses)}
    rule["action"] = random.choice(("accept", "accept", "accept", "drop", "reject"))
    if random.random() < 0.3:
        rule["direction"] = random.choice(("forward", "reverse"))
    return rule
