"""Routing by BIRD 2: router advertisements, BGP and OSPF of the function router."""
