"""nfvctl inspect."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from nfv.cli import arguments, failure, output
from nfv.cli.output import Format
from nfv.errors import InputError

if TYPE_CHECKING:
    from nfv.dataplane.inspection import AgentStatus, Inspection, PortStatus

# What the agent tells, and how it is said.
_PATHS = {"fast": "fast path", "kernel": "kernel"}
_ROUTER = {"ipv4_routes": "IPv4 routes", "ipv6_routes": "IPv6 routes", "neighbours": "neighbours"}
_OCCUPANCY = ("used", "capacity")


@click.command
@arguments.applied_argument
@click.argument("name", required=False, shell_complete=arguments.completes(arguments.inspectable))
@click.argument("filters", metavar="[KEY=TEXT]...", nargs=-1)
@output.format_option
def command(topology: str, name: str | None, filters: tuple[str, ...], format_: Format) -> None:
    """Show what runs of one topology, and what of it is gone.

    Its SAPs and interfaces as they are in the kernel, functions, chains, programs and the agent.
    With NAME, what that function has: leases, records, stations, connections, or rules, routes and
    neighbours with the packets that went by them; all, or those with a text in each KEY.

    \b
    Examples:
      sudo nfvctl inspect branch
      sudo nfvctl inspect branch --format json | jq '.ports[].addresses'
      sudo nfvctl inspect branch dhcp
      sudo nfvctl inspect branch dhcp state=bound mac=02:00 --format json
      sudo nfvctl inspect branch gw kind=neighbour
      sudo nfvctl inspect branch fw kind=connection proto=tcp
    """
    from nfv.dataplane import inspection

    applied = arguments.stored(topology)
    if name is not None:
        arguments.check_part(name, arguments.inspectable(applied), applied.name)
        wanted = dict(arguments.pair(text) for text in filters)
        rows = inspection.rows(applied, name)
        _list([row for row in rows if _has(row, wanted)], format_)
        return
    found = inspection.inspect(applied)
    if format_ != "table":
        output.document(_plain(found), format_)
        return
    click.echo(f"topology {found.topology.name}, from {found.applied.file}")
    click.echo(_agent(found.agent))
    parts = _ports, _functions, _sessions, _chains, _programs
    for table in (part(found) for part in parts):
        if table:
            click.echo(f"\n{table}")
    if not found.whole:
        failure.hint(f"`nfvctl apply {found.topology.name}` mends what is gone")


def _has(row: Mapping[str, object], wanted: Mapping[str, str]) -> bool:
    """Whether each text is in the value of its key."""
    unknown = [key for key in wanted if key not in row]
    if unknown:
        raise InputError(f"there is no '{unknown[0]}' here", f"keys are {', '.join(row)}")
    return all(text in output.cell(row[key]) for key, text in wanted.items())


def _list(rows: Sequence[Mapping[str, object]], format_: Format) -> None:
    if format_ == "table":
        click.echo(output.records(rows))
    else:
        output.document([dict(row) for row in rows], format_)


def _agent(agent: AgentStatus | None) -> str:
    if agent is None:
        return f"agent {output.state('is gone')}"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(agent.started))
    return f"agent {agent.pid}, since {since}"


def _ports(found: Inspection) -> str:
    header = ("ATTACHMENT", "KIND", "STATE", "DEVICE", "NAMESPACE", "ADDRESSES")
    return output.table(header, [row for port in found.ports for row in _port(port)])


def _port(port: PortStatus) -> Iterator[Sequence[str]]:
    """A row, and another for each address after the first, which is the MAC address."""
    state = output.state(port.state)
    yield port.attachment, port.kind, state, port.device, port.netns or "", port.mac or ""
    yield from (("", "", "", "", "", address) for address in port.addresses)


def _functions(found: Inspection) -> str:
    rows = [
        (name, function.type, _function(name, found))
        for name, function in found.topology.vnfs.items()
    ]
    return output.table(("FUNCTION", "TYPE", "STATE"), rows)


def _function(name: str, found: Inspection) -> str:
    """What the agent, or its service, tells of a function."""
    for service in found.services:
        if service.function == name:
            return _service(service.figures)
    agent = found.agent
    if agent is None:
        return ""
    router, tables = agent.routers.get(name), agent.connections.get(name, {})
    parts = []
    if router:
        parts.append(f"routed by the {_PATHS[str(router['mode'])]}")
        parts += [f"{router[key]} {words}" for key, words in _ROUTER.items() if key in router]
        parts += [str(router["why"])] if router["why"] else []
        parts += ["larger maps are being made"] if router.get("growing") else []
    if any(one.function == name and one.sessions is None for one in found.routing):
        parts.append(output.state("BIRD is gone"))
    if tables:
        used, capacity = (sum(table[key] for table in tables.values()) for key in _OCCUPANCY)
        what = "stations" if found.topology.vnfs[name].floods else "connections"
        parts.append(f"{used} of {capacity} {what}")
    return ", ".join(parts)


def _service(figures: Mapping[str, object] | None) -> str:
    """The figures of a service that are plain numbers, in words."""
    if figures is None:
        return output.state("service is gone")
    return ", ".join(f"{value} {key}" for key, value in figures.items() if isinstance(value, int))


def _sessions(found: Inspection) -> str:
    rows = [
        (router.function, one.name, one.protocol, output.state(one.state), one.since, one.info)
        for router in found.routing
        for one in router.sessions or ()
    ]
    header = ("ROUTER", "SESSION", "PROTOCOL", "STATE", "SINCE", "INFO")
    return output.table(header, rows)


def _chains(found: Inspection) -> str:
    rows = [
        (chain.name, " > ".join([str(chain.near), *chain.functions, str(chain.far)]))
        for chain in found.topology.chains.values()
    ]
    return output.table(("CHAIN", "PATH"), rows)


def _programs(found: Inspection) -> str:
    rows = [
        (one.attachment, one.hook, output.state(one.state), one.name or "", f"{one.machine_code:,}")
        for one in found.programs
    ]
    header = ("ATTACHMENT", "HOOK", "STATE", "PROGRAM", "MACHINE CODE, BYTES")
    return output.table(header, rows, right=header[4:])


def _plain(found: Inspection) -> dict[str, object]:
    topology = found.topology
    return {
        "name": topology.name,
        "file": found.applied.file,
        "whole": found.whole,
        "agent": asdict(found.agent) if found.agent else None,
        "ports": [asdict(port) for port in found.ports],
        "vnfs": [{"name": name, "type": vnf.type} for name, vnf in topology.vnfs.items()],
        "chains": [
            {
                "name": chain.name,
                "path": [str(chain.near), *chain.functions, str(chain.far)],
                "match": topology.source.data["chains"][chain.name].get("match"),
            }
            for chain in topology.chains.values()
        ],
        "programs": [asdict(program) for program in found.programs],
        "services": {service.function: service.figures for service in found.services},
        "sessions": [
            {"router": router.function, **asdict(one)}
            for router in found.routing
            for one in router.sessions or ()
        ],
    }
