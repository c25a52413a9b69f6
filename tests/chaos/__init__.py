"""Chaos runs: a real server under faults of every kind, and what must hold afterwards (docs/testing.md)."""
