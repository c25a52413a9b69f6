"""Remarks on numbers that are not counts of electrons: patterns that were normalised, or from which was subtracted."""

from __future__ import annotations

import numpy as np

from ptylive.schema import Calibration, Origin, ScanHeader
from ptylive.schema.model import Array, BoolArray, DoubleArray

LEAST_ELECTRONS = 2.0
"""Mean sum of a pattern of fractions up to which it cannot be its number of electrons."""
LARGEST_SCALED = 1.0
"""Largest number of patterns that were divided by their maximum."""
LEAST_NEGATIVE = 0.001
"""Share of all counts from which negative ones are reported, as for refinements."""
LARGELY_NEGATIVE = 0.05
"""Share of the counts of a mean pattern from which negative ones beyond those of noise are an offset."""
_REMEDY = (
    "electrons per pattern, dose, and the settings that a refinement chooses by them are wrong: give the counts as "
    "recorded, or counts_per_electron, the number that one electron adds"
)


def normalised_remarks(header: ScanHeader, calibration: Calibration) -> list[str]:
    """A remark if patterns of fractions sum to about 1, and nothing says what an electron is."""
    found = calibration.entries.get("electrons_per_pattern")
    if found is None or found.origin is not Origin.DEFAULT:
        return []
    if not header.basis.is_raw or not _is_fraction(header.frame_dtype):
        return []
    total = float(found.value)
    if not 0 < total < LEAST_ELECTRONS:
        return []
    return [
        f"the patterns sum to {total:.3g} on average: normalised? {_REMEDY}, here 1 over the number of electrons in "
        "a pattern"
    ]


def current_remarks(calibration: Calibration) -> list[str]:
    """A remark if the beam current changed, and the maps have been made relative to it."""
    by_row, flicker = calibration.get("beam_current"), calibration.get("beam_flicker")
    changes = (
        [] if by_row is None or len(by_row) == 1 else [f"by {100 * float(np.std(by_row)):.2g} % (RMS) during the scan"]
    )
    changes += [] if flicker is None else [f"by {100 * float(flicker):.2g} % (RMS) from pattern to pattern"]
    if not changes:
        return []
    return [f"the beam current changed {' and '.join(changes)}: maps of the phase are relative to it"]


def scaled_remarks(frames: Array, bad: BoolArray | None, counts_per_electron: float | None) -> list[str]:
    """A remark if recorded patterns (n, Qy, Qx) are fractions of which none exceeds 1, although their sums do."""
    if counts_per_electron is not None or not _is_fraction(frames.dtype):
        return []
    counts = _good(frames, bad)
    most = float(counts.max(initial=0))
    total = float(counts.sum(dtype=np.float64)) / max(1, len(frames))
    if not 0 < most <= LARGEST_SCALED or total < LEAST_ELECTRONS or bool((counts == np.rint(counts)).all()):
        return []
    return [
        f"no number in the patterns exceeds {most:.3g}, and they are fractions: scaled? {_REMEDY}; for a "
        "detector that counts electrons, it is the smallest number above 0 in the patterns"
    ]


def negative_remarks(frames: Array, bad: BoolArray | None) -> list[str]:
    """A remark if the negative ones of recorded counts (n, Qy, Qx) change their sum."""
    if frames.dtype.kind in "ub":
        return []
    counts = _good(frames, bad)
    positive, negative = float(np.maximum(counts, 0).sum(dtype=np.float64)), np.minimum(counts, 0)
    share = -float(negative.sum(dtype=np.float64)) / positive if positive > 0 else 0.0
    if share < LEAST_NEGATIVE:
        return []
    return [
        f"{100 * np.count_nonzero(negative) / counts.size:.3g} % of the pixels hold negative counts, down to "
        f"{negative.min():.4g}, together {100 * share:.3g} % of the positive ones: was too much "
        "subtracted? refinements take them as 0; give the counts as recorded, and dark_reference if the camera adds an "
        "offset"
    ]


def mean_remarks(mean_pattern: DoubleArray, bad: BoolArray | None) -> list[str]:
    """A remark if so much was subtracted that the mean (Qy, Qx) of the frames so far is negative in many pixels.

    The noise of a camera makes as many dark pixels positive as negative, by as much.
    """
    counts = np.nan_to_num(_good(mean_pattern[None], bad))
    negative, positive = np.minimum(counts, 0), np.maximum(counts, 0)
    of_noise = positive.sum(where=positive <= -negative.min(initial=0))
    if not negative.any() or -negative.sum() - of_noise < LARGELY_NEGATIVE * positive.sum():
        return []
    return [
        f"{100 * np.count_nonzero(negative) / counts.size:.3g} % of the pixels of the mean pattern hold negative "
        f"counts, down to {negative.min():.4g}: was too much subtracted? maps and phases are wrong: give the counts as "
        "recorded, or another dark_reference"
    ]


def _good(frames: Array, bad: BoolArray | None) -> Array:
    return frames if bad is None else np.asarray(frames[:, ~np.asarray(bad, dtype=bool)])


def _is_fraction(dtype: np.dtype[np.generic]) -> bool:
    return dtype.kind == "f"
