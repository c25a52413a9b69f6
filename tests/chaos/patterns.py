"""Diffraction patterns that identify their scan and point: drawn again, they show what is stored."""

import hashlib
from functools import lru_cache

import numpy as np

from ptylive.schema import Detector, Optics, Scan, ScanHeader
from ptylive.schema.units import wavelength_A

SCAN = (12, 12)
PIXELS = 32
FRAMES = SCAN[0] * SCAN[1]
ENERGY_EV, SEMIANGLE_MRAD = 80e3, 25.0
RADIUS_PX = 6.0
STEP_A = 0.5
COUNTS = 3.0
"""Counts in a pixel of the disc: noisy enough that two patterns differ in hundreds of pixels."""


def scan_header(uid: str, series: str, *, rows: int = SCAN[0]) -> ScanHeader:
    """The header that all senders announce; ``rows``: another header under the same uid."""
    scan = Scan(shape=(rows, SCAN[1]), step_A=STEP_A, rotation_deg=0.0)
    optics = Optics(energy_eV=ENERGY_EV, convergence_semiangle_mrad=SEMIANGLE_MRAD, defocus_A=50.0)
    detector = Detector(
        shape=(PIXELS, PIXELS),
        dtype="<u2",
        pixel_mrad=SEMIANGLE_MRAD / RADIUS_PX,
        beam_center_px=(PIXELS / 2, PIXELS / 2),
        transform_given=True,
    )
    return ScanHeader(uid, series, scan.frames, scan, optics, detector)


@lru_cache
def _means() -> np.ndarray:
    """Expected counts (frames, PIXELS, PIXELS): a disc shifted by the gradient of a smooth periodic phase."""
    y, x = np.divmod(np.arange(FRAMES), SCAN[1])
    wave = 2 * np.pi / (SCAN[0] * STEP_A)
    pull = SEMIANGLE_MRAD / RADIUS_PX / 1e3 * 2 * np.pi / wavelength_A(ENERGY_EV)  # rad/Å for a shift of one pixel
    strength = min(1.0, 0.5 * wave / pull) * 0.6
    shift_y, shift_x = (strength * np.sin(wave * STEP_A * n) for n in (y, x))
    q = np.arange(PIXELS) - PIXELS / 2
    r = np.hypot(q[:, None] - shift_y[:, None, None], q[None, :] - shift_x[:, None, None])
    return COUNTS / (1 + np.exp((r - RADIUS_PX) / 0.4))


def pattern(token: int, number: int) -> np.ndarray:
    """Pattern (PIXELS, PIXELS) of a point of a scan, the same in every process."""
    chance = np.random.default_rng((token, number))
    return chance.poisson(_means()[number % FRAMES]).astype("<u2")


def digest(frame: np.ndarray) -> str:
    """SHA-256 of a pattern's bytes."""
    return hashlib.sha256(np.ascontiguousarray(frame, dtype="<u2").tobytes()).hexdigest()
