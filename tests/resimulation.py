"""New scans of the specimens in the shared sets: the same projected phase with another probe, in another geometry.

Single slice, source size and focal spread by four samples, Poisson noise. These scans were never used while the
calibration was written, so they can judge it.
"""

from dataclasses import dataclass, field, replace

import h5py
import numpy as np
from scipy import fft
from shared_data import shared_data

from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.live.engine import reconstruct
from ptylive.engine.live.reading import recalibrated
from ptylive.engine.probe import Probe
from ptylive.schema import Calibration, FrameBatch, ScanHeader
from ptylive.schema.metadata import build, overlay, sections_from
from ptylive.schema.scan import rotation_matrix
from ptylive.schema.units import invA_to_mrad, wavelength_A

FOCAL_SAMPLES = np.array([-1.34, -0.45, 0.45, 1.34])
"""Quartile means of the normal distribution, in standard deviations."""


@dataclass(frozen=True)
class Microscope:
    """How a specimen is imaged. Lengths in Å, dose in electrons per Å^2."""

    energy_eV: float
    semiangle_mrad: float
    aberrations: dict
    step_A: float | tuple[float, float]
    shape: tuple[int, int]
    rotation_deg: float
    dose: float
    transposed: bool = False
    source_A: float = 0.25
    focal_spread_A: float = 15.0
    window: int = 64
    """Detector pixels along a side; the pixel is 1/(window x sampling of the phase)."""
    binning: int = 2
    """Pixels of the specimen's phase that are averaged first, along each side."""
    seed: int = 0


@dataclass
class Resimulation:
    """Frames (N, n, n) uint16 with only energy, semi-angle, step and detector pixel stated."""

    microscope: Microscope
    header: ScanHeader
    frames: np.ndarray
    _store: Store | None = field(default=None, repr=False)

    @classmethod
    def of(cls, specimen: str, microscope: Microscope) -> "Resimulation":
        with h5py.File(shared_data(specimen)) as file:
            phase, sampling = file["truth/phase"][()].astype(float), float(file["truth"].attrs["object_sampling_A"])
        b = microscope.binning
        side = phase.shape[0] // b
        phase = phase[: side * b, : side * b].reshape(side, b, side, b).mean((1, 3))
        intensity = _patterns(np.exp(1j * phase).astype(np.complex64), sampling * b, microscope)
        steps = np.broadcast_to(microscope.step_A, 2)
        electrons = microscope.dose * float(np.prod(steps))
        counts = np.random.default_rng(microscope.seed).poisson(intensity * electrons)
        frames = counts.clip(0, 65535).astype(np.uint16)
        if microscope.transposed:
            frames = np.ascontiguousarray(frames.swapaxes(1, 2))
        wavelength = wavelength_A(microscope.energy_eV)
        sections = sections_from(
            {
                "energy_eV": microscope.energy_eV,
                "convergence_semiangle_mrad": microscope.semiangle_mrad,
                "scan_step_A": tuple(float(s) for s in steps),
                "scan_shape": microscope.shape,
                "detector_pixel_mrad": invA_to_mrad(1 / (microscope.window * sampling * b), wavelength),
            }
        )
        sections["detector"].update(shape=frames.shape[1:], dtype=frames.dtype.str)
        parts = {name: build(name, sections[name], name) for name in sections}
        return cls(microscope, ScanHeader("resimulated", specimen, len(frames), **parts), frames)

    def batches(self, count: int | None = None):
        for start in range(0, count or len(self.frames), 512):
            index = np.arange(start, min(start + 512, count or len(self.frames)))
            yield FrameBatch("resimulated", index, self.frames[index])

    def knowing(self, **values) -> "Resimulation":
        """The same scan with further values stated."""
        return replace(self, header=overlay(self.header, values), _store=None)

    def calibrate(self, share: float = 1.0) -> Calibration:
        """Calibration when this fraction of the rows has arrived."""
        if self._store is None:
            self._store = reconstruct(self.header, self.batches, methods=["bf"])[0].store
        rows = round(share * self.microscope.shape[0])
        store = Store(self.header, self._store.reduction)
        for batch in self.batches(rows * self.microscope.shape[1]):
            store.add(batch)
        return recalibrated(self.header, store)


def _patterns(transmission: np.ndarray, sampling: float, m: Microscope) -> np.ndarray:
    """Mean intensities (N, n, n) of unit sum, beam at pixel n // 2."""
    n, side, wavelength = m.window, len(transmission), wavelength_A(m.energy_eV)
    k = np.meshgrid(np.fft.fftfreq(n, sampling), np.fft.fftfreq(n, sampling), indexing="ij")
    index = np.stack(np.meshgrid(*(np.arange(s) - (s - 1) / 2 for s in m.shape), indexing="ij"), -1).reshape(-1, 2)
    position = (index * m.step_A) @ rotation_matrix(m.rotation_deg).T / sampling + side / 2
    turn = np.random.default_rng(m.seed + 1).random(len(position)) * 2 * np.pi
    out = np.zeros((len(position), n, n), np.float32)
    for s, focus in enumerate(FOCAL_SAMPLES):
        aberrations = {**m.aberrations, "C10": m.aberrations.get("C10", 0.0) - focus * m.focal_spread_A}
        probe = Probe.of(wavelength, m.semiangle_mrad, 1 / (n * sampling), aberrations).wave(*k).astype(np.complex64)
        probe /= np.sqrt((np.abs(probe) ** 2).sum())
        angle = turn + s * np.pi / 2
        where = position + m.source_A * np.sqrt(2) / sampling * np.stack([np.cos(angle), np.sin(angle)], 1)
        corner = np.floor(where).astype(int)
        offset = (where - corner + n // 2) * sampling
        for first in range(0, len(where), 256):
            part = slice(first, first + 256)
            ramp = np.exp(-2j * np.pi * sum(o[:, None, None] * q for o, q in zip(offset[part].T, k, strict=True)))
            rows = (corner[part, 0, None, None] + np.arange(n)[:, None] - n // 2) % side
            cols = (corner[part, 1, None, None] + np.arange(n)[None] - n // 2) % side
            exit_wave = fft.fft2(fft.ifft2(probe * ramp.astype(np.complex64)) * transmission[rows, cols])
            out[part] += np.abs(exit_wave) ** 2 / len(FOCAL_SAMPLES)
    return np.fft.fftshift(out, axes=(1, 2))
