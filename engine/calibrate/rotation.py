"""Rotation and transposition between scan and detector from the centre of mass (docs/theory/calibration.md).

The true phase gradient has no curl. With u, v the curl and divergence of the spectra, the curl power at a trial angle
is (a + b)/2 + (a - b)/2 cos 2t - c sin 2t, so the best angle has a closed form. A transposed detector is tried by
swapping the components, and the remaining half turn is settled by the phase being positive where the dark field is
bright.

For thick crystals the centre of mass is not a gradient, and the remaining curl is too large to be trusted alone; at the
same time, a few bright beams decide which optics explain the bright field. If both yield the same angle it is believed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import fft

from ptylive.engine.calibrate.aberrations import AberrationFit, Grid, Search, climbed_from
from ptylive.engine.calibrate.criteria import Criteria, lead
from ptylive.engine.calibrate.sign import LEAST_SKEWNESS, Agreement, Contrast, agreement
from ptylive.engine.imaging.maps.com import along_scan_axes
from ptylive.engine.imaging.maps.idpc import integrated_dpc
from ptylive.schema import Calibration, Origin
from ptylive.schema.model import BoolArray, DoubleArray

TRUSTED_CURL = 0.2
"""Largest remaining share of curl at which the angle is believed."""
TRUSTED_RATIO = 2.0
"""Least ratio of the curls left by the two handednesses."""
SAME_ANGLE_DEG = 15.0
"""Largest difference between equivalent angles: a trusted one has been 9° off (silicon [110], 77 Å)."""
LEAST_ROWS = 8
"""Least number of rows of a scan whose halves are compared."""


@dataclass(frozen=True)
class RotationFit:
    """Angle that minimises the curl, degrees in (-180, 180], with the remaining curl and whether to trust it."""

    rotation_deg: float
    transposed: bool
    curl: float
    curl_other: float
    sign: Agreement
    """Agreement of the integrated phase, before any half turn, with the dark field."""
    other_deg: float = 0.0
    """Angle with the least curl for the other handedness."""

    @property
    def angle_trusted(self) -> bool:
        """Whether angle and handedness stand out."""
        return self.curl < TRUSTED_CURL and self.curl_other > TRUSTED_RATIO * self.curl

    def contradicts(self, rotation_deg: float) -> bool:
        """Return whether this angle is trusted and differs from another one, up to half a turn."""
        return self.angle_trusted and not same_angle(rotation_deg, self.rotation_deg)

    def confirms(self, rotation_deg: float) -> bool:
        """Return whether this angle is trusted and agrees with another one, up to half a turn."""
        return self.angle_trusted and same_angle(rotation_deg, self.rotation_deg)

    @property
    def angles_deg(self) -> dict[bool, float]:
        """Angle with the least curl without a transposition, and with one."""
        return {self.transposed: self.rotation_deg, not self.transposed: self.other_deg}

    @property
    def sign_trusted(self) -> bool:
        """Whether the half turn is settled."""
        return self.sign.settles


def fit_rotation(
    com: DoubleArray,
    dark_field: DoubleArray,
    visited: BoolArray,
    step_A: tuple[float, float],
    q_max: float,
    *,
    transposed: bool | None = None,
) -> RotationFit:
    """Fit the rotation to the CoM (2, rows, cols) along recorded axes; with ``transposed`` given only the angle.

    q_max (1/Å): frequencies above it carry no signal (1.2 times the aperture radius).
    """
    swapped = {False: com, True: com[::-1]}
    fits = {t: _least_curl(swapped[t], visited, step_A, q_max) for t in (False, True)}
    if transposed is None:
        transposed = fits[True][1] < fits[False][1]
    angle, curl = fits[transposed]
    phase = integrated_dpc(along_scan_axes(swapped[transposed], angle), step_A, visited)
    sign = agreement(phase, dark_field, visited)
    if sign.correlation < 0:
        angle += 180.0
    other_deg, curl_other = fits[not transposed]
    return RotationFit(180.0 - (180.0 - angle) % 360.0, transposed, curl, curl_other, sign, other_deg)


def apart_deg(first_deg: float, second_deg: float) -> float:
    """Return the angle between two directions, degrees."""
    return abs((first_deg - second_deg + 180.0) % 360.0 - 180.0)


def same_angle(first_deg: float, second_deg: float) -> bool:
    """Return whether two rotations are the same, up to half a turn."""
    return apart_deg(2 * first_deg, 2 * second_deg) <= 2 * SAME_ANGLE_DEG


def confirmed_by_curl(criteria: Criteria, search: Search, fit: AberrationFit, angle_deg: float | None) -> AberrationFit:
    """Return the fit, or the one at its handedness's angle of least curl if most frequencies prefer that.

    For silicon [110], 230 Å, 14 % of the energy was explained 22° off and 11 % at the angle of the curl, which the
    ranks preferred by 1.9 standard deviations. Of 27 other scans four had angles so far apart; none preferred that of
    the curl, which was behind by 4 standard deviations or more.
    """
    if angle_deg is None or search.rotation_deg is not None or same_angle(fit.rotation_deg, angle_deg):
        return fit
    grid = Grid.of(criteria, replace(search, rotation_deg=angle_deg))
    found = climbed_from(criteria, criteria.explained_energy, search, grid, 0.0)
    if found is None or not same_angle(found[0].rotation_deg, angle_deg):
        return fit
    return found[0] if lead(criteria.unexplained(found[0].low), criteria.unexplained(fit.low)) > 0 else fit


def with_denser_positive(
    fit: AberrationFit, contrast: Contrast, curl: RotationFit | None
) -> tuple[AberrationFit, Origin]:
    """Return the member of the indistinguishable pair with denser matter positive, and the origin of the decision.

    Of a strong specimen the centre of mass, like a weak phase, may show either sign: the deconvolved phase is asked.
    """
    deconvolved = contrast.deconvolved
    if contrast.settles:
        as_fitted = contrast.agreement.correlation > 0
    elif deconvolved is not None and deconvolved.is_beyond_chance:
        return (fit if deconvolved.correlation > 0 else fit.turned()), Origin.UNDECIDED
    elif curl is not None and curl.angle_trusted and curl.sign_trusted:
        as_fitted = apart_deg(fit.rotation_deg, curl.rotation_deg) < 90.0
    else:
        return (fit if _is_more_likely(fit, contrast) else fit.turned()), Origin.UNDECIDED
    origin = Origin.UNDECIDED if contrast.speaks_against(as_fitted) else Origin.ESTIMATED
    return (fit if as_fitted else fit.turned()), origin


def _is_more_likely(fit: AberrationFit, contrast: Contrast) -> bool:
    """Whether a fit is the more likely one of the pair, where neither dark field nor centre of mass decides."""
    if abs(contrast.skewness) > LEAST_SKEWNESS:
        return contrast.skewness > 0
    if contrast.agreement.leans:
        return contrast.agreement.correlation > 0
    return fit.aberrations["C10"] <= 0  # underfocus is the most common choice


def highest_frequency(calibration: Calibration) -> float:
    """Return 1.2 times the aperture radius in 1/Å if known: there is no phase contrast beyond."""
    wavelength, semiangle = calibration.wavelength_A, calibration.get("convergence_semiangle_mrad")
    if wavelength is None or semiangle is None:
        return math.inf
    return 1.2 * float(semiangle) * 1e-3 / wavelength


def spread_deg(fit: Callable[[BoolArray], RotationFit], visited: BoolArray) -> float | None:
    """Return half the difference of angles from upper and lower half of ``visited`` (rows, cols); None for few rows."""
    rows = np.flatnonzero(visited.any(axis=1))
    if len(rows) < LEAST_ROWS:
        return None
    upper = np.arange(visited.shape[0])[:, None] < rows[len(rows) // 2]
    angles = [fit(half).rotation_deg for half in (visited & upper, visited & ~upper)]
    return 0.5 * abs((angles[0] - angles[1] + 90) % 180 - 90)


def _least_curl(com: DoubleArray, visited: BoolArray, step_A: tuple[float, float], q_max: float) -> tuple[float, float]:
    """Return the angle in degrees (mod 180) with the least curl, and the share of curl left."""
    rows = np.flatnonzero(visited.any(axis=1))
    field = com[:, rows[0] : rows[-1] + 1] if len(rows) else com
    window = np.hanning(field.shape[1] + 2)[1:-1, None] * np.hanning(field.shape[2] + 2)[None, 1:-1]
    spectrum_row, spectrum_col = (fft.fft2(component * window) for component in field)
    q_row = fft.fftfreq(field.shape[1], step_A[0])[:, None]
    q_col = fft.fftfreq(field.shape[2], step_A[1])[None]
    q = np.hypot(q_row, q_col)
    use = (q > 0) & (q < min(0.5 / max(step_A), q_max))
    q = np.where(use, q, 1.0)
    curl = ((q_row * spectrum_col - q_col * spectrum_row) / q)[use]
    divergence = ((q_row * spectrum_row + q_col * spectrum_col) / q)[use]
    a, b = float((np.abs(curl) ** 2).sum()), float((np.abs(divergence) ** 2).sum())
    c = float((curl * divergence.conj()).real.sum())
    if a + b == 0.0:
        return 0.0, 1.0
    angle = 0.5 * math.atan2(-c, 0.5 * (a - b)) + math.pi / 2
    remaining = 0.5 * (a + b) + 0.5 * (a - b) * math.cos(2 * angle) - c * math.sin(2 * angle)
    return math.degrees(angle) % 180.0, remaining / (a + b)
