"""Duration of a refinement on this machine: a few synthetic patterns are compared with their model."""

from __future__ import annotations

import math

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.memory import check_fits
from ptylive.engine.planning.depth import slices_for_plan
from ptylive.engine.planning.experiment import Experiment
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.validation.checks import expected_seconds
from ptylive.schema import Calibration, MetadataError, Origin, Quantity
from ptylive.schema.preset import Preset

SIDE, SMALLEST_SIDE = 8, 3
"""Points along a side of the small scan that is timed; fewer for large patterns."""
MOST_PIXELS = 2**24
"""Limit on the pixels of all its patterns."""
COUNTS, MOST_COUNTS = 1e4, 1e9
"""Counts of a pattern if the beam current is unknown, and their limit: the time does not depend on them."""


def refinement_seconds(experiment: Experiment, modes: int) -> float:
    """Return the seconds of a refinement by default settings on one core of this machine, without preceding trials.

    The first run on a machine also compiles for half a minute. Raises MetadataError for patterns that do not fit in
    memory, RefinementError for data that cannot be refined.
    """
    slices = slices_for_plan(experiment)
    depth = {"total_thickness_A": experiment.thickness_A} if slices > 1 else {}
    preset = Preset.from_mapping({"num_slices": slices, "probe_modes": modes, "start_from_map": False, **depth})
    return expected_seconds(math.prod(experiment.scan_shape), small_scan(experiment), preset, TrialContext("cpu"))


def small_scan(experiment: Experiment) -> Dataset:
    """Return a few points of the scan through an empty specimen, as counts. Raises MetadataError if too large."""
    rows, columns = experiment.detector_shape
    side = int(np.clip(math.isqrt(MOST_PIXELS // (rows * columns)), SMALLEST_SIDE, SIDE))
    check_fits(16.0 * side**2 * max(rows, columns) ** 2, "the patterns that are timed", "leave out the time")
    row, column = np.indices((rows, columns)) - np.array([rows // 2, columns // 2])[:, None, None]
    bright = np.hypot(row, column) * experiment.pixel_mrad <= experiment.semiangle_mrad
    mean = np.where(bright, _counts(experiment) / max(1, int(bright.sum())), 0.0)
    patterns = np.random.default_rng(0).poisson(mean, (side**2, rows, columns)).astype(np.float32)
    raster = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2)
    return Dataset(
        patterns,
        np.arange(side**2),
        raster @ experiment.cell_A.T,
        np.zeros((rows, columns), bool),
        np.array([rows // 2, columns // 2], dtype=float),
        (side, side),
        _calibration(experiment),
    )


def _counts(experiment: Experiment) -> float:
    try:
        return min(MOST_COUNTS, max(1.0, experiment.electrons_per_pattern))
    except MetadataError:
        return COUNTS


def _calibration(experiment: Experiment) -> Calibration:
    rows, columns = experiment.detector_shape
    given = {
        "energy_eV": experiment.header.optics.energy_eV,
        "convergence_semiangle_mrad": experiment.semiangle_mrad,
        "detector_pixel_invA": 1e-3 * experiment.pixel_mrad / experiment.wavelength_A,
        "C10": -experiment.defocus_A,
        "rotation_deg": 0.0,
        "beam_center_px": (rows // 2, columns // 2),
    }
    return Calibration({name: Quantity(value, Origin.GIVEN) for name, value in given.items()})
