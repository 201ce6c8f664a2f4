"""Measurements by the methods of the IETF benchmarking group: searches, results, reports."""
