"""Reflections of the tilt series being shown, as detectors whose maps are their discs (docs/larbed.md)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ptylive.engine.bad_pixels import bad_pixels
from ptylive.engine.imaging.virtual_detectors import MaskDetector
from ptylive.engine.larbed.reflection_masks import cell_of, reflection_masks
from ptylive.schema import CommandError, InputFileError
from ptylive.schema.units import mrad_to_invA
from ptylive.server.session.scan_session import ScanSession

MOST_REFLECTIONS = 32
PATIENCE_S = 1.0


def found_reflections(scan: ScanSession, cell: Iterable[float], number: int) -> tuple[MaskDetector, ...]:
    """Return the strongest reflections on the mean pattern so far. Raises CommandError, InputFileError."""
    try:
        a_A, b_A, angle_deg = (float(value) for value in cell)
    except (TypeError, ValueError):
        raise CommandError("cell must be three numbers", "give a and b in Å and their angle in degrees") from None
    if not 0 < number <= MOST_REFLECTIONS:
        raise CommandError(f"{number} reflections", f"give 1 to {MOST_REFLECTIONS}, or 0 for none")
    pixel, wavelength = scan.header.detector.pixel_invA, scan.header.optics.wavelength_A
    if pixel is None and scan.header.detector.pixel_mrad is not None and wavelength is not None:
        pixel = mrad_to_invA(scan.header.detector.pixel_mrad, wavelength)
    if pixel is None:
        raise CommandError("reflections need energy_eV and detector_pixel_mrad", "send them with the scan")
    mean = None if scan.engine is None else scan.engine.recent_mean(PATIENCE_S)
    if mean is None:
        raise CommandError("no frames of this scan are in memory", "try again when the first tilts have arrived")
    with scan.lock:
        header = scan.header if scan.engine is None else scan.engine.header
    try:
        masks = reflection_masks(
            np.asarray(mean, np.float32), cell_of(a_A, b_A, angle_deg), pixel, number, bad_pixels(header)
        )
    except InputFileError as error:
        raise CommandError(str(error), error.hint) from None
    return tuple(MaskDetector(mask.name, mask.weights, f"reflection {mask.hk[0]} {mask.hk[1]}") for mask in masks)
