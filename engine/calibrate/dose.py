"""Electrons per pattern, and the dose."""

from __future__ import annotations

from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.bank import mean_intensity
from ptylive.schema import Calibration, Origin, Quantity


def with_dose(calibration: Calibration, store: Store) -> Calibration:
    """Add ``electrons_per_pattern`` and, if the scan step is known, ``dose_e_per_A2``.

    From the mean sum of the visited patterns. Without ``counts_per_electron`` every count is assumed to be an electron,
    and the origin is ``default``: integrating detectors make several counts of one electron. Also adds
    ``masked_counts``, if there are any: values that were no counts (no numbers, or beyond 1e12) and were set to 0.
    """
    if store.masked_counts:
        calibration = calibration.having(masked_counts=Quantity(store.masked_counts, Origin.ESTIMATED))
    if not store.visited.any() or store.header.basis.of == "sqrt_intensity":
        return calibration
    gain = calibration.get("counts_per_electron")
    origin = Origin.DEFAULT if gain is None else Origin.ESTIMATED
    electrons = mean_intensity(store) / float(gain or 1.0)
    found = {"electrons_per_pattern": Quantity(electrons, origin)}
    if store.header.scan.step_A is not None:
        row, col = store.header.scan.step_A
        found["dose_e_per_A2"] = Quantity(electrons * store.header.scan.repeats / (row * col), origin)
    return calibration.having(**found)
