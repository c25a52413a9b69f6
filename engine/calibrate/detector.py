"""First half of the calibration: optics and detector, from the mean pattern and the metadata."""

from __future__ import annotations

import math

import numpy as np

from ptylive.engine.bad_pixels import bad_pixels
from ptylive.engine.bases.stream import stream_disc
from ptylive.engine.calibrate.disc import Disc, find_disc
from ptylive.schema import Calibration, Origin, Quantity, ScanHeader
from ptylive.schema.model import DoubleArray
from ptylive.schema.units import mrad_to_invA, wavelength_A

MOVED_BEAM_PX = 1.0
"""Distance of the disc from its place on the vacuum pattern that only a moved beam, not a specimen, can explain."""
STATED_ONLY = frozenset({"detector_pixel_mrad"})
"""Values that are never estimated: if they are no longer given, they are dropped."""


def calibrate_detector(header: ScanHeader, mean_pattern: DoubleArray) -> Calibration:
    """Return given values, and centre, disc radius and pixel size from the mean pattern (Qy, Qx) where not given."""
    entries = given_quantities(header)
    known = stream_disc(header)
    disc = _measured_disc(header, mean_pattern) if known is None else Disc(*known)
    _place_disc(entries, disc, header)
    _size_pixels(entries, header)
    if "C10" not in entries:
        entries["C10"] = Quantity(0.0, Origin.DEFAULT)
    if "depth_A" not in entries:
        entries["depth_A"] = Quantity(0.0, Origin.DEFAULT)
    return Calibration(entries)


def with_given_values(header: ScanHeader, mean_pattern: DoubleArray, previous: Calibration) -> Calibration:
    """Return the values now given in a scan's header, completed by earlier estimates; mean_pattern (Qy, Qx)."""
    stated = calibrate_detector(header, mean_pattern).entries
    known = {name: quantity for name, quantity in stated.items() if quantity.origin is not Origin.DEFAULT}
    kept = {name: quantity for name, quantity in previous.without_rivals().entries.items() if name not in STATED_ONLY}
    return Calibration({**stated, **kept, **known})


def _measured_disc(header: ScanHeader, mean_pattern: DoubleArray) -> Disc | None:
    """Return the disc on a vacuum pattern if one was sent, and otherwise on the mean pattern.

    A specimen blurs and dents the disc, vacuum does not. But if the beam has moved since, only the radius of the vacuum
    disc is used.
    """
    found = find_disc(mean_pattern, bad_pixels(header))
    vacuum = header.of_counts.arrays.get("vacuum_pattern")
    if vacuum is None:
        return found
    aperture = find_disc(np.asarray(vacuum, dtype=float), bad_pixels(header))
    if aperture is None or found is None:
        return aperture or found
    distance_px = math.dist(aperture.center_px, found.center_px)
    return Disc(found.center_px, aperture.radius_px) if distance_px > MOVED_BEAM_PX else aperture


def given_quantities(header: ScanHeader) -> dict[str, Quantity]:
    """Return everything given by sender, file or user, with the pixel size converted from an angle to 1/Å."""
    energy, pixel_invA = header.optics.energy_eV, header.detector.pixel_invA
    pixel_mrad = header.detector.pixel_mrad if pixel_invA is None else None
    if pixel_mrad is not None and energy is not None:
        pixel_invA = mrad_to_invA(pixel_mrad, wavelength_A(energy))
    values = {
        "energy_eV": energy,
        "convergence_semiangle_mrad": header.optics.convergence_semiangle_mrad,
        "depth_A": header.optics.depth_A,
        "scan_step_A": header.scan.step_A,
        "rotation_deg": header.scan.rotation_deg,
        "beam_current": header.scan.beam_current,
        "detector_pixel_mrad": pixel_mrad,
        "detector_pixel_invA": pixel_invA,
        "beam_center_px": header.detector.beam_center_px,
        "descan_px": header.detector.descan_px,
        "detector_transform": header.detector.transform if header.detector.transform_given else None,
        "counts_per_electron": header.detector.counts_per_electron,
        **header.optics.aberrations,
    }
    return {name: Quantity(value, Origin.GIVEN) for name, value in values.items() if value is not None}


def _place_disc(entries: dict[str, Quantity], disc: Disc | None, header: ScanHeader) -> None:
    """Set beam centre and disc radius: measured, a given centre, or the middle of the detector if no disc is seen."""
    if disc is None:
        middle = tuple((n - 1) / 2 for n in header.detector_shape)
        entries.setdefault("beam_center_px", Quantity(middle, Origin.DEFAULT))
        entries["disc_radius_px"] = Quantity(min(header.detector_shape) / 4, Origin.DEFAULT)
        return
    entries.setdefault("beam_center_px", Quantity(disc.center_px, Origin.ESTIMATED, uncertainty=0.1))
    entries["disc_radius_px"] = Quantity(disc.radius_px, Origin.ESTIMATED, uncertainty=0.1)


def _size_pixels(entries: dict[str, Quantity], header: ScanHeader) -> None:
    """Set the pixel size in 1/Å from disc and semi-angle if it was not given."""
    energy, semiangle = header.optics.energy_eV, header.optics.convergence_semiangle_mrad
    if "detector_pixel_invA" not in entries and semiangle is not None and energy is not None:
        radius = entries["disc_radius_px"]
        if radius.origin is not Origin.DEFAULT:
            size = mrad_to_invA(semiangle, wavelength_A(energy)) / float(radius.value)
            entries["detector_pixel_invA"] = Quantity(size, Origin.ESTIMATED, uncertainty=0.01 * size)
