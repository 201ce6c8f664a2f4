"""Test cases of the functions: what real programs send, replayed, and what becomes of it."""
