"""DHCPv6: a server, and a relay agent (RFC 9915)."""
