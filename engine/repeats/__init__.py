"""Repeated scans of one place: registered, added up, and what their sum carries (docs/dose.md)."""

from ptylive.engine.repeats.places import Places
from ptylive.engine.repeats.repeated_scan import RepeatedScan

__all__ = ["Places", "RepeatedScan"]
