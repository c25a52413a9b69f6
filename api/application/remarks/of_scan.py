"""Remarks on a scan: values accepted although implausible, contradicted by the patterns, or not numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import ndimage

from ptylive.application.remarks.of_counts import current_remarks, normalised_remarks
from ptylive.application.remarks.of_geometry import quartered_remarks, size_remarks
from ptylive.engine.calibrate.disc import find_disc
from ptylive.engine.imaging.imaging_conditions import DISC_TOLERANCE, disc_mrad
from ptylive.engine.planning.probe_and_step import probe_diameter_A
from ptylive.schema import Calibration, Origin, ScanHeader
from ptylive.schema.advice.words import length_text
from ptylive.schema.detector import MOST_COUNTS
from ptylive.schema.metadata import questions
from ptylive.schema.model import Array, BoolArray, DoubleArray
from ptylive.schema.units import wavelength_A

LEAST_OFFSET_SHARE = 0.1
"""Least share of all counts in a uniform offset over the detector for which a question is asked."""
EVEN = 1.3
"""Largest ratio of median and 5th percentile of the detector's rim for a uniform rim: scattering falls outwards."""
LEAST_AROUND, OFF_CENTER = 0.6, 0.5
"""Ratio of the counts around a given centre to those of the brightest pixels, and distance in disc radii from the disc,
by which a given centre is contradicted.
"""
AROUND_EDGE, EDGE_BLUR, FAINT = 0.25, 0.07, 0.01
"""Share of the expected radius of a disc around which its edge is looked for, and within which it is; counts below the
largest ones by this factor are not told apart.
"""
LEAST_FALL, CLEARLY = 0.25, 1.2
"""Least natural logarithm of the ratio of counts two pixels apart at an edge, and its ratio to those elsewhere."""
LEAST_ACROSS = 16
"""Least number of rows and columns of a scan in which a disc is searched for."""
LEAST_BESIDE = 16
"""Pixels with counts in the lines beside a gap, or half of them: by chance a line of such pixels is never empty."""
LEAST_SHADOW_PX, STRAY_SHARE = 9, 0.02
"""Least number of adjacent empty pixels in a beam stop's shadow, and largest share of empty pixels elsewhere."""
FLASH, FAR = 10.0, 6.0
"""Ratio of a flash to the 99th percentile of counts, and distance of lost frames from the others, in deviations."""
PILED, LEAST_FULL_PX = 30, 10
"""Least number of values that are the largest one, and of pixels that hold it, where a detector is saturated."""
LOOKED_AT, LEAST_LOOKED_AT, LOOKED_AT_BYTES = 256, 4, 2**26
"""Most and fewest patterns in which saturation and flashes are looked for, and their size."""
LEAST_FULL = 255
"""Least number that is taken for the largest one of a counter."""
OFTEN, HEADROOM = 90.0, 1.5
"""Percentile over the patterns that counts as the usual number of a pixel, and a limit that is proposed for counts over
the largest that is no flash.
"""
FAR_APART = 1.5
"""Step in diameters of the probe from which neighbouring probes certainly do not overlap."""
RIM_SHARE = 16
"""The width of the rim is the shorter side divided by this number."""


def remarks(
    given: ScanHeader, header: ScanHeader, calibration: Calibration, mean_pattern: DoubleArray | None = None
) -> list[str]:
    """Remarks, one sentence each. ``given``: as stated by sender or file; ``header``: with a user's values, which are
    intended; ``mean_pattern``: as recorded, if it is known.
    """
    return implausible_values(given, header) + further_remarks(given, header, calibration, mean_pattern)


def further_remarks(
    given: ScanHeader, header: ScanHeader, calibration: Calibration, mean_pattern: DoubleArray | None = None
) -> list[str]:
    """Those of :func:`remarks` that go beyond implausible values."""
    out: list[str] = []
    masked = calibration.get("masked_counts")
    if masked:
        counts = "1 count is" if masked == 1 else f"{int(masked)} counts are"
        out.append(f"{counts} NaN, infinite or above {MOST_COUNTS:.0e}".replace("e+", "e") + ": used as 0")
    if mean_pattern is not None and header.basis.is_raw and not np.nan_to_num(mean_pattern).any():
        return [*out, "all counts are 0: was the beam blanked, or is the wrong data set of the file used?"]
    out += (
        normalised_remarks(header, calibration)
        + current_remarks(calibration)
        + size_remarks(given, header)
        + _apart_remarks(calibration)
    )
    of_the_disc = _disc_remarks(calibration, mean_pattern if header.basis.is_raw else None)
    out += of_the_disc + _defocus_remarks(calibration)
    if mean_pattern is not None and header.basis.is_raw:
        bad = header.arrays.get("bad_pixel_mask")
        out += quartered_remarks(mean_pattern) + _offset_remarks(mean_pattern, bad)
        out += _empty_remarks(mean_pattern, bad, calibration)
        if not of_the_disc:  # the disc may be one spot of a crystal, in a scan's first frames
            bad = np.zeros(mean_pattern.shape, dtype=bool) if bad is None else bad
            out += _center_remarks(mean_pattern, bad, calibration)
    return out


def implausible_values(given: ScanHeader, header: ScanHeader) -> list[str]:
    """Values that are implausible and were not given by a user, one sentence each."""
    open_questions = set(questions(header))
    return [f"is this right? {text}" for text in questions(given) if text in open_questions]


def _disc_remarks(calibration: Calibration, mean_pattern: DoubleArray | None) -> list[str]:
    """A remark if the measured disc, in pixels of the given size, does not match the semi-angle."""
    given, measured = calibration.get("convergence_semiangle_mrad"), disc_mrad(calibration)
    if given is None or measured is None or abs(measured / float(given) - 1) < DISC_TOLERANCE:
        return []
    radius, pixel = float(calibration.get("disc_radius_px")), float(calibration.get("detector_pixel_invA"))
    found = f"a radius of {measured:.3g} mrad ({radius:.3g} px of {pixel:.3g} 1/Å)"
    expected = radius * float(given) / measured
    if mean_pattern is not None and _has_edge(mean_pattern, calibration.get("beam_center_px"), expected, radius):
        return [
            f"the disc seems to have {found}, but the sharpest edge is at convergence_semiangle_mrad, "
            f"{float(given):.4g}: that is probably right; in a thick crystal diffracted discs overlap and make the "
            "disc look larger or smaller"
        ]
    return [
        f"the disc has {found}, but "
        f"convergence_semiangle_mrad is {float(given):.4g}: phases are wrong if either is; full angle instead of "
        "semi-angle? binned pixels? another energy or camera length?"
    ]


def _apart_remarks(calibration: Calibration) -> list[str]:
    """A remark if neighbouring scan points share no illuminated area at the defocus of the calibration."""
    semiangle, energy = calibration.get("convergence_semiangle_mrad"), calibration.get("energy_eV")
    step = calibration.get("scan_step_A")
    if semiangle is None or energy is None or step is None:
        return []
    defocus_A = abs(float(calibration.get("C10") or 0.0))
    width_A = probe_diameter_A(wavelength_A(float(energy)), float(semiangle), 1e-3 * float(semiangle) * defocus_A)
    step_A = min(abs(float(size)) for size in np.ravel(step))
    if step_A < FAR_APART * width_A:
        return []
    return [
        f"the probe is {length_text(width_A)} wide at a defocus of {length_text(defocus_A)}, and the step "
        f"{length_text(step_A)}: neighbouring probes do not overlap. SSB, OBF, WDD and refinements mean nothing then, "
        "and DPC shows only what changes from step to step; "
        "is scan_step_A right? For ptychography, record with a smaller step or more defocus"
    ]


def _has_edge(mean_pattern: DoubleArray, center_px: Any, expected_px: float, measured_px: float) -> bool:
    """Whether the counts around the centre fall most sharply at the expected radius of the disc, from the measured one
    on if that is smaller, and from a little below the expected one otherwise.
    """
    if center_px is None:
        return False
    counts = np.nan_to_num(mean_pattern)
    rows, columns = np.indices(counts.shape) - np.asarray(center_px, dtype=float)[:, None, None]
    ring = np.rint(np.hypot(rows, columns)).astype(int).ravel()
    profile = np.bincount(ring, counts.ravel()) / np.maximum(np.bincount(ring), 1)
    logs = np.log(np.maximum(profile, FAINT * profile.max()))
    falls = np.zeros(len(logs))
    falls[1:-1] = logs[:-2] - logs[2:]
    first = max(1, int(min((1 - AROUND_EDGE) * expected_px, measured_px - 1)))
    beyond = math.ceil((1 + AROUND_EDGE) * expected_px) + 1
    if beyond > min(counts.shape) // 2:
        return False
    sharpest = first + int(np.argmax(falls[first:beyond]))
    others = [falls[at] for at in range(first, beyond) if abs(at - sharpest) > 2]
    is_edge = falls[sharpest] > max(LEAST_FALL, CLEARLY * max(others, default=0.0))
    return bool(is_edge and abs(sharpest - expected_px) < max(1.5, EDGE_BLUR * expected_px))


def assumed_center_remarks(calibration: Calibration) -> list[str]:
    """A remark if no disc was found in all patterns, and nobody gave the beam centre."""
    if calibration.origin("beam_center_px") is not Origin.DEFAULT:
        return []
    row, column = (float(place) for place in calibration.get("beam_center_px"))
    return [
        f"the mean pattern shows no disc with a dark surrounding: beam_center_px {row:.4g}, {column:.4g}, the middle "
        "of the detector, is assumed; if the beam is elsewhere, maps and phases are wrong: give beam_center_px"
    ]


def _defocus_remarks(calibration: Calibration) -> list[str]:
    """A question if the given defocus makes the probe wider than the real-space window of a pattern."""
    semiangle, defocus = calibration.get("convergence_semiangle_mrad"), calibration.get("C10")
    pixel = calibration.get("detector_pixel_invA")
    if calibration.origin("C10") is not Origin.GIVEN or semiangle is None or not pixel:
        return []
    width_A, window_A = 2e-3 * float(semiangle) * abs(float(defocus)), 1 / float(pixel)
    if width_A <= window_A:
        return []
    return [
        f"at the given defocus of {length_text(abs(float(defocus)))} the probe is {length_text(width_A)} wide, and "
        f"detector pixels of {float(pixel):.3g} 1/Å resolve {length_text(window_A)}: is defocus_A right? leave it "
        "out, and it is found"
    ]


def axes_remarks(mean_pattern: DoubleArray, counts: DoubleArray) -> list[str]:
    """A question if the axes of scan and detector may be exchanged: the disc is in ``counts`` of patterns (rows, cols).

    ``mean_pattern``: as recorded; it has no disc then.
    """
    pattern, counts = np.nan_to_num(mean_pattern), np.nan_to_num(counts)
    good = (np.zeros(pattern.shape, dtype=bool), np.zeros(counts.shape, dtype=bool))
    if (
        min(counts.shape) < LEAST_ACROSS
        or find_disc(pattern, good[0]) is not None
        or find_disc(counts, good[1]) is None
    ):
        return []
    return [
        "the mean pattern shows no disc, but the counts of the patterns, drawn as a scan, do: are the axes of scan and "
        "detector exchanged? the scan comes first, (Ry, Rx, Qy, Qx): numpy.transpose(data, (2, 3, 0, 1))"
    ]


def _center_remarks(mean_pattern: DoubleArray, bad: BoolArray, calibration: Calibration) -> list[str]:
    """A remark if a given beam centre is not that of the disc. The disc is searched for if the brightest pixels,
    as many as it has, are not those around the centre.
    """
    radius = calibration.get("disc_radius_px")
    if radius is None or calibration.origin("beam_center_px") is not Origin.GIVEN:
        return []
    center = np.asarray(calibration.get("beam_center_px"), dtype=float)
    rows, columns = np.indices(mean_pattern.shape) - center[:, None, None]
    good = np.isfinite(mean_pattern) & ~np.asarray(bad, dtype=bool)
    inside = mean_pattern[good & (np.hypot(rows, columns) < float(radius))]
    brightest = np.partition(mean_pattern[good], -inside.size)[-inside.size :] if inside.size else mean_pattern[good]
    if inside.size and inside.sum() > LEAST_AROUND * brightest.sum():
        return []
    disc = find_disc(mean_pattern, np.asarray(bad, dtype=bool))
    if disc is None or math.dist(disc.center_px, center) < OFF_CENTER * disc.radius_px:
        return []
    given, found = (f"{place[0]:.4g}, {place[1]:.4g}" for place in (center, disc.center_px))
    return [
        f"beam_center_px {given} was given, but the disc lies around {found} (row, column): maps and phases are wrong; "
        "rows and columns exchanged? another detector? leave it out, and it is found"
    ]


def frame_remarks(counts: DoubleArray, visited: BoolArray) -> list[str]:
    """Remarks on patterns with far more counts than all others, none, or less than none; counts and ``visited``:
    (rows, columns).
    """
    seen: DoubleArray = counts[visited]
    notes: list[str] = []
    if not seen.size:
        return notes
    below = int((seen < 0).sum())
    if below:
        notes.append(
            f"the counts of {below} of {seen.size} patterns sum to less than 0: too much subtracted from them? maps "
            "and phases are wrong: give the counts as recorded, or another dark_reference"
        )
    typical, most = (float(value) for value in np.percentile(seen, (50, 99)))
    flashes = np.argwhere(visited & (counts > FLASH * most) & (most > 0))
    if len(flashes):
        row, column = (int(index) for index in flashes[0])
        more = f" and {len(flashes) - 1} more" if len(flashes) > 1 else ""
        notes.append(
            f"the pattern at scan point ({row}, {column}){more} holds {counts[row, column] / most:.0f} times the "
            "counts of the brightest others: maps in counts show hardly anything else; mark it as not received in "
            "/metadata/received"
        )
    empty = int((seen == 0).sum())
    spread = 1.4826 * float(np.median(np.abs(seen - typical)))
    if empty and typical > FAR * spread:
        notes.append(
            f"{empty} of {seen.size} patterns hold no counts, far fewer than the others: frames that the detector "
            "lost? mark them as not received in /metadata/received"
        )
    return notes


def saturation_remarks(frames: Array, bad: BoolArray | None) -> list[str]:
    """A remark if the largest number in some recorded patterns (n, Qy, Qx) is more common than the one below it.

    Without saturation a number is the rarer the closer it is to the largest one. Pixels that always hold the same
    number are considered only if that is a full counter's; whole rows and columns of them are dead.
    """
    known = np.ones(frames.shape[1:], bool) if bad is None else ~np.asarray(bad, dtype=bool)
    seen = frames[:, known]
    if not seen.size:
        return []
    most, changing = seen.max(), frames.min(axis=0) < frames.max(axis=0)
    always = known & ~changing & (frames[0] == most)
    always &= ~always.all(axis=0) & ~always.all(axis=1)[:, None]
    if _fills_a_counter(most) and (full_px := int(always.sum())) >= LEAST_FULL_PX:
        return [
            f"{full_px} pixels always hold {int(most)}, the largest number of {int(most).bit_length()} bits: a "
            "saturated detector, or bad pixels? defocus and phases are then wrong; record with a weaker beam, or give "
            "bad_pixel_mask"
        ]
    values = frames[:, known & changing]
    if not values.size:
        return []
    full = values == values.max()
    piled, lower = int(full.sum()), values[~full]
    if piled < PILED or full.any(axis=0).sum() < LEAST_FULL_PX or not lower.size:
        return []
    if piled <= int((lower == lower.max()).sum()):
        return []
    share = 100 * piled / values.size
    return [
        f"{share:.2g} % of the pixels hold {values.max():.6g}, the largest number, and fewer hold the one below it: a "
        "saturated detector? defocus and phases are then wrong; record with a weaker beam or shorter exposures"
    ]


def _fills_a_counter(most: np.generic) -> bool:
    """Whether a number has all its bits set, 8 or more, as that of a full counter has."""
    return most.dtype.kind in "iu" and int(most) >= LEAST_FULL and int(most) & (int(most) + 1) == 0


def flash_remarks(frames: Array, bad: BoolArray | None) -> list[str]:
    """A remark if single pixels of some recorded patterns (n, Qy, Qx) far exceed the brightest ones, as by X-rays."""
    known = np.ones(frames.shape[1:], bool) if bad is None else ~np.asarray(bad, dtype=bool)
    counts = np.where(known & (frames.min(axis=0) < frames.max(axis=0)), frames, 0)
    usual = float(np.percentile(counts, OFTEN, axis=0).max())
    high = np.argwhere(counts > FLASH * usual)
    if usual <= 0 or not len(high):
        return []
    padded = np.pad(counts, ((0, 0), (1, 1), (1, 1)), mode="reflect")
    around = np.array([np.median(padded[n, row : row + 3, column : column + 3]) for n, row, column in high])
    values = counts[tuple(high.T)]
    flashes = high[values > FLASH * around]
    if not len(flashes):
        return []
    rest = counts.copy()
    rest[tuple(flashes.T)] = 0
    limit = math.ceil(HEADROOM * float(rest.max()))
    return [
        f"in {len(np.unique(flashes[:, 0]))} of {len(frames)} patterns looked at, single pixels hold up to "
        f"{values.max():.6g}, {values.max() / usual:.0f} times what the brightest ones usually do: X-rays or cosmic "
        f"rays? maps and phases are noisy or wrong; give saturation_value={limit}, which limits them"
    ]


def _empty_remarks(mean_pattern: DoubleArray, bad: BoolArray | None, calibration: Calibration) -> list[str]:
    """Remarks on gaps of the detector and the shadow of a beam stop, which no mask names."""
    pattern = np.where(np.zeros(mean_pattern.shape, bool) if bad is None else bad, np.nan, mean_pattern)
    rows, columns = _gaps(pattern), _gaps(pattern.T)
    words = [f"{name} {', '.join(map(str, lines))}" for name, lines in (("rows", rows), ("columns", columns)) if lines]
    notes = []
    if words:
        notes.append(
            f"all pixels of {' and '.join(words)} of the detector hold the same number: gaps between modules, dead "
            "lines? maps and phases may be wrong: give bad_pixel_mask"
        )
    radius = calibration.get("disc_radius_px")
    if radius is None or calibration.origin("disc_radius_px") is Origin.DEFAULT:
        return notes
    center = np.reshape(np.asarray(calibration.get("beam_center_px"), dtype=float), (2, 1, 1))
    disc = np.isfinite(pattern) & (np.hypot(*(np.indices(pattern.shape) - center)) < float(radius))
    disc[rows], disc[:, columns] = False, False
    empty = disc & (pattern == 0)
    labels, count = ndimage.label(empty)
    shadow = int(np.bincount(labels.ravel())[1:].max()) if count else 0
    stray, size = int(empty.sum()) - shadow, int(disc.sum())
    if LEAST_SHADOW_PX <= shadow < size / 2 and stray <= STRAY_SHARE * size:
        notes.append(
            f"{shadow} adjacent pixels in the disc hold no counts in any pattern: a beam stop? maps and phases may be "
            "wrong: give bad_pixel_mask"
        )
    return notes


def _gaps(pattern: DoubleArray) -> list[int]:
    """Rows of a mean pattern whose pixels are all equal, between rows with many different counts; NaN: bad pixels."""
    least = min(LEAST_BESIDE, pattern.shape[1] // 2)
    known = np.isfinite(pattern)
    low, high = (np.where(known, pattern, fill) for fill in (np.inf, -np.inf))
    equal = known.any(1) & (low.min(1) == high.max(1))
    lively = (known & (pattern != 0)).sum(1) >= least
    beside = np.flatnonzero(known.any(1) & ~equal)
    out = []
    for row in np.flatnonzero(equal).tolist():
        after = int(np.searchsorted(beside, row))
        if 0 < after < beside.size and lively[beside[after - 1 : after + 1]].all():
            out.append(row)
    return out


def _offset_remarks(mean_pattern: DoubleArray, bad: BoolArray | None) -> list[str]:
    """A remark if a large part of all counts is uniform over the detector, like an offset that a camera adds."""
    good = np.isfinite(mean_pattern) if bad is None else np.isfinite(mean_pattern) & ~np.asarray(bad, dtype=bool)
    width = max(1, min(mean_pattern.shape) // RIM_SHARE)
    rim = good.copy()
    rim[width:-width, width:-width] = False
    total = float(mean_pattern[good].sum())
    if not rim.any() or total <= 0:
        return []
    low, middle = np.percentile(mean_pattern[rim], (5, 50))
    share = low * int(good.sum()) / total
    if share < LEAST_OFFSET_SHARE or middle > EVEN * low:
        return []
    return [
        f"{100 * min(1.0, share):.0f} % of the counts are spread evenly over the detector, {low:.4g} in each pixel: "
        "a camera offset, which weakens phases and may invert their sign? "
        f"give dark_reference: a scan with the beam blanked, or the number {low:.4g}"
    ]
