"""C sources of the fast path, what composes and compiles them, and builders of the tables they read."""
