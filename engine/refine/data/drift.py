"""Drift of a scan, found before anything is reconstructed: there is no iterated object yet that could absorb it.

The lattice found from the patterns (:mod:`overlap_fit`) differs from the nominal one along both axes. A beam cannot
drift much within one line, so stretch and rotation found along the fast axis are errors of the method, mostly due to
multiple scattering, and are also subtracted from the slow axis; the rest is drift. A share of the subtracted part
is added to the uncertainty of the fit, which describes a parabola at the maximum. With strong scattering, or few
data, the likelihood has other maxima of similar height. If omitting the drift lowers the likelihood less than the
parabola predicts, the significance of the drift is reduced accordingly.

If the rotation was not given, the maps determined it as if there were no drift, and it absorbed half of a drift across
the slow axis: a rotation of the fast axis may then be an error of the maps, and is reported, too. Nor is an astigmatism
found by the maps trusted if the lattice contradicts it, because a shear looks like astigmatism.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.probe import Probe
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.data.overlap_fit import OverlapFit, Strain
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.schema.calibration import C12
from ptylive.schema.model import DoubleArray

SIGNIFICANCE = math.sqrt(-2 * math.log(0.05))
"""Standard deviations above which drift is applied: one in twenty scans without drift exceeds it."""
CONTRADICTED = 3.0
"""Standard deviations by which the lattice must contradict the astigmatism found before that is discarded:
with a correct astigmatism the drift is found half again as exactly."""
HINT = 1.0
"""Standard deviations from which a drift is possible."""
UNSURE = 0.1
"""Share of the method's own error, measured on the fast axis, that may remain on the slow axis."""
COARSEST = 1.5
"""Steps above this many resolutions (wavelength over semi-angle) alias frequencies of the bright field onto each other,
over more than the neighbouring aliases that the fit considers."""
HARMLESS = 0.1
"""Drift below this share of the resolution (wavelength over semi-angle) is ignored, however certain."""

MOST_STRAIN = 0.2
"""Drift above this share of the scan's length along its slow axis is rejected: the fit has confused neighbouring
frequencies. None of the scans of the zoo drifts by a tenth."""


@dataclass(frozen=True)
class Drift:
    """Result of the search; vectors along (slow, fast) axis of the scan, Å over the whole acquisition."""

    drift_A: tuple[float, float]
    uncertainty_A: tuple[float, float]
    defocus_A: float
    """Defocus fitted along with it, underfocus positive; so is the focal spread."""
    focal_spread_A: float
    applied: bool
    """Whether the positions are corrected for it."""
    reason: str
    """The finding in words, and whether it is applied."""
    deviations: float = 0.0
    """Size of the drift in standard deviations; 0 if it is too small to matter, or the fit has no maximum."""
    turn_deg: float = 0.0
    """Rotation to add so that the scan is aligned with the lattice's fast axis; 0 if the rotation was given."""
    turn_uncertainty_deg: float = 0.0


def find_drift(dataset: Dataset, window: ScanWindow, probe: Probe, *, certain: bool = True) -> Drift | None:
    """Find the drift of a scan; None if positions are no lattice or too far apart, or too few frequencies have signal.

    ``certain``: apply it only if chance alone would hardly show as much; otherwise if it exceeds its uncertainty.
    """
    lattice = Lattice.of(dataset)
    if lattice is None or is_too_coarse(lattice, probe.semiangle_invA):
        return None
    fit = OverlapFit(dataset, window, probe, lattice)
    is_found = any(dataset.calibration.is_found(name) for name in C12)
    if (strain := fit.fit(stated=not is_found)) is None:
        return None
    if is_found and strain.astigmatism_off < CONTRADICTED and not dataset.calibration.astigmatism_is_doubted:
        strain = fit.fit() or strain
    drift, covariance, deviations = _drift_in(strain, fit, lattice, probe)
    applied = deviations > (SIGNIFICANCE if certain else HINT)
    uncertainty = np.sqrt(np.diag(covariance))
    outcome = "corrected" if applied else f"{_why_not(drift, strain, lattice)}, not corrected"
    numbers = ", ".join(f"{value:z.2f} ± {sd:.2f}" for value, sd in zip(drift, uncertainty, strict=True))
    turn_deg, turn_uncertainty_deg = _turn(dataset, lattice, strain)
    return Drift(
        drift_A=(float(drift[0]), float(drift[1])),
        uncertainty_A=(float(uncertainty[0]), float(uncertainty[1])),
        defocus_A=strain.defocus_A,
        focal_spread_A=strain.focal_spread_A,
        applied=applied,
        reason=f"drift ({numbers}) Å along slow and fast axis: {outcome}",
        deviations=deviations,
        turn_deg=turn_deg,
        turn_uncertainty_deg=turn_uncertainty_deg,
    )


def is_too_coarse(lattice: Lattice, semiangle_invA: float) -> bool:
    """Whether the steps of a scan are too far apart for its patterns to show a drift before anything is refined."""
    return bool(max(np.hypot(*lattice.slow), np.hypot(*lattice.fast)) > COARSEST / semiangle_invA)


def _drift_in(
    strain: Strain, fit: OverlapFit, lattice: Lattice, probe: Probe
) -> tuple[DoubleArray, DoubleArray, float]:
    """The drift (2,) in a strain, Å along (slow, fast) axis, its covariance (2, 2), its size in standard deviations."""
    # the slow axis' end, minus the rotation and stretch that the fast axis' end implies for it
    ratio = lattice.lengths_A[0] / lattice.lengths_A[1]
    projection = np.array([[1, 0, 0, -ratio], [0, 1, ratio, 0]])
    drift = projection @ strain.ends_A
    unsure_A = UNSURE * ratio * float(np.hypot(*strain.ends_A[2:]))
    covariance = projection @ strain.covariance_A2 @ projection.T + unsure_A**2 * np.eye(2)
    deviations = math.sqrt(max(float(drift @ np.linalg.pinv(covariance) @ drift), 0.0))
    size_A = float(np.hypot(*drift))
    plausible = HARMLESS / probe.semiangle_invA < size_A < MOST_STRAIN * lattice.lengths_A[0]
    deviations = deviations if strain.is_maximum and plausible else 0.0
    if deviations > HINT:
        rigid = np.array([[0, ratio], [-ratio, 0], [1, 0], [0, 1]])  # ends without any drift
        deviations *= math.sqrt(min(max(fit.share_of(strain, rigid), 0.0), 1.0))
    return drift, covariance, deviations


def _why_not(drift: DoubleArray, strain: Strain, lattice: Lattice) -> str:
    """Why a drift (2,) in Å is not corrected, in words."""
    if float(np.hypot(*drift)) >= MOST_STRAIN * lattice.lengths_A[0]:
        return "too large to be true"
    return "not significant" if strain.is_maximum else "not found reliably"


def _turn(dataset: Dataset, lattice: Lattice, strain: Strain) -> tuple[float, float]:
    """Rotation of the fast axis and its uncertainty (degrees); zeros if the rotation was given."""
    if not dataset.calibration.is_found("rotation_deg"):
        return 0.0, 0.0
    ends = lattice.fast, lattice.strained(strain.ends_A[:2], strain.ends_A[2:]).fast
    nominal, measured = (math.atan2(column, row) for row, column in ends)
    across_A = math.sqrt(max(float(strain.covariance_A2[2, 2]), 0.0))
    return math.degrees(math.remainder(measured - nominal, math.tau)), math.degrees(across_A / lattice.lengths_A[1])


def taken_A(drift: Drift | None) -> tuple[float, float]:
    """Drift that is removed from the positions, along (slow, fast) axis."""
    return (0.0, 0.0) if drift is None or not drift.applied else drift.drift_A


def without_drift(dataset: Dataset, drift: Drift) -> Dataset:
    """The data set with positions corrected for a linear drift in time; the mean of the positions is preserved."""
    lattice = Lattice.of(dataset)
    if lattice is None:
        return dataset
    time = acquisition_time(dataset)
    moved = np.outer(time - time.mean(), lattice.axes @ np.asarray(taken_A(drift)))
    return replace(dataset, positions_A=dataset.positions_A + moved)


def acquisition_time(dataset: Dataset) -> DoubleArray:
    """Acquisition time of each pattern (N,), as a share of the scan with gaps; rows may alternate in direction."""
    rows, columns = np.divmod(dataset.point, dataset.scan_shape[1])
    width = dataset.scan_shape[1]
    backwards = np.zeros(dataset.scan_shape[0], dtype=bool)
    column_steps = np.diff(columns)[np.diff(rows) == 0]
    backwards[rows[:-1][np.diff(rows) == 0][column_steps < 0]] = True
    place_in_row = np.where(backwards[rows], width - 1 - columns, columns)
    return np.asarray((rows * width + place_in_row + 0.5) / (dataset.scan_shape[0] * width))
