"""The probe a refinement starts from: coherent modes of the nominal probe with source size and focal spread.

A partially coherent probe is an average over source offsets and focus; its leading eigenvectors are the coherent modes.
The Gaussian distributions are integrated on Gauss-Hermite nodes (docs/automatic/probe.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np
import scipy.linalg

from ptylive.engine.imaging.imaging_conditions import aperture_mrad
from ptylive.engine.memory import check_fits
from ptylive.engine.probe import ComplexPlane, Probe
from ptylive.schema import Calibration
from ptylive.schema.model import DoubleArray

NODES = 5
"""Nodes of the Gauss-Hermite quadrature over a focal spread: exact for polynomials up to degree nine."""
EVERYWHERE_MRAD = 1e6
"""Semi-angle of an aperture larger than any frequency."""


class Frequencies(Protocol):
    """The window of a probe, zero frequency at [0, 0]."""

    @property
    def size(self) -> int:
        """Side length P in pixels."""
        ...

    @property
    def pixel_invA(self) -> float:
        """Distance of neighbouring frequencies."""
        ...

    @property
    def k_row(self) -> DoubleArray:
        """(P, P) spatial frequency relative to the true beam centre, 1/Å."""
        ...

    @property
    def k_col(self) -> DoubleArray:
        """(P, P)."""
        ...


@dataclass(frozen=True)
class Coherence:
    """Standard deviations of the Gaussian source (Å) and the Gaussian focal spread (Å), and the number of modes."""

    modes: int
    source_A: float
    focal_spread_A: float


def nominal_probe(
    calibration: Calibration, window: Frequencies, *, single_slice: bool, everywhere: bool = False
) -> Probe:
    """The aberrated aperture of the calibration, with an edge one pixel wide; ``everywhere``: no aperture at all.

    The probe of several slices refers to the entrance plane; a single slice is at the depth of the maps' focus.
    """
    calibration.require("energy_eV", "the refinement")
    if everywhere:
        return Probe.of(float(calibration.wavelength_A or np.nan), EVERYWHERE_MRAD, window.pixel_invA, {})
    calibration.require("convergence_semiangle_mrad", "the refinement")
    aberrations = calibration.aberrations
    if single_slice:
        aberrations["C10"] = c10_of_one_slice_A(calibration)
    wavelength = float(calibration.wavelength_A or np.nan)
    probe = Probe.of(wavelength, aperture_mrad(calibration), window.pixel_invA, aberrations)
    probe.check_sampled("the refinement")
    return probe


def c10_of_one_slice_A(calibration: Calibration) -> float:
    """C10 at a single slice, which is at the depth of the maps' focus."""
    return float(calibration.aberrations.get("C10", 0.0)) + float(calibration.get("depth_A") or 0.0)


def start_modes(probe: Probe, window: Frequencies, coherence: Coherence, counts: float) -> ComplexPlane:
    """Modes (modes, P, P) in Fourier space, sum |mode|^2 = ``counts``; in real space centred on pixel P // 2."""
    return coherent_modes(nominal_wave(probe, window), window, probe.wavelength_A, coherence, counts)


def nominal_wave(probe: Probe, window: Frequencies) -> ComplexPlane:
    """The aberrated aperture (P, P) in Fourier space; in real space centred on pixel P // 2."""
    inside = probe.aperture(window.k_row, window.k_col) > 0
    wave = np.zeros(inside.shape, dtype=np.complex128)
    wave[inside] = probe.wave(window.k_row[inside], window.k_col[inside]) * centring(window.size)[inside]
    return wave


def coherent_modes(
    wave: ComplexPlane, window: Frequencies, wavelength_A: float, coherence: Coherence, counts: float
) -> ComplexPlane:
    """Modes (modes, P, P) of a wave (P, P) with source size and focal spread, ``counts`` in total."""
    inside = wave != 0
    waves = wave[inside]
    if coherence.modes > 1:
        waves = _leading_modes(waves, window.k_row[inside], window.k_col[inside], wavelength_A, coherence)
    modes = np.zeros((coherence.modes, *wave.shape), dtype=np.complex128)
    modes[:, inside] = waves
    return with_counts(modes, counts)


def with_counts(modes: ComplexPlane, counts: float) -> ComplexPlane:
    """Scale modes (modes, P, P) to sum |mode|^2 = ``counts`` over all of them."""
    return np.asarray(modes * np.sqrt(counts / (np.abs(modes) ** 2).sum()))


def plane_wave(size: int, counts: float) -> ComplexPlane:
    """One mode (1, P, P) in Fourier space that lights every pixel equally, ``counts`` in total."""
    modes = np.zeros((1, size, size), dtype=np.complex128)
    modes[0, 0, 0] = np.sqrt(counts)
    return modes


def centring(size: int) -> ComplexPlane:
    """(P, P) exp(-2 pi i f (P // 2)): moves the centre of the probe from pixel 0 to pixel P // 2."""
    ramp = np.exp(-2j * np.pi * np.fft.fftfreq(size) * (size // 2))
    return np.asarray(ramp[:, None] * ramp[None, :])


def _leading_modes(
    wave: ComplexPlane, k_row: DoubleArray, k_col: DoubleArray, wavelength_A: float, coherence: Coherence
) -> ComplexPlane:
    """Leading eigenvectors (modes, pixels) of the density matrix of the averaged probe.

    Raises MetadataError if the waves at all nodes do not fit into memory.
    """
    node, weight = np.polynomial.hermite_e.hermegauss(NODES)
    weight = weight / weight.sum()
    focus = list(zip(node, weight, strict=True)) if coherence.focal_spread_A > 0 else [(0.0, 1.0)]
    defocus_phase = np.pi * wavelength_A * (k_row**2 + k_col**2) * coherence.focal_spread_A
    nodes = list(product(zip(node, weight, strict=True), zip(node, weight, strict=True), focus))
    waves, what = len(nodes), f"modes of a probe with {len(wave)} pixels in its aperture"
    # the waves, their conjugates, the modes, and a few waves while one is made
    check_fits(16.0 * (2 * waves + coherence.modes + 4) * len(wave), what, "use probe_modes=1, or a smaller window_px")
    sources = np.empty((waves, len(wave)), dtype=np.complex128)
    for source, ((y, wy), (x, wx), (f, wf)) in zip(sources, nodes, strict=True):
        blur = -2j * np.pi * coherence.source_A * (k_row * y + k_col * x) + 1j * defocus_phase * f
        source[:] = np.sqrt(wy * wx * wf) * wave * np.exp(blur)
    leading = [max(0, len(sources) - coherence.modes), len(sources) - 1]  # computing all takes eight times as long
    _, vectors = scipy.linalg.eigh(sources @ sources.conj().T, subset_by_index=leading)  # ascending eigenvalues
    return np.asarray(vectors[:, ::-1].conj().T @ sources)
