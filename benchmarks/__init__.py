"""Packet rates of a service chain, of a bare XDP redirect and of Linux, measured in one run."""
