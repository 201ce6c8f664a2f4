#!/bin/sh
# Called by udhcpc with what it has got: sets the address, routes and name servers of the host.
# shellcheck disable=SC2154 # the variables come from udhcpc
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/resolv.sh"

routes() { # pairs of destination and next hop
    while [ $# -ge 2 ]; do
        if [ "$2" = 0.0.0.0 ]; then
            ip route replace "$1" dev "$interface" scope link proto dhcp
        else
            ip route replace "$1" via "$2" dev "$interface" proto dhcp
        fi
        shift 2
    done
}

case "$1" in
deconfig)
    ip link set dev "$interface" up
    ip -4 address flush dev "$interface"
    ;;
bound | renew)
    for old in $(ip -4 -o address show dev "$interface" | awk '{print $4}'); do
        [ "$old" = "$ip/$mask" ] || ip address delete "$old" dev "$interface"
    done
    ip address replace "$ip/$mask" dev "$interface" valid_lft "$lease" preferred_lft "$lease"
    if [ -n "${staticroutes-}" ]; then
        # shellcheck disable=SC2086 # a list of words
        routes $staticroutes
    elif [ -n "${router-}" ]; then
        routes 0.0.0.0/0 "${router%% *}"
    fi
    [ -z "${dns-}" ] || resolve '^nameserver .*:' "${search-${domain-}}" "$dns"
    ;;
esac
