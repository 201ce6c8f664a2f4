"""nfvctl: one module a verb, which defines it as `command`."""
