"""Scans of one thick specimen at several tilts, computed from slices that are really sheared.

Nothing here uses tilted free-space propagation: atoms are moved, slices are thin, and the product's model has fewer.
"""

from dataclasses import dataclass, field

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.series.joint_scans import joined
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.units import wavelength_A

ENERGY_EV, SEMIANGLE_MRAD = 200e3, 25.0
LAMBDA_A = wavelength_A(ENERGY_EV)


@dataclass(frozen=True)
class TiltedScans:
    """Gaussian atoms (n, 3: row, column, depth) with their phase (n,), and how they are imaged."""

    atoms_A: np.ndarray
    phase_rad: np.ndarray
    thickness_A: float
    points: int = 8
    step_A: float = 1.0
    pixels: int = 32
    pixel_mrad: float = 3.0
    slice_A: float = 4.0
    defocus_A: float = 60.0
    counts: float = 1e5
    width_A: float = 0.35
    seed: int = 0
    margin_A: float = field(default=1.0)

    @property
    def detector_pixel_invA(self) -> float:
        return self.pixel_mrad * 1e-3 / LAMBDA_A

    def calibration(self, **others) -> Calibration:
        values = {
            "energy_eV": ENERGY_EV,
            "convergence_semiangle_mrad": SEMIANGLE_MRAD,
            "detector_pixel_invA": self.detector_pixel_invA,
            "C10": -self.defocus_A,
            "rotation_deg": 0.0,
            "beam_center_px": (self.pixels // 2, self.pixels // 2),
            **others,
        }
        return Calibration({name: Quantity(value, Origin.GIVEN) for name, value in values.items()})

    def slices(self, rows_A, columns_A) -> np.ndarray:
        """Phase (slices, rows, columns) of the untilted specimen."""
        count = max(1, round(self.thickness_A / self.slice_A))
        which, found = np.minimum((self.atoms_A[:, 2] / self.slice_A).astype(int), count - 1), []
        for z in range(count):
            places, phases = self.atoms_A[which == z], self.phase_rad[which == z]
            row, column = (
                np.exp(-((axis[:, None] - places[:, number]) ** 2) / 2 / self.width_A**2)
                for number, axis in enumerate((rows_A, columns_A))
            )
            found.append((row * phases) @ column.T)
        return np.stack(found)

    def scan(self, tilt_mrad=(0.0, 0.0), first_A=(0.0, 0.0), current=1.0, seed=0) -> Dataset:
        """A scan with counted electrons, tilted about the middle of the depth; point (0, 0) lies at ``first_A``."""
        n, pixel_A = self.pixels, LAMBDA_A / (self.pixels * self.pixel_mrad * 1e-3)
        middle, q = self.thickness_A / 2, np.fft.fftfreq(n, pixel_A)
        tangent = 1e-3 * np.asarray(tilt_mrad)
        moved = self.atoms_A[:, :2] + tangent * (self.atoms_A[:, 2:] - middle)
        square = q[:, None] ** 2 + q[None, :] ** 2
        aperture = np.clip((SEMIANGLE_MRAD * 1e-3 / LAMBDA_A - np.sqrt(square)) * n * pixel_A + 0.5, 0, 1)
        wave = np.fft.ifft2(aperture * np.exp(1j * np.pi * LAMBDA_A * self.defocus_A * square))
        propagator = np.exp(-1j * np.pi * LAMBDA_A * self.slice_A * square)
        slices = max(1, round(self.thickness_A / self.slice_A))
        which = np.minimum((self.atoms_A[:, 2] / self.slice_A).astype(int), slices - 1)
        raster = np.stack(np.meshgrid(*2 * [np.arange(self.points)], indexing="ij"), -1).reshape(-1, 2) * self.step_A
        away, side = np.fft.fftfreq(n) * n * pixel_A, n * pixel_A
        patterns = np.empty((len(raster), n, n))
        for line in np.split(np.arange(len(raster)), self.points):  # all patterns of a line at once: fast, and bounded
            apart = moved - (raster[line] + np.asarray(first_A))[:, None]
            inside = (np.abs(apart) < side / 2).all(axis=2)
            near = (away - (apart[..., None] + side / 2) % side + side) % side - side / 2
            profiles = np.exp(-(near**2) / 2 / self.width_A**2)
            weighted = np.where(inside, self.phase_rad, 0.0)[..., None] * profiles[:, :, 0]
            entered = np.broadcast_to(wave, (len(line), n, n))
            for z in range(slices):
                own = which == z
                entered = entered * np.exp(1j * weighted[:, own].transpose(0, 2, 1) @ profiles[:, own, 1])
                entered = np.fft.ifft2(propagator * np.fft.fft2(entered)) if z < slices - 1 else entered
            patterns[line] = np.fft.fftshift(np.abs(np.fft.fft2(entered)) ** 2, axes=(1, 2))
        scale = self.counts * current / float((np.abs(np.fft.fft2(wave)) ** 2).sum())
        counted = np.random.default_rng(self.seed + 1000 * seed).poisson(patterns * scale).astype(np.uint16)
        return Dataset(
            counted,
            np.arange(len(raster)),
            raster,
            np.zeros((n, n), bool),
            np.full(2, float(n // 2)),
            (self.points, self.points),
            self.calibration(),
        )

    def together(self, tilts_mrad, shifts_A=None, currents=None) -> Dataset:
        """One scan per tilt, joined; shifts are the true ones, in a frame in which the first has none."""
        shifts_A = np.zeros((len(tilts_mrad), 2)) if shifts_A is None else np.asarray(shifts_A)
        currents = np.ones(len(tilts_mrad)) if currents is None else currents
        scans = [
            self.scan(tilt, shift, current, seed)
            for seed, (tilt, shift, current) in enumerate(zip(tilts_mrad, shifts_A, currents, strict=True))
        ]
        return joined(scans, [f"scan{n}.h5" for n in range(len(scans))], shifts_A)
