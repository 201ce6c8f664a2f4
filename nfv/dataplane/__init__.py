"""The only package that touches the kernel: bpf(2), netlink, namespaces, the agent."""
