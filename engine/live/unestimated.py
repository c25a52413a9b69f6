"""Which quantities the data of a scan do not give, and why, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ptylive.engine.calibrate.scan import LEAST_POINTS
from ptylive.schema import Calibration, Origin, ScanHeader

TITLES: Mapping[str, str] = {
    "rotation_deg": "rotation",
    "detector_transform": "orientation",
    "beam_center_px": "beam centre",
    "descan_px": "descan",
    "detector_pixel_invA": "detector pixel",
    "C10": "defocus",
    "C12": "astigmatism",
    "depth_A": "depth",
}
"""Quantities that can be estimated, as people call them."""
_ORIENTATION = ("rotation_deg", "detector_transform")
_OPTICS = ("C10", "C12", "depth_A")
_NEEDS = {
    **dict.fromkeys(_ORIENTATION, ("scan_step_A",)),
    **dict.fromkeys(_OPTICS, ("energy_eV", "convergence_semiangle_mrad", "scan_step_A")),
    "detector_pixel_invA": ("energy_eV", "convergence_semiangle_mrad"),
}
_ENTRIES = {"C12": ("C12a", "C12b")}


def lacking(name: str, header: ScanHeader, calibration: Calibration) -> list[str]:
    """Return the values without which a quantity cannot be estimated, and which are not known."""
    stated = {
        "energy_eV": header.optics.energy_eV,
        "convergence_semiangle_mrad": header.optics.convergence_semiangle_mrad,
        "scan_step_A": header.scan.step_A,
    }
    return [need for need in _NEEDS.get(name, ()) if stated[need] is None and calibration.get(need) is None]


def why_impossible(names: Iterable[str], header: ScanHeader, calibration: Calibration) -> dict[str, str]:
    """Return the reason for each of the quantities that cannot be estimated whatever the data show."""
    needs = {name: lacking(name, header, calibration) for name in names}
    return {name: f"it needs {' and '.join(missing)}" for name, missing in needs.items() if missing}


def why_unestimated(names: Iterable[str], header: ScanHeader, calibration: Calibration, points: int) -> dict[str, str]:
    """Return the reason for each of the quantities that a fit to ``points`` visited scan points has not estimated."""
    found = {}
    impossible = why_impossible(names, header, calibration)
    for name in names:
        origins = {calibration.origin(entry) for entry in _ENTRIES.get(name, (name,))}
        if Origin.ESTIMATED not in origins:
            few = name in (*_ORIENTATION, *_OPTICS) and points < LEAST_POINTS
            too_few = f"it needs {LEAST_POINTS} scan points, {points} have arrived"
            found[name] = impossible.get(name) or (too_few if few else _shown_by_the_data(name, calibration))
    return found


def _shown_by_the_data(name: str, calibration: Calibration) -> str:
    """Return what the data lack."""
    if name == "beam_center_px":
        return "the mean pattern shows no bright disc, and the middle of the detector is assumed"
    if name == "descan_px":
        return "the patterns move no more than the specimen moves them, and none is assumed"
    if name == "detector_pixel_invA":
        return "the mean pattern shows no bright disc"
    if name == "depth_A" and calibration.origin("C10") is not Origin.GIVEN:
        return "it is found next to a given defocus, and none is given"
    if name == "depth_A":
        return "the plane in focus is not clearly inside the specimen"
    if name == "detector_transform":
        return "the data do not decide between the two handednesses"
    entries = [calibration.entries.get(entry) for entry in _ENTRIES.get(name, (name,))]
    if any(entry is not None and entry.origin is Origin.UNDECIDED and entry.uncertainty for entry in entries):
        return "it is known up to half a turn, which would also reverse the defocus"
    return "the bright field varies no more than its noise"


def in_words(reasons: Mapping[str, str]) -> str:
    """Return the reasons as one sentence; empty without any."""
    return "; ".join(f"{TITLES[name]} could not be estimated: {why}" for name, why in reasons.items())
