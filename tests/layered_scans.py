"""Scans of layered specimens, computed by multislice from any transmissions, and how well a refinement finds them.

Positions lie on pixels of the specimen's grid, so that a refined object can be compared with the truth pixel by pixel.
"""

from dataclasses import dataclass

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.units import wavelength_A

ENERGY_EV, SEMIANGLE_MRAD, PIXELS, REACH = 200e3, 30.0, 32, 2.0
LAMBDA_A = wavelength_A(ENERGY_EV)
PIXEL_INVA = 2 * REACH * SEMIANGLE_MRAD * 1e-3 / LAMBDA_A / PIXELS
PIXEL_A = 1 / (PIXELS * PIXEL_INVA)


@dataclass(frozen=True)
class Layered:
    """A specimen of layers ``distance_A`` apart, and how it is scanned."""

    transmission: np.ndarray
    """Complex transmissions (slices, Y, X)."""
    distance_A: float
    points: int
    step_px: int = 2
    defocus_A: float = 60.0
    told_defocus_A: float | None = None
    counts: float = 1000.0
    seed: int = 0
    current: float = 0.0
    """Fraction by which the beam current rises and falls along the rows, once over the scan."""

    @property
    def given(self) -> dict:
        """Settings of a refinement that knows the number of slices and the thickness."""
        slices = len(self.transmission)
        return {"num_slices": slices, "slice_distances_A": [self.distance_A]} if slices > 1 else {"num_slices": 1}

    def scan(self) -> Dataset:
        """The scan with counted electrons."""
        k = (np.arange(PIXELS) - PIXELS // 2) * PIXEL_INVA
        radius = np.hypot(k[:, None], k[None, :])
        aperture = np.clip((SEMIANGLE_MRAD * 1e-3 / LAMBDA_A - radius) / PIXEL_INVA + 0.5, 0, 1)
        wave = np.fft.ifftshift(aperture * np.exp(1j * np.pi * LAMBDA_A * self.defocus_A * radius**2))
        probe = np.fft.fftshift(np.fft.ifft2(wave))  # centred on pixel P // 2
        between = np.exp(-1j * np.pi * LAMBDA_A * self.distance_A * np.fft.ifftshift(radius) ** 2)
        corner = self.step_px * np.stack(np.meshgrid(*2 * [np.arange(self.points)], indexing="ij"), -1).reshape(-1, 2)
        patterns = np.empty((len(corner), PIXELS, PIXELS))
        for n, (row, col) in enumerate(corner):
            exit_wave = probe
            for z, layer in enumerate(self.transmission):
                if z:
                    exit_wave = np.fft.ifft2(between * np.fft.fft2(exit_wave))
                exit_wave = exit_wave * layer[row : row + PIXELS, col : col + PIXELS]
            patterns[n] = np.fft.fftshift(np.abs(np.fft.fft2(exit_wave)) ** 2)
        light = float((np.abs(np.fft.fft2(probe)) ** 2).sum())
        rng = np.random.default_rng(self.seed)
        patterns *= (1 + self.current * np.sin(2 * np.pi * corner[:, 0] / (self.points * self.step_px)))[:, None, None]
        counted = rng.poisson(patterns * self.counts / light).astype(np.uint16)
        told = self.defocus_A if self.told_defocus_A is None else self.told_defocus_A
        values = {
            "energy_eV": ENERGY_EV,
            "convergence_semiangle_mrad": SEMIANGLE_MRAD,
            "detector_pixel_invA": PIXEL_INVA,
            "C10": -told,
            "rotation_deg": 0.0,
            "beam_center_px": (PIXELS // 2, PIXELS // 2),
        }
        return Dataset(
            counted,
            np.arange(len(corner)),
            (corner + PIXELS // 2) * PIXEL_A,
            np.zeros((PIXELS, PIXELS), bool),
            np.full(2, float(PIXELS // 2)),
            (self.points, self.points),
            Calibration({name: Quantity(value, Origin.GIVEN) for name, value in values.items()}),
        )

    def found(self, result) -> np.ndarray:
        """The refined transmission (slices, Y, X) on the specimen's pixels between the outermost points."""
        first = np.rint(np.asarray(result.origin_A) / PIXEL_A).astype(int)
        low, high = PIXELS // 2, PIXELS // 2 + self.step_px * (self.points - 1) + 1
        rows, columns = (slice(low - at, high - at) for at in first)
        return result.object.mean(axis=0)[:, rows, columns]

    def true(self) -> np.ndarray:
        """The specimen between the outermost points (slices, Y, X)."""
        low, high = PIXELS // 2, PIXELS // 2 + self.step_px * (self.points - 1) + 1
        return self.transmission[:, low:high, low:high]


def side(points: int, step_px: int = 2) -> int:
    """Pixels along a side of a specimen for a scan with this many points."""
    return step_px * (points - 1) + PIXELS


def atoms(shape: tuple[int, int], places_px: np.ndarray, height: float, sigma_A: float = 0.35) -> np.ndarray:
    """Phases (Y, X) of Gaussian atoms at ``places_px`` (n, 2)."""
    y, x = np.indices(shape)
    away = (y[..., None] - places_px[:, 0]) ** 2 + (x[..., None] - places_px[:, 1]) ** 2
    return height * np.exp(-away * PIXEL_A**2 / (2 * sigma_A**2)).sum(-1)


def column_places(size_px: int, spacing_A: float, rng: np.random.Generator) -> np.ndarray:
    """Places of a square lattice of columns, with a tenth of them missing."""
    at = np.arange(0, size_px, spacing_A / PIXEL_A)
    places = np.stack(np.meshgrid(at, at, indexing="ij"), -1).reshape(-1, 2)
    return places[rng.random(len(places)) > 0.1]


def errors(found: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Root mean square errors over all slices of phases and moduli, and the correlation of the phases.

    The mean phase of a slice is arbitrary, and its mean modulus follows from the normalisation of the probe.
    """
    phase, wanted = (np.angle(each) - np.angle(each).mean(axis=(-2, -1), keepdims=True) for each in (found, true))
    size, size_wanted = (np.abs(each) / np.abs(each).mean() for each in (found, true))
    return {
        "phase": float(np.sqrt(((phase - wanted) ** 2).mean())),
        "modulus": float(np.sqrt(((size - size_wanted) ** 2).mean())),
        "correlation": float((phase * wanted).sum() / np.sqrt((phase**2).sum() * (wanted**2).sum())),
    }
