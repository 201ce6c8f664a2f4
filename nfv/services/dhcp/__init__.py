"""The service of the dhcp function: DHCPv4 (RFC 2131)."""
