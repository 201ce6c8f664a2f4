#!/bin/sh
# Called by dhclient with what it has got by DHCPv6: sets the address and name servers of the host.
# Routes are the router advertisements' to tell.
# shellcheck disable=SC2154 # the variables come from dhclient
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/resolv.sh"

leave() {
    [ -z "${old_ip6_address-}" ] || ip -6 address delete "$old_ip6_address/128" dev "$interface"
}

case "$reason" in
BOUND6 | RENEW6 | REBIND6)
    [ "${old_ip6_address-$new_ip6_address}" = "$new_ip6_address" ] || leave
    ip -6 address replace "$new_ip6_address/128" dev "$interface" \
        valid_lft "$new_max_life" preferred_lft "$new_preferred_life"
    servers=${new_dhcp6_name_servers-}
    [ -z "$servers" ] || resolve '^nameserver [^:]*$' "${new_dhcp6_domain_search-}" "$servers"
    ;;
EXPIRE6 | RELEASE6 | STOP6)
    leave
    ;;
esac
