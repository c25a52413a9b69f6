"""A scan of atomic columns, upright or sheared, simulated without the package through many thin slices."""

from functools import cache

import numpy as np
from scipy import fft

from ptylive.engine.dataset import Dataset
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.units import wavelength_A

WINDOW, PIXEL_A, ENERGY_EV, SEMIANGLE_MRAD, DEFOCUS_A = 48, 0.25, 200e3, 30.0, 60.0
POINTS, STEP_A, THIN, THICKNESS_A = 12, 0.75, 16, 48.0
SPACING_A = 2.6


def specimen(margin_px: int, tilt_mrad: tuple[float, float], thickness_A: float, points: int) -> np.ndarray:
    """Phases (THIN, Y, X) of sheared atomic columns, with some atoms missing."""
    rng = np.random.default_rng(8)
    size = WINDOW + round((points - 1) * STEP_A / PIXEL_A) + 2 * margin_px
    at = np.arange(size) * PIXEL_A
    count = int(size * PIXEL_A / SPACING_A) + 2
    turn = np.deg2rad(17)
    lattice = SPACING_A * np.stack(np.meshgrid(np.arange(-count, 2 * count), np.arange(-count, 2 * count)), -1).reshape(
        -1, 2
    )
    lattice = lattice @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    slices = np.zeros((THIN, size, size))
    for z in range(THIN):
        depth = (z + 0.5) * thickness_A / THIN
        atoms = lattice[rng.random(len(lattice)) > 0.1] + depth * 1e-3 * np.asarray(tilt_mrad)
        row, column = (np.exp(-((at[:, None] - atoms[:, k]) ** 2) / (2 * 0.35**2)) for k in (0, 1))
        slices[z] = 0.12 * row @ column.T
    return slices


@cache
def scan_of_columns(
    tilt_mrad: tuple[float, float] = (0.0, 0.0),
    thickness_A: float = THICKNESS_A,
    points: int = POINTS,
    counts: float = 1e5,
    noise: int = 9,
) -> Dataset:
    """A scan of the specimen; ``counts``: per pattern; ``noise``: seed of the counting noise."""
    patterns = means(tilt_mrad, thickness_A, points) * counts
    values = {
        "energy_eV": ENERGY_EV,
        "convergence_semiangle_mrad": SEMIANGLE_MRAD,
        "detector_pixel_invA": 1 / (WINDOW * PIXEL_A),
        "C10": -DEFOCUS_A,
        "beam_center_px": (WINDOW / 2, WINDOW / 2),
    }
    return Dataset(
        patterns=np.random.default_rng(noise).poisson(patterns).astype(np.uint16),
        point=np.arange(points**2),
        positions_A=STEP_A * np.argwhere(np.ones((points, points))),
        bad_pixels=np.zeros((WINDOW, WINDOW), bool),
        beam_center_px=np.array([WINDOW / 2, WINDOW / 2]),
        scan_shape=(points, points),
        calibration=Calibration({name: Quantity(value, Origin.GIVEN) for name, value in values.items()}),
    )


@cache
def means(tilt_mrad: tuple[float, float], thickness_A: float, points: int) -> np.ndarray:
    """Noise-free patterns (points^2, WINDOW, WINDOW), with a mean sum of 1."""
    wavelength, margin = wavelength_A(ENERGY_EV), 4
    transmission = np.exp(1j * specimen(margin, tilt_mrad, thickness_A, points))
    q = np.fft.fftfreq(WINDOW, PIXEL_A)
    squared = q[:, None] ** 2 + q[None, :] ** 2
    pixel = 1 / (WINDOW * PIXEL_A)
    aperture = np.clip((SEMIANGLE_MRAD * 1e-3 / wavelength - np.sqrt(squared)) / pixel + 0.5, 0, 1)
    centred = np.exp(-2j * np.pi * np.fft.fftfreq(WINDOW) * (WINDOW // 2))
    wave = aperture * np.exp(1j * np.pi * wavelength * DEFOCUS_A * squared) * centred[:, None] * centred
    probe = np.fft.ifft2(wave)
    propagator = np.exp(-1j * np.pi * wavelength * squared * thickness_A / THIN)
    corners, patterns = [margin + round(k * STEP_A / PIXEL_A) for k in range(points)], []
    for row in corners:  # a line at a time
        psi = np.broadcast_to(probe, (points, WINDOW, WINDOW))
        for one in transmission:
            windows = np.stack([one[row : row + WINDOW, column : column + WINDOW] for column in corners])
            psi = fft.ifft2(fft.fft2(psi * windows) * propagator)
        patterns.append(fft.fftshift(np.abs(fft.fft2(psi)) ** 2, axes=(1, 2)))
    made = np.concatenate(patterns)
    return made / made.sum((1, 2)).mean()
