#!/bin/sh
# run-dhclient6.sh DIRECTORY DEVICE: asks by DHCPv6 until told to end, then gives the address back.
# DIRECTORY has the configuration, and gets the lease. $RESOLV_CONF and $RESOLV_MARK are for resolv.sh.
set -eu
directory=$1
device=$2
script=$(dirname "$0")/dhclient6.sh

ask() { # ask OPTION: -d to go on asking, -r to give back
    exec setpriv --pdeathsig TERM dhclient -6 "$1" -D LL -cf "$directory/dhclient.conf" \
        -lf "$directory/leases" -pf "$directory/dhclient.pid" -sf "$script" \
        -e "RESOLV_CONF=$RESOLV_CONF" -e "RESOLV_MARK=$RESOLV_MARK" "$device"
}

give_back() {
    trap - TERM
    kill "$client"
    wait "$client" || true
    (ask -r)
    exit 0
}

trap give_back TERM
(ask -d) &
client=$!
wait "$client"
