"""A router's routes and neighbours, followed from Linux into the tables that its C reads."""
