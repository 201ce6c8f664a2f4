"""The function dhcp with real clients."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nfv.dataplane import state
from nfv.dataplane.change import resolving
from nfv.dataplane.kernel import netns
from nfv.dataplane.resident import clientctl, servicectl
from tests.integration.helpers import snapshot, waiting
from tests.integration.helpers.dhcpload import exchanges
from tests.integration.helpers.lab import Lab, applied, example, kill, nfvctl
from tests.integration.helpers.lab import lab as unapplied

pytestmark = pytest.mark.root

PATIENCE = 20.0  # seconds

CLIENTS = """
name: clients
saps:
  one: {kind: host, ip: 10.0.3.1/24}
  two: {kind: host, dhcp: true}
vnfs:
  dhcp:
    type: dhcp
    ip: [10.0.1.2/24, 10.0.2.2/24]
    options: {domain: lab.example, dns: 10.0.1.53, mtu: 1400}
    probe: 200
    subnets:
      - network: 10.0.1.0/24
        chains: wire
        pools: [{range: 10.0.1.100-10.0.1.109}]
        options: {routers: 10.0.1.1, static_routes: [{to: 198.51.100.0/24, via: 10.0.1.9}]}
      - {network: 10.0.2.0/24, chains: loose, pools: [{range: 10.0.2.100-10.0.2.109}]}
      - {network: 10.0.3.0/24, pools: [{range: 10.0.3.10-10.0.3.250}]}
chains:
  wire: {path: [one, dhcp, far]}
  loose: {path: [two, dhcp, end]}
"""
CLIENTS = CLIENTS.replace("saps:", "saps:\n  far: {kind: tap}\n  end: {kind: tap}")


DHCLIENT_SCRIPT = """#!/bin/sh
case $reason in
BOUND | REBOOT) ip address replace $new_ip_address/24 dev $interface ;;
esac
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with applied(CLIENTS, "dhcp") as made:
        until(lambda: addresses(made, "two"))
        yield made


def until(found: Callable[[], object]) -> None:
    """Look again until there is something."""
    waiting.until(found, PATIENCE)


def addresses(lab: Lab, host: str) -> list[str]:
    """The addresses that a host has got."""
    shown = lab.run(host, "ip -j -4 address show dev eth0 dynamic").stdout
    return [
        f"{found['local']}/{found['prefixlen']}"
        for device in json.loads(shown)
        for found in device.get("addr_info", [])
        if "local" in found
    ]


def leases(lab: Lab) -> dict[str, dict[str, object]]:
    return {str(row["ip"]): row for row in servicectl.rows(lab.name, "dhcp", "list")}


def test_a_host_that_is_declared_so_gets_an_address(lab: Lab) -> None:
    (address,) = addresses(lab, "two")
    lease = leases(lab)[address.partition("/")[0]]

    assert address == "10.0.2.100/24"
    assert (lease["state"], lease["hostname"], lease["port"]) == ("bound", "two", "two")
    assert lab.lines() == []


def test_dhclient(lab: Lab, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(DHCLIENT_SCRIPT)
    script.chmod(0o700)
    (tmp_path / "conf").write_text(
        "request subnet-mask, routers, domain-name, domain-name-servers, interface-mtu;\n"
    )
    files = f"-lf {tmp_path}/leases -pf {tmp_path}/pid -sf {script} -cf {tmp_path}/conf"
    lab.run("one", f"dhclient -1 -v {files} eth0")
    text = (tmp_path / "leases").read_text()
    address = re.findall(r"fixed-address (\S+);", text)[-1]
    try:
        assert leases(lab)[address]["state"] == "bound"
        assert "option domain-name-servers 10.0.1.53;" in text
        assert 'option domain-name "lab.example";' in text
        assert "option interface-mtu 1400;" in text
        assert "option dhcp-server-identifier 10.0.1.2;" in text
        lab.run("one", f"dhclient -1 -v {files} eth0")  # INIT-REBOOT
        assert re.findall(r"fixed-address (\S+);", (tmp_path / "leases").read_text())[-1] == address
    finally:
        lab.run("one", f"dhclient -r -v {files} eth0")
    until(lambda: leases(lab)[address]["state"] == "released")
    lab.run("one", "ip -4 address flush dev eth0")


def test_udhcpc_gives_its_address_back(lab: Lab, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\nenv >> {tmp_path}/told\n")
    script.chmod(0o700)
    lab.run("one", f"busybox udhcpc -f -q -n -R -i eth0 -s {script} -O staticroutes -r 10.0.1.105")
    told = (tmp_path / "told").read_text()

    assert "\nip=10.0.1.105\n" in told
    assert "\nstaticroutes=198.51.100.0/24 10.0.1.9\n" in told
    assert "\nrouter=" not in told
    assert leases(lab)["10.0.1.105"]["state"] in ("bound", "released")


def test_an_address_that_somebody_uses_is_not_offered(lab: Lab, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\nenv >> {tmp_path}/told\n")
    script.chmod(0o700)
    lab.run("one", "ip link add link eth0 name squatter type macvlan mode bridge")
    lab.run("one", "ip address add 10.0.1.104/24 dev squatter")
    lab.run("one", "ip link set squatter up")
    try:
        lab.run(
            "one", f"busybox udhcpc -f -q -n -R -i eth0 -s {script} -x 0x3d:00737175 -r 10.0.1.104"
        )
    finally:
        lab.run("one", "ip link delete squatter")
    (address,) = set(re.findall(r"\nip=(\S+)\n", (tmp_path / "told").read_text()))

    assert address != "10.0.1.104"
    assert leases(lab)["10.0.1.104"]["state"] == "declined"


def test_dhcpcd(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("noipv4ll\nnoarp\nclientid 00:64:68:63\n")
    lab.run("one", f"dhcpcd -4 -1 -B -f {tmp_path}/conf -c /bin/true -t 15 eth0")
    try:
        (lease,) = [row for row in leases(lab).values() if row["client_id"] == "00646863"]
        assert f"{lease['ip']}/24" in addresses(lab, "one")
    finally:
        lab.run("one", "ip -4 address flush dev eth0")


def test_perfdhcp_gets_all_that_it_asks_for(lab: Lab) -> None:
    """It says that it is a relay agent on the third subnet."""
    lab.run("one", "ip address replace 10.0.3.1/24 dev eth0")  # clients before have removed it
    done = lab.run("one", "perfdhcp -4 -l eth0 -r 100 -R 200 -n 200 -W 1000000", check=False)
    given = [row for row in leases(lab).values() if str(row["mac"]).startswith("00:0c:01")]

    assert exchanges(done.stdout) == {"DISCOVER-OFFER": (200, 200), "REQUEST-ACK": (200, 200)}
    assert [row["state"] for row in given] == ["bound"] * 200


def test_leases_survive_the_service_and_another_apply(lab: Lab) -> None:
    before = leases(lab)
    status = servicectl.ask(lab.name, "dhcp", "status")
    assert isinstance(status["pid"], int)
    kill(status["pid"])
    assert leases(lab) == before
    lab.edit("mtu: 1400", "mtu: 1380")
    lab.apply()
    assert leases(lab) == before
    assert lab.lines() == []


def test_a_lease_is_listed_and_released_by_hand(lab: Lab) -> None:
    shown = nfvctl("inspect", lab.name, "dhcp", "state=bound", "--format", "json")
    (row,) = [row for row in json.loads(shown.stdout) if row["hostname"] == "two"]
    done = nfvctl("tell", lab.name, "dhcp", "release", f"ip={row['ip']}")
    again = nfvctl("tell", lab.name, "dhcp", "release", f"ip={row['ip']}")

    assert (done.returncode, again.returncode) == (0, 3)
    assert "10.0.2.100" in done.stdout
    assert "no lease of 10.0.2.100 in force" in again.stderr
    events = (state.data(lab.name) / "dhcp" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in events if "10.0.2.100" in line] == [
        "bound",
        "released",
    ]


def test_a_client_that_renews_is_answered_on_the_fast_path(lab: Lab) -> None:
    """The first renewal is the service's to answer, the next are not."""
    script = Path(clientctl.__file__).with_name("udhcpc.sh")
    with netns.entered(lab.netns("one")):
        client = subprocess.Popen(
            ["busybox", "udhcpc", "-f", "-i", "eth0", "-s", script],
            stderr=subprocess.PIPE,
            text=True,
        )
    assert client.stderr is not None
    try:
        ends = []
        for _ in range(4):
            said = next(line for line in client.stderr if "obtained" in line)
            address = re.findall(r"lease of (\S+) obtained", said)[0]
            ends.append(str(leases(lab)[address]["ends"]))
            answered = lab.statistics().vnfs["dhcp"].ended.get("answered")
            client.send_signal(signal.SIGUSR1)
    finally:
        client.kill()
        client.communicate()
        lab.run("one", "ip -4 address flush dev eth0")

    assert answered is not None
    assert answered.packets >= 2
    assert ends == sorted(set(ends))  # each renewal is in the lease


def test_own_addresses_answer(lab: Lab) -> None:
    lab.run("one", "ip address replace 10.0.1.50/24 dev eth0")
    lab.run("one", "ping -c 1 -W 5 10.0.1.2")


def test_the_example_connects_its_hosts() -> None:
    with applied(example("dhcp"), "dhcp") as lab:
        until(lambda: addresses(lab, "guest") and addresses(lab, "printer"))
        assert addresses(lab, "printer") == ["10.0.3.7/24"]
        lab.run("guest", "ping -c 1 -W 5 192.0.2.254")
        lab.run("guest", "ping -c 1 -W 5 10.0.3.7")
        conf = resolving.path(lab.name, "guest")
        servers = ["nameserver 192.0.2.53", "nameserver 2001:db8:1::53"]
        own = [resolving.mark(lab.name, "guest"), "search lab.example", *servers]
        shown = ("exec", lab.name, "guest", "--", "cat", "/etc/resolv.conf")
        until(lambda: nfvctl(*shown).stdout.splitlines() == own)
        lab.edit("guest: {kind: host, dhcp: true}", "guest: {kind: host, ip: 10.0.1.99/24}")
        lab.apply()
        assert not clientctl.daemon(lab.name, "guest", 4).is_running()
        assert addresses(lab, "guest") == []
        assert not conf.exists()
        assert resolving.path(lab.name, "printer").exists()
        lab.destroy()
        assert snapshot.is_nothing(snapshot.take(lab.name))
        assert not state.data(lab.name).exists()
        assert not resolving.path(lab.name, "printer").parent.exists()


def test_a_resolv_conf_of_somebody_else_stays() -> None:
    with unapplied(example("dhcp"), "dhcp") as lab:
        conf = resolving.path(lab.name, "guest")
        conf.parent.mkdir(parents=True)
        conf.write_text("nameserver 192.0.2.1\n")
        try:
            lab.apply()
            until(lambda: addresses(lab, "guest"))
            lab.destroy()
            assert conf.read_text() == "nameserver 192.0.2.1\n"
        finally:
            shutil.rmtree(conf.parent)
