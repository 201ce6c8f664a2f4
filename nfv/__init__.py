"""Network functions virtualization: YAML-declared service chains on an XDP fast path."""

__version__ = "0.1.0"
