"""Drift of a scan, found before anything is reconstructed: no object is iterated, so none can absorb it.

The lattice that the patterns show (:mod:`overlap_fit`) differs from the nominal one along both axes. A beam cannot
drift much within one line, so stretch and rotation found along the fast axis are errors of the method, of multiple
scattering for the most part, and are taken from the slow axis too; what is left is drift. A share of what was taken
away counts as uncertain besides what the fit says of itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.probe import Probe
from ptylive.engine.refine.data.overlap_fit import OverlapFit
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.schema.model import DoubleArray

SIGNIFICANCE = math.sqrt(-2 * math.log(0.05))
"""Standard deviations that drift exceeds where it is applied: of scans without drift one in twenty does."""
UNSURE = 0.1
"""Share of the method's own error, as the fast axis shows it, that may be left on the slow axis."""
HARMLESS = 0.1
"""Drift below this share of the resolution (wavelength over semi-angle) is left alone, however certain."""
REGULAR = 0.02
"""Largest deviation of nominal positions from a lattice, in steps."""
SMALLEST_SCAN = 16


@dataclass(frozen=True)
class Drift:
    """What was found; vectors along (slow, fast) axis of the scan, Å over the whole acquisition."""

    drift_A: tuple[float, float]
    uncertainty_A: tuple[float, float]
    defocus_A: float
    focal_spread_A: float
    applied: bool
    reason: str


@dataclass(frozen=True)
class Lattice:
    """A scan on a lattice: position = first + row * slow + col * fast, Å in the detector frame."""

    shape: tuple[int, int]
    slow: DoubleArray
    fast: DoubleArray

    @classmethod
    def of(cls, dataset: Dataset) -> Lattice | None:
        """The lattice of the nominal positions; None where they do not form one or the scan is tiny."""
        rows, columns = np.divmod(dataset.point, dataset.scan_shape[1])
        if min(dataset.scan_shape) < SMALLEST_SCAN:
            return None
        design = np.column_stack([np.ones(len(rows)), rows, columns])
        solution, _, rank, _ = np.linalg.lstsq(design, dataset.positions_A, rcond=None)
        step = min(np.hypot(*solution[1]), np.hypot(*solution[2]))
        if rank < 3 or np.abs(design @ solution - dataset.positions_A).max() > REGULAR * step:
            return None
        return cls(dataset.scan_shape, solution[1], solution[2])

    @property
    def lengths_A(self) -> tuple[float, float]:
        """Extent along both axes."""
        return self.shape[0] * float(np.hypot(*self.slow)), self.shape[1] * float(np.hypot(*self.fast))

    @property
    def axes(self) -> DoubleArray:
        """Columns: unit vectors of the slow and the fast axis in the detector frame."""
        return np.column_stack([self.slow / np.hypot(*self.slow), self.fast / np.hypot(*self.fast)])

    def strained(self, slow_A: DoubleArray, fast_A: DoubleArray) -> Lattice:
        """The lattice with its ends displaced by vectors given along its own axes."""
        slow = self.slow + self.axes @ slow_A / self.shape[0]
        return Lattice(self.shape, slow, self.fast + self.axes @ fast_A / self.shape[1])

    def frequencies(self, orders: DoubleArray) -> DoubleArray:
        """Scan frequencies (n, 2), 1/Å, of orders (n, 2) in cycles per scan."""
        cycles = orders / np.asarray(self.shape)
        return np.asarray(cycles @ np.linalg.inv(np.column_stack([self.slow, self.fast])))


def find_drift(dataset: Dataset, window: ScanWindow, probe: Probe, *, certain: bool = True) -> Drift | None:
    """The drift of a scan; None where the positions are no lattice, or too few frequencies show anything.

    ``certain``: to be applied where chance alone would hardly show as much; otherwise where it exceeds its uncertainty.
    """
    lattice = Lattice.of(dataset)
    strain = None if lattice is None else OverlapFit(dataset, window, probe, lattice).fit()
    if lattice is None or strain is None:
        return None
    # (slow, fast) of the drift: the slow axis' end, less what turning and stretching the fast axis' end on it gives
    ratio = lattice.lengths_A[0] / lattice.lengths_A[1]
    taken = np.array([[1, 0, 0, -ratio], [0, 1, ratio, 0]])
    drift = taken @ strain.ends_A
    unsure_A = UNSURE * ratio * float(np.hypot(*strain.ends_A[2:]))
    covariance = taken @ strain.covariance_A2 @ taken.T + unsure_A**2 * np.eye(2)
    deviations = math.sqrt(max(float(drift @ np.linalg.pinv(covariance) @ drift), 0.0))
    large = float(np.hypot(*drift)) > HARMLESS / probe.semiangle_invA
    applied = strain.is_maximum and large and deviations > (SIGNIFICANCE if certain else 1.0)
    uncertainty = np.sqrt(np.diag(covariance))
    found = ", ".join(f"{one:.2f} ± {sd:.2f}" for one, sd in zip(drift, uncertainty, strict=True))
    return Drift(
        drift_A=(float(drift[0]), float(drift[1])),
        uncertainty_A=(float(uncertainty[0]), float(uncertainty[1])),
        defocus_A=strain.defocus_A,
        focal_spread_A=strain.focal_spread_A,
        applied=bool(applied),
        reason=f"drift ({found}) Å along slow and fast axis: {'applied' if applied else 'left alone'}",
    )


def without_drift(dataset: Dataset, drift: Drift) -> Dataset:
    """The data set with positions that drift linearly in time; the mean of the positions stays."""
    lattice = Lattice.of(dataset)
    if lattice is None:
        return dataset
    time = acquisition_time(dataset)
    moved = np.outer(time - time.mean(), lattice.axes @ np.asarray(drift.drift_A))
    return replace(dataset, positions_A=dataset.positions_A + moved)


def acquisition_time(dataset: Dataset) -> DoubleArray:
    """When each pattern was taken (N,), as a share of the scan, gaps included; rows may run to and fro."""
    rows, columns = np.divmod(dataset.point, dataset.scan_shape[1])
    width = dataset.scan_shape[1]
    backwards = np.zeros(dataset.scan_shape[0], dtype=bool)
    along = np.diff(columns)[np.diff(rows) == 0]
    backwards[rows[:-1][np.diff(rows) == 0][along < 0]] = True
    within = np.where(backwards[rows], width - 1 - columns, columns)
    return np.asarray((rows * width + within + 0.5) / (dataset.scan_shape[0] * width))
