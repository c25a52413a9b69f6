"""A start object from a file: an earlier result, from this or another program, or PyPty's ``co.npy``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ptylive.engine.earlier_results.earlier_result import EarlierResult
from ptylive.engine.earlier_results.formats import read_earlier
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.tuning.start.start_images import from_images
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.schema.errors import MetadataError
from ptylive.schema.files.npy import read_npy
from ptylive.schema.model import ComplexArray
from ptylive.schema.preset.start import StartSettings

MOST_APART = 20.0
"""Maximum ratio between the pixels of an earlier object and this one: beyond it, a unit is wrong."""


def with_start(problem: Problem, settings: StartSettings, warm_start: WarmStart | None) -> Problem:
    """Start from an earlier refinement, or from a given object or images; otherwise leave the problem as it is."""
    if warm_start is None and settings.start_object is not None:
        warm_start = given_object(settings.start_object, problem)
    elif warm_start is None:
        warm_start = from_images(settings, problem)
    if warm_start is None:
        return problem
    return replace(warm_start, depth_A=warm_start.depth_A + settings.start_depth_A).applied(problem)


def given_object(path: str, problem: Problem) -> WarmStart:
    """Read the object of a file; its slices and modes may differ from the problem's.

    A result of this program or another is placed where it lies among the positions. npy: PyPty's (Y, X, slices, modes),
    with pixels and a thickness like the problem's, centred on the middle of this object. Raises MetadataError,
    InputFileError.
    """
    if path.endswith(".npy"):
        transmission = _from_npy(path)
        return _in_the_middle(transmission, problem.grid.pixel_A, problem)
    earlier = read_earlier(Path(path))
    transmission, pixel_A = earlier.require_object(path)
    if not 1 / MOST_APART < pixel_A / problem.grid.pixel_A < MOST_APART:
        raise MetadataError(
            f"start_object {path} ({earlier.program}) has pixels of {pixel_A:.3g} Å, this object of "
            f"{problem.grid.pixel_A:.3g} Å",
            "do they belong to the same scan?",
        )
    origin = _origin_A(earlier, problem)
    if origin is None:
        return _in_the_middle(transmission, pixel_A, problem, earlier.slice_thickness_A)
    return WarmStart(transmission, pixel_A, origin, slice_thickness_A=earlier.slice_thickness_A, over_map=True)


def _origin_A(earlier: EarlierResult, problem: Problem) -> tuple[float, float] | None:
    """Position of its pixel (0, 0) among the problem's positions; None if it does not say.

    Frames of other programs have another origin: the mean over the same scan points gives the shift or, for another
    number of points, the middle of the field that they cover.
    """
    if earlier.in_our_frame:
        return earlier.origin_A
    theirs, ours, point = earlier.positions_A, problem.positions_A, problem.measured.dataset.point
    if theirs is None or not len(theirs):
        return None
    if len(theirs) == int(np.prod(problem.measured.dataset.scan_shape)):
        moved = (ours - theirs[point]).mean(axis=0)
    else:
        moved = (ours.min(axis=0) + ours.max(axis=0) - theirs.min(axis=0) - theirs.max(axis=0)) / 2
    row, col = np.asarray(earlier.origin_A) + moved
    return float(row), float(col)


def _in_the_middle(
    transmission: ComplexArray, pixel_A: float, problem: Problem, thickness_A: tuple[float, ...] = ()
) -> WarmStart:
    spare_A = np.asarray(problem.grid.shape) * problem.grid.pixel_A - np.asarray(transmission.shape[2:]) * pixel_A
    offset_A = np.trunc(spare_A / 2 / problem.grid.pixel_A) * problem.grid.pixel_A
    origin = problem.grid.origin_A + offset_A
    return WarmStart(
        transmission, pixel_A, (float(origin[0]), float(origin[1])), slice_thickness_A=thickness_A, over_map=True
    )


def _from_npy(path: str) -> ComplexArray:
    """Read an array (modes, slices, Y, X)."""
    stored = read_npy("start_object", path, "give an npy file, or a results file")
    if stored.ndim != 4:
        raise MetadataError(f"start_object {path} has shape {stored.shape}", "PyPty's order is (Y, X, slices, modes)")
    return np.asarray(stored.transpose(3, 2, 0, 1), dtype=np.complex64)
