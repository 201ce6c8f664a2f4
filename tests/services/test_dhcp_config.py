"""What the checks of a dhcp function's configuration say."""

from __future__ import annotations

import pytest

from nfv.errors import TopologyError
from nfv.services.dhcp.options import CODES, CustomOption, Options
from nfv.services.dhcp.values import contents
from nfv.services.dhcp6.options import CODES as CODES6
from nfv.services.dhcp6.options import Options6
from tests.services.dhcpbed import function

SUBNET = "network: 10.0.1.0/24"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("ip: 10.0.1.2/24", "a server needs subnets"),
        ("ip: 10.0.1.2/24\nmode: relay", "a relay needs servers"),
        (
            f"ip: 10.0.1.2/24\nmode: relay\nservers: 10.0.9.2\nsubnets: [{{{SUBNET}}}]",
            "mode: relay has no subnets",
        ),
        (
            f"ip: 10.0.1.2/24\ngateway: 10.0.1.1\nsubnets: [{{{SUBNET}}}]",
            "mode: server has no gateway",
        ),
        (
            "ip: 10.0.1.2/24\nmode: relay\nservers: 10.0.9.2\ngateway: 10.0.2.1",
            "10.0.2.1 is in no connected subnet",
        ),
        (
            f"ip: 10.0.1.2/24\nrenew: 900\nrebind: 600\nsubnets: [{{{SUBNET}}}]",
            "must follow each other in time",
        ),
        (f"ip: 2001:db8::1/64\nsubnets: [{{{SUBNET}}}]", "no address of IPv4"),
        (
            f"ip: 10.0.1.2/24\nsubnets: [{{{SUBNET}, pools: [{{range: 10.0.2.1-10.0.2.9}}]}}]",
            "is not within 10.0.1.0/24",
        ),
        (
            f"ip: 10.0.1.2/24\nsubnets: [{{{SUBNET}, pools: [{{range: 10.0.1.0-10.0.1.9}}]}}]",
            "are no host's addresses",
        ),
        (
            f"ip: 10.0.1.2/24\nsubnets: [{{{SUBNET}, pools: [{{range: 10.0.1.9-10.0.1.5}}]}}]",
            "ends before it begins",
        ),
        (
            f"ip: 10.0.1.2/24\nsubnets: [{{{SUBNET}}}, {{network: 10.0.0.0/16}}]",
            "overlaps 10.0.1.0/24",
        ),
        (
            f"ip: 10.0.1.2/24\nsubnets: [{{{SUBNET}, reservations: [{{ip: 10.0.1.9}}]}}]",
            "is reserved for nobody",
        ),
        (
            f"ip: 10.0.1.2/24\nsubnets: [{{{SUBNET}, reservations: "
            "[{ip: 10.0.1.2, client_id: a}]}]",
            "is the function's own address",
        ),
        (
            f"ip: 10.0.1.2/24\nsubnets: [{{{SUBNET}, chains: insde}}]",
            "'insde' is no chain that this function stands in",
        ),
        (
            f"ip: 10.0.1.2/24\nsubnets: [{{{SUBNET}}}]\n"
            "custom: [{code: 53, type: uint8, value: 1}]",
            "option 53 is the protocol's own",
        ),
        (
            f"ip: 10.0.1.2/24\nsubnets: [{{{SUBNET}}}]\n"
            "custom: [{code: 224, type: uint8, value: 256}]",
            "cannot be sent as uint8",
        ),
    ],
)
def test_what_is_wrong_is_said(lines: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        function(f"type: dhcp\n{lines}")

    assert any(message in problem.message for problem in caught.value.problems)


def test_every_named_option_is_sent() -> None:
    assert CODES.keys() == Options.model_fields.keys()
    assert len({code for code, _ in CODES.values()}) == len(CODES)


@pytest.mark.parametrize(
    ("name", "value", "content"),
    [
        ("routers", ["10.0.1.1", "10.0.1.2"], "0a000101 0a000102"),
        ("time_offset", -3600, "fffff1f0"),
        ("mtu", 1400, "0578"),
        (
            "search",
            ["lab.example", "example.org"],
            "036c6162076578616d706c6500 076578616d706c65036f726700",
        ),
        ("sip", "10.0.1.1", "01 0a000101"),
        ("ipv6_only", 1800, "00000708"),
        ("vendor", "01:02:ff", "0102ff"),
        ("boot_file", "a.efi", "612e656669"),
        (
            "vendor_options",
            [
                {"enterprise": 4491, "options": [{"code": 2, "type": "ip", "value": "10.0.1.5"}]},
                {"enterprise": 9, "options": [{"code": 1, "type": "text", "value": "a"}] * 2},
            ],
            "0000118b 06 02 04 0a000105 00000009 06 01 01 61 01 01 61",
        ),
        ("static_routes", [{"to": "10.17.0.0/16", "via": "10.0.1.1"}], "10 0a11 0a000101"),
    ],
)
def test_options_are_sent_as_their_standards_say(name: str, value: object, content: str) -> None:
    options = Options.model_validate({name: value})

    assert contents(options, CODES, ()) == {CODES[name][0]: bytes.fromhex(content)}


def test_every_named_option_of_dhcpv6_is_sent() -> None:
    assert CODES6.keys() == Options6.model_fields.keys()
    assert len({code for code, _ in CODES6.values()}) == len(CODES6)


@pytest.mark.parametrize(
    ("name", "value", "content"),
    [
        ("dns", ["2001:db8::1"], "20010db8000000000000000000000001"),
        ("search", ["lab.example"], "036c6162076578616d706c6500"),
        ("ntp", "2001:db8::1", "0001 0010 20010db8000000000000000000000001"),
        ("sol_max_rt", 600, "00000258"),
        ("boot_file", "a", "61"),
    ],
)
def test_options_of_dhcpv6_are_sent_as_their_standards_say(
    name: str, value: object, content: str
) -> None:
    options = Options6.model_validate({name: value})

    assert contents(options, CODES6, ()) == {CODES6[name][0]: bytes.fromhex(content)}


SUBNET6 = "network: 2001:db8:1::/64"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("subnets: [{network: 10.0.1.0/24}]", "is not an IPv6 prefix"),
        (f"subnets: [{{{SUBNET6}}}, {{{SUBNET6}}}]", "overlaps 2001:db8:1::/64"),
        (f"subnets: [{{{SUBNET6}, pools: [{{range: '2001:db8:2::1'}}]}}]", "is not within"),
        (f"subnets: [{{{SUBNET6}, pools: [{{range: '2001:db8:1::'}}]}}]", "is every router's"),
        (
            f"subnets: [{{{SUBNET6}, pools: [{{range: '2001:db8:1::9-2001:db8:1::1'}}]}}]",
            "ends before it begins",
        ),
        (
            f"subnets: [{{{SUBNET6}, delegate: [{{within: '2001:db8::/56', length: 48}}]}}]",
            "a prefix of 48 bits is larger",
        ),
        (f"subnets: [{{{SUBNET6}, reservations: [{{ip: '2001:db8:1::9'}}]}}]", "for nobody"),
        (f"subnets: [{{{SUBNET6}, reservations: [{{duid: a}}]}}]", "a reservation of nothing"),
        (f"subnets: [{{{SUBNET6}, chains: insde}}]", "'insde' is no chain"),
        ("custom: [{code: 3, type: uint8, value: 1}]", "option 3 is the protocol's own"),
    ],
)
def test_what_is_wrong_with_dhcpv6_is_said(keys: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        function(f"type: dhcp\nip: 2001:db8:1::2/64\nipv6:\n  {keys}")

    assert any(message in problem.message for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("kind", "value", "content"),
    [
        ("ip", ["10.0.1.1", "10.0.1.2"], "0a000101 0a000102"),
        ("uint8", 7, "07"),
        ("uint16", [1, 2], "0001 0002"),
        ("uint32", 4011, "00000fab"),
        ("text", "x", "78"),
        ("domains", "lab.example", "036c6162076578616d706c6500"),
        ("hex", "ca:fe", "cafe"),
    ],
)
def test_custom_options(kind: str, value: object, content: str) -> None:
    option = CustomOption.model_validate({"code": 224, "type": kind, "value": value})

    assert option.content() == bytes.fromhex(content)


def test_identifiers_that_are_no_text_can_be_written_as_json() -> None:
    """As `plan` does, to say what differs."""
    found = function(
        f"type: dhcp\nip: 10.0.1.2/24\noptions: {{vendor: ff}}\nsubnets:\n"
        f'  - {{{SUBNET}, reservations: [{{remote_id: "0xff", ip: 10.0.1.9}}]}}'
    )
    text = found.config.model_dump_json(warnings=False)

    assert text.count('"ff"') == 2
