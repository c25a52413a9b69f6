"""Multislice ptychography: object and probe refined on recorded patterns (docs/refinement.md)."""

from ptylive.engine.refine.checks import Checks, check
from ptylive.engine.refine.curve import Curve, Scanned
from ptylive.engine.refine.results import Preview, Progress, RefineResult, StartGuess
from ptylive.engine.refine.ring_correlation import Validation
from ptylive.engine.refine.run import refine
from ptylive.engine.refine.scans import scan
from ptylive.engine.refine.trial import Bench
from ptylive.engine.refine.validation import validate

__all__ = [
    "Bench",
    "Checks",
    "Curve",
    "Preview",
    "Progress",
    "RefineResult",
    "Scanned",
    "StartGuess",
    "Validation",
    "check",
    "refine",
    "scan",
    "validate",
]
