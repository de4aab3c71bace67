"""Metrics: pure functions on pixels."""
