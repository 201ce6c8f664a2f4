"""Processes that run as long as a topology is applied: the agent, services, DHCP clients."""
