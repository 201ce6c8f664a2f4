"""Routing by BIRD 2: router advertisements of the function router, one process a router."""
