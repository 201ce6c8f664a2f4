"""C sources of the fast path, what composes and compiles them, and what builds their tables."""
