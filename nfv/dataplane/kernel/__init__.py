"""What the kernel is asked by: bpf(2), netlink, namespaces, taps."""
