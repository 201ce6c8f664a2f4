"""The DNS server behind the function `dns`, pure from a query's bytes to its answer's."""
