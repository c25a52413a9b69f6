"""Scans in steps longer than half the resolution: their frequencies are aliases of finer ones."""
