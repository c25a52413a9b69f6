"""Multislice ptychography: object and probe refined on recorded patterns (docs/refinement.md)."""

from ptylive.engine.refine.results import Preview, Progress, RefineResult, StartGuess
from ptylive.engine.refine.run import refine

__all__ = ["Preview", "Progress", "RefineResult", "StartGuess", "refine"]
