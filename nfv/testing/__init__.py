"""Test cases for chains: what is replayed where, and what is expected where."""
