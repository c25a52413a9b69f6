"""Remarks on a calibration that maps of the phase depend on: what the data left undecided, or contradict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ptylive.engine.calibrate.independent import MeasuredRotation, half_turn_given_by
from ptylive.schema import Calibration, LiveMap, Origin
from ptylive.schema.advice.orientation import rivals_words
from ptylive.schema.model import Array

BAD_ANGLE_DEG, SPREADS = 15.0, 3.0
"""A given rotation is contradicted from this angle on, or from this many spreads between halves of the scan on."""
CONTRADICTED, SLOW_SHARE = -0.5, 1 / 6
"""Correlation below which two maps contradict each other, and blur of what changes slowly, in shorter sides."""


def orientation_remarks(calibration: Calibration) -> list[str]:
    """What the data left undecided about the orientation, one sentence each: phases may be wrong accordingly."""
    problems = []
    if calibration.origin("rotation_deg") in (Origin.UNDECIDED, Origin.DEFAULT):  # the latter: too few points
        value = calibration.rotation_deg
        problems.append(
            f"rotation_deg is undecided, {value:.4g} is used: phases may be smeared or have the wrong sign; "
            "give rotation_deg, or the sign of the defocus, if you know it"
        )
    if calibration.origin("detector_transform") is Origin.UNDECIDED:
        problems.append(
            f"detector_transform is undecided, {calibration.transform} is used: if patterns are mirrored "
            "with respect to the scan, phases are wrong; give detector_transform if you know it"
        )
    return [*problems, *filter(None, (rivals_words(calibration.rivals),))]


def given_orientation_remarks(
    calibration: Calibration, measured: MeasuredRotation | None, *, thick: bool = False
) -> list[str]:
    """Contradictions between the centre of mass and a given orientation; none if the centre of mass is inconclusive.

    ``thick``: multiple scattering was found. The dark field of such crystals is as often dark at the columns as bright,
    and says nothing about the half turn.
    """
    given = Origin.GIVEN in (calibration.origin("rotation_deg"), calibration.origin("detector_transform"))
    if not given or measured is None or not measured.trusted:
        return []
    fit, problems = measured.fit, []
    used = f"rotation_deg {calibration.rotation_deg:.4g} with detector_transform {calibration.transform}"
    distance = abs((fit.rotation_deg - calibration.rotation_deg + 180) % 360 - 180)
    axis_distance = min(distance, 180 - distance)
    if fit.transposed:
        problems.append(
            f"{used} was given, but the data show a further transposition of the detector: phases are wrong"
        )
    elif axis_distance >= max(BAD_ANGLE_DEG, SPREADS * (measured.spread_deg or 0.0)):
        problems.append(
            f"{used} was given, but the data show {fit.rotation_deg:.4g}°: phases are smeared; py4DSTEM's angle has "
            "the opposite sign; leave it out, and it is found"
        )
    elif distance > 90 and fit.sign_trusted and not thick:
        problems.append(
            f"{used} was given, but the dark field shows another 180°: atoms then appear dark instead of bright; "
            "leave it out, and it is found"
        )
    return problems


def given_half_turn_remarks(calibration: Calibration, *, contradicted: bool) -> list[str]:
    """A remark if the dark field shows the opposite of the phase, whose sign a given rotation or defocus determines."""
    given = half_turn_given_by(calibration)
    if not contradicted or not given:
        return []
    dark = "atoms then appear dark instead of bright, unless it is a thick crystal"
    defocus_A, rotation_deg = -float(calibration.get("C10") or 0.0), calibration.rotation_deg
    if given == ("C10",):
        return [
            f"defocus_A {defocus_A:.4g} was given, but the dark field shows the other sign: {dark}; it is positive for "
            "underfocus, and C10 for overfocus; leave it out, and it is found"
        ]
    if given == ("rotation_deg",):
        return [
            f"rotation_deg {rotation_deg:.4g} was given, but the dark field shows another 180°: {dark}; "
            "leave it out, and it is found"
        ]
    return [
        f"defocus_A {defocus_A:.4g} and rotation_deg {rotation_deg:.4g} were given, but the dark field shows the other "
        f"sign or another 180°: {dark}; leave both out, and they are found"
    ]


def contradicting_maps_remarks(maps: Sequence[LiveMap]) -> list[str]:
    """A remark if two maps of the phase show the opposite of each other, apart from slow changes: one is inverted."""
    by_name = {live_map.name: live_map for live_map in maps}
    if not {"idpc", "wdd_phase"} <= by_name.keys() or any(by_name[name].doubt for name in ("idpc", "wdd_phase")):
        return []
    correlation = _correlation_of_detail(by_name["idpc"].data, by_name["wdd_phase"].data)
    if correlation > CONTRADICTED:
        return []
    return [
        f"idpc and wdd_phase show the opposite of each other (correlation {correlation:.2f}): one of them is inverted; "
        "if the rotation is right, it is idpc, by multiple scattering; if it is half a turn off, it is wdd_phase"
    ]


def _correlation_of_detail(first: Array, second: Array) -> float:
    """Correlation of two maps of one field, sampled alike, of periods up to about the shorter side of the field."""
    size = np.minimum(first.shape, second.shape)
    details = []
    for data in (first, second):
        step = np.asarray(data.shape) // size
        sampled = np.asarray(data[:: step[0], :: step[1]], dtype=float)[: size[0], : size[1]]
        detail = sampled - ndimage.gaussian_filter(sampled, SLOW_SHARE * size.min())
        margin = max(2, int(size.min()) // 16)
        details.append(detail[margin:-margin, margin:-margin].ravel())
    if not details[0].size or not all(detail.std() > 0 for detail in details):
        return 0.0
    return float(np.corrcoef(details[0], details[1])[0, 1])
