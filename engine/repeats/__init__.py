"""Repeated scans of one place: registered and summed, and the information in their sum (docs/dose.md)."""

from ptylive.engine.repeats.places import Places
from ptylive.engine.repeats.repeated_scan import RepeatedScan

__all__ = ["Places", "RepeatedScan"]
