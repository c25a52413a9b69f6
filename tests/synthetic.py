"""Small exact data for tests: weak phase objects seen by known probes, and arm messages that describe them."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from ptylive.engine.probe import Probe
from ptylive.schema import Detector, FrameBatch, Optics, Scan, ScanHeader
from ptylive.schema.units import invA_to_mrad, wavelength_A

ENERGY_EV = 80e3


@dataclass
class WeakPhaseScan:
    """A periodic weak phase object scanned by an aberrated probe: every pattern computed without approximation.

    Patterns are in single precision, as the header says: for other types live maps would have to be compiled
    separately.

    The scan has ``n`` x ``n`` points over one period; the detector samples multiples of 1/period.
    """

    n: int
    step_A: float
    phase: np.ndarray
    probe: Probe
    semiangle_mrad: float
    aberrations: dict
    patterns: np.ndarray

    @classmethod
    def make(
        cls,
        aberrations: dict,
        n: int = 32,
        step_A: float = 0.5,
        strength: float = 0.01,
        seed: int = 1,
        absorption: np.ndarray | None = None,
    ):
        """``absorption`` (n, n): by how much the modulus of the object is below 1, nothing by default.

        The same scan is computed once; every caller gets a copy of its patterns.
        """
        if absorption is not None:
            return _computed(aberrations, n, step_A, strength, seed, absorption)
        known = _kept(tuple(aberrations.items()), n, step_A, strength, seed)
        return replace(known, phase=known.phase.copy(), patterns=known.patterns.copy(), aberrations=aberrations)

    def header(self, *, frames: int | None = None, dtype: str = "<f4", lies_still: bool = False, **scan) -> ScanHeader:
        """``lies_still``: states that patterns do not move, which saves the search for a descan, half of the time."""
        wavelength = wavelength_A(ENERGY_EV)
        return ScanHeader(
            uid="synthetic",
            series="synthetic",
            frames=frames or self.n**2,
            scan=Scan(shape=(self.n, self.n), step_A=self.step_A, rotation_deg=0.0, **scan),
            optics=Optics.model_validate(
                {"energy_eV": ENERGY_EV, "convergence_semiangle_mrad": self.semiangle_mrad, **self.aberrations}
            ),
            detector=Detector(
                shape=(self.n, self.n),
                dtype=dtype,
                pixel_mrad=invA_to_mrad(1 / (self.n * self.step_A), wavelength),
                beam_center_px=(self.n // 2, self.n // 2),
                transform_given=True,
                descan_px=(0.0,) if lies_still else None,
            ),
        )


@cache
def _kept(aberrations: tuple[tuple[str, float], ...], *given: float) -> WeakPhaseScan:
    n, step_A, strength, seed = given
    return _computed(dict(aberrations), int(n), step_A, strength, int(seed), None)


def _computed(
    aberrations: dict, n: int, step_A: float, strength: float, seed: int, absorption: np.ndarray | None
) -> WeakPhaseScan:
    wavelength = wavelength_A(ENERGY_EV)
    k_alpha, dk = 0.45, 1 / (n * step_A)
    probe = Probe.of(wavelength, k_alpha * wavelength * 1e3, dk, aberrations)
    f = np.fft.fftfreq(n, step_A)
    ky, kx = np.meshgrid(f, f, indexing="ij")
    rng = np.random.default_rng(seed)
    phase = np.fft.ifft2(np.fft.fft2(rng.normal(size=(n, n))) * (np.hypot(ky, kx) < 0.7)).real
    phase *= strength / phase.std()
    transmission = (1 - (0 if absorption is None else absorption)) * np.exp(1j * phase)
    wave = probe.wave(ky, kx)
    wave /= np.sqrt((np.abs(wave) ** 2).sum())
    patterns, along = np.empty((n, n, n, n), np.float32), np.arange(n)[:, None, None]
    for i in range(n):
        shifted = np.fft.ifft2(wave * np.exp(-2j * np.pi * (ky * i + kx * along) * step_A))
        exit_wave = np.fft.fft2(shifted * transmission)
        patterns[i] = np.fft.fftshift(np.abs(exit_wave) ** 2, axes=(1, 2))
    found = patterns.reshape(n * n, n, n)
    return WeakPhaseScan(n, step_A, phase, probe, k_alpha * wavelength * 1e3, aberrations, found)


def batches(frames: np.ndarray, order: np.ndarray | None = None, size: int = 50):
    """Frames as batches in the given order of acquisition numbers; double precision becomes single."""
    frames = frames.astype(np.float32) if frames.dtype == np.float64 else frames
    order = np.arange(len(frames)) if order is None else order
    for start in range(0, len(order), size):
        index = order[start : start + size]
        yield FrameBatch("synthetic", index, frames[index])


def spoilt(scan: WeakPhaseScan) -> tuple[np.ndarray, set[tuple[int, int]]]:
    """Frames with a stuck pixel in the dark field and a dead one in the disc, and the places of both."""
    frames, header = np.array(scan.patterns), scan.header()
    row, col = np.asarray(header.detector.beam_center_px).astype(int)
    hot, dead = (1, 2), (int(row) + 1, int(col) - 1)
    frames[:, hot[0], hot[1]] = 50 * frames.max()
    frames[:, dead[0], dead[1]] = 0
    return frames, {hot, dead}


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
