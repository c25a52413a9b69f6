"""Multislice ptychography: refinement of object and probe from recorded patterns (docs/refinement.md).

From a data set to the result there are five stages, the lines of ``run/run.py``:

    tune      short trials decide orientation, optics, depth, regime, form and probe modes (docs/automatic)
    measure   the patterns in the coordinates of the model, with probe and statistics    -> Measurement
    decide    every ``auto`` gets its value from the statistics                          -> Strategy
    lay out   grid, forward model, parameter vector and its start, terms of the loss     -> Problem
    run       sweeps, then L-BFGS, on a backend                                          -> Refinement

Public names are loaded on first use: listing the regularisers, for example, needs none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptylive.engine.refine.data.start_guess import StartGuess as StartGuess
    from ptylive.engine.refine.results.curve import Curve as Curve
    from ptylive.engine.refine.results.curve import Scanned as Scanned
    from ptylive.engine.refine.results.refinement_result import Preview as Preview
    from ptylive.engine.refine.results.refinement_result import Progress as Progress
    from ptylive.engine.refine.results.refinement_result import RefineResult as RefineResult
    from ptylive.engine.refine.results.ring_correlation import Validation as Validation
    from ptylive.engine.refine.run.run import refine as refine
    from ptylive.engine.refine.run.run import settle as settle
    from ptylive.engine.refine.tuning.held_out import TrialContext as TrialContext
    from ptylive.engine.refine.tuning.parameter_search import measure_curve as measure_curve
    from ptylive.engine.refine.validation.checks import Checks as Checks
    from ptylive.engine.refine.validation.checks import check as check
    from ptylive.engine.refine.validation.validation import validate as validate

_HOMES = {
    "Checks": "ptylive.engine.refine.validation.checks",
    "Curve": "ptylive.engine.refine.results.curve",
    "Preview": "ptylive.engine.refine.results.refinement_result",
    "Progress": "ptylive.engine.refine.results.refinement_result",
    "RefineResult": "ptylive.engine.refine.results.refinement_result",
    "Scanned": "ptylive.engine.refine.results.curve",
    "StartGuess": "ptylive.engine.refine.data.start_guess",
    "TrialContext": "ptylive.engine.refine.tuning.held_out",
    "Validation": "ptylive.engine.refine.results.ring_correlation",
    "check": "ptylive.engine.refine.validation.checks",
    "measure_curve": "ptylive.engine.refine.tuning.parameter_search",
    "refine": "ptylive.engine.refine.run.run",
    "settle": "ptylive.engine.refine.run.run",
    "validate": "ptylive.engine.refine.validation.validation",
}
__all__ = [*_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Load a public name on first use. Raises AttributeError for any other."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ptylive.engine.refine' has no attribute {name!r}")
    attribute = getattr(import_module(_HOMES[name]), name)
    globals()[name] = attribute
    return attribute
