"""A start object from a file: an earlier result, or PyPty's ``co.npy``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.tuning.warm_start import WarmStart
from ptylive.engine.stored_run import StoredRun
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import ComplexArray
from ptylive.schema.preset.start import StartSettings


def begun(problem: Problem, settings: StartSettings, earlier: WarmStart | None) -> Problem:
    """The problem beginning where an earlier refinement ended, or with the object of a file; else as it is."""
    if earlier is None and settings.start_object is not None:
        earlier = given_object(settings.start_object, problem)
    return problem if earlier is None else earlier.applied(problem)


def given_object(path: str, problem: Problem) -> WarmStart:
    """The object of a file; its slices and modes may be others than the problem's.

    A results file: its chosen run, where it lies among the positions. npy: PyPty's (Y, X, slices, modes), of pixels and
    a thickness like the problem's, laid with its middle on that of this object. Raises MetadataError, InputFileError.
    """
    if path.endswith(".npy"):
        transmission, pixel = _from_npy(path), problem.grid.pixel_A
        spare = (np.asarray(problem.grid.shape) - transmission.shape[2:]) // 2
        origin = problem.grid.origin_A + spare * pixel
        return WarmStart(transmission, pixel, (float(origin[0]), float(origin[1])), over_map=True)
    run = StoredRun.read(Path(path))
    return WarmStart(run.object, run.pixel_A, run.origin_A, slice_thickness_A=run.slice_thickness_A, over_map=True)


def _from_npy(path: str) -> ComplexArray:
    """(modes, slices, Y, X)."""
    try:
        stored = np.load(Path(path), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise MetadataError(f"start_object {path}: {error}", "give a npy file, or a results file") from None
    if stored.ndim != 4:
        raise MetadataError(f"start_object {path} has shape {stored.shape}", "PyPty's order is (Y, X, slices, modes)")
    return np.asarray(stored.transpose(3, 2, 0, 1), dtype=np.complex64)
