"""Multislice ptychography: object and probe refined on recorded patterns (docs/refinement.md)."""

from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.results.curve import Curve, Scanned
from ptylive.engine.refine.results.refinement_result import Preview, Progress, RefineResult
from ptylive.engine.refine.results.ring_correlation import Validation
from ptylive.engine.refine.run.run import refine
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.parameter_search import scan
from ptylive.engine.refine.validation.checks import Checks, check
from ptylive.engine.refine.validation.validation import validate

__all__ = [
    "Checks",
    "Curve",
    "Preview",
    "Progress",
    "RefineResult",
    "Scanned",
    "StartGuess",
    "TrialContext",
    "Validation",
    "check",
    "refine",
    "scan",
    "validate",
]
