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
    """The object of a file, with the probe the problem begins with.

    A results file: its chosen run, where it lies among the positions. npy: PyPty's (Y, X, slices, modes), laid with its
    middle on that of this object. Raises MetadataError for another number of slices or modes, InputFileError.
    """
    pixel, probe = problem.grid.pixel_A, np.fft.ifft2(problem.layout.to_complex(problem.start)[1], norm="ortho")
    if path.endswith(".npy"):
        transmission = _from_npy(path)
        spare = (np.asarray(problem.grid.shape) - transmission.shape[2:]) // 2
        origin = problem.grid.origin_A + spare * pixel
        start = WarmStart(transmission, pixel, (float(origin[0]), float(origin[1])), probe.astype(np.complex64))
    else:
        run = StoredRun.read(Path(path))
        start = WarmStart(run.object, run.pixel_A, run.origin_A, probe.astype(np.complex64))
    wanted = (problem.layout.object_modes, problem.layout.object_shape[0])
    if start.object.shape[:2] != wanted:
        modes, slices = start.object.shape[:2]
        raise MetadataError(
            f"start_object {path} has {slices} slices and {modes} modes",
            f"this refinement has {wanted[1]} and {wanted[0]}",
        )
    return start


def _from_npy(path: str) -> ComplexArray:
    """(modes, slices, Y, X)."""
    try:
        stored = np.load(Path(path), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise MetadataError(f"start_object {path}: {error}", "give a npy file, or a results file") from None
    if stored.ndim != 4:
        raise MetadataError(f"start_object {path} has shape {stored.shape}", "PyPty's order is (Y, X, slices, modes)")
    return np.asarray(stored.transpose(3, 2, 0, 1), dtype=np.complex64)
