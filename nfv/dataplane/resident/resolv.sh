# shellcheck shell=sh
# Read by the scripts of a host's DHCP clients: writes the name servers that one of them was told into
# $RESOLV_CONF, which is the project's if it begins with the line $RESOLV_MARK. What the client of the
# other IP version was told stays: that has colons in its addresses, or none.

is_own() { [ ! -e "$RESOLV_CONF" ] || [ "$(head -n 1 "$RESOLV_CONF")" = "$RESOLV_MARK" ]; }

resolve() { # resolve PATTERN DOMAINS SERVERS: PATTERN finds the other client's servers
    is_own || return 0
    mkdir -p "$(dirname "$RESOLV_CONF")"
    exec 9<"$(dirname "$RESOLV_CONF")"
    flock 9 # the other client waits
    others=$(grep "$1" "$RESOLV_CONF" 2>/dev/null || true)
    domains=${2:-$(sed -n 's/^search //p' "$RESOLV_CONF" 2>/dev/null || true)}
    servers=$(for server in $3; do echo "nameserver $server"; done)
    {
        echo "$RESOLV_MARK"
        [ -z "$domains" ] || echo "search $domains" | sed 's/\.\( \|$\)/\1/g'
        printf '%s\n' "$servers" "$others" | grep '^nameserver [^:]*$' || true
        printf '%s\n' "$servers" "$others" | grep '^nameserver .*:' || true
    } >"$RESOLV_CONF"
    exec 9<&-
}
