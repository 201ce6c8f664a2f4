"""Frames sent into chains and counted where they leave: replay and measurement."""
