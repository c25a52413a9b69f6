"""Receives scans from detectors and other senders, and records every frame before anything is computed from it."""
