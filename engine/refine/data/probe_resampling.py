"""Conversion of probe modes to another window, other pixels, or another number of modes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ptylive.engine.probe import ComplexPlane
from ptylive.engine.refine.data.start_probe import Coherence, Frequencies, centring, coherent_modes
from ptylive.schema.model import ComplexArray

SAME = 1e-6
"""Relative difference up to which pixels count as equal, because they are computed twice in single precision."""


def in_window(
    probe: ComplexArray, pixel_A: float, size: int, new_pixel_A: float, moved_invA: tuple[float, float] = (0.0, 0.0)
) -> ComplexPlane:
    """Convert modes (modes, P, P), real space, centred on pixel P // 2, to Fourier modes of a ``size`` pixel window.

    moved_invA: difference of the frequencies (row, column) of pixel (0, 0) in the new and the old window. The wave is
    evaluated at the new window's frequencies; beyond the old window, in either space, it is 0. If the new window is
    narrower in real space than the probe, the probe's rim is aliased. Powers of modes are comparable with each other,
    but not with those before.
    """
    old = probe.shape[-1]
    if old == size and abs(new_pixel_A / pixel_A - 1) < SAME and not any(moved_invA):
        return np.asarray(np.fft.fft2(probe, norm="ortho"), dtype=np.complex128)
    at = (np.arange(old) - old // 2) * pixel_A
    waves = []
    for moved in moved_invA:
        frequency = np.fft.fftfreq(size, new_pixel_A) + moved
        wave = np.exp(-2j * np.pi * frequency[:, None] * at)
        wave[np.abs(frequency) > 0.5 / pixel_A * (1 + SAME)] = 0
        waves.append(wave)
    return np.asarray(waves[0] @ probe @ waves[1].T / old * centring(size))


def in_number(
    modes: ComplexPlane, number: int, window: Frequencies, wavelength_A: float, coherence: Coherence
) -> ComplexPlane:
    """Change the number of Fourier modes (modes, P, P), preserving their counts.

    Fewer modes: the leading eigenvectors of the density matrix, the best description of the same light by that number.
    Additional modes are those that source size and focal spread add to the first mode, with their share of the
    light.
    """
    present, counts = len(modes), float((np.abs(modes) ** 2).sum())
    if number == present:
        return modes
    if number < present:
        flat = modes.reshape(present, -1)
        _, vectors = np.linalg.eigh(flat @ flat.conj().T)  # ascending eigenvalues
        reduced = (vectors[:, ::-1][:, :number].conj().T @ flat).reshape(number, *modes.shape[1:])
        return np.asarray(reduced * np.sqrt(counts / (np.abs(reduced) ** 2).sum()))
    spread = coherent_modes(modes[0], window, wavelength_A, replace(coherence, modes=number), 1.0)
    share = float((np.abs(spread[:present]) ** 2).sum())
    return np.asarray(np.concatenate([modes * np.sqrt(share), spread[present:] * np.sqrt(counts)]))
