#!/bin/sh
# Called by udhcpc with what it has got: sets the address and routes of $interface, and the name servers
# in $RESOLV_CONF, which is the project's if it begins with the line $RESOLV_MARK.
# shellcheck disable=SC2154 # the variables come from udhcpc
set -eu

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

is_own() { [ ! -e "$RESOLV_CONF" ] || [ "$(head -n 1 "$RESOLV_CONF")" = "$RESOLV_MARK" ]; }

resolve() {
    is_own || return 0
    mkdir -p "$(dirname "$RESOLV_CONF")"
    {
        echo "$RESOLV_MARK"
        [ -z "${search-}${domain-}" ] || echo "search ${search-$domain}"
        for server in $dns; do
            echo "nameserver $server"
        done
    } >"$RESOLV_CONF"
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
    [ -z "${dns-}" ] || resolve
    ;;
esac
