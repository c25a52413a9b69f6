"""Probe modes brought to another window, other pixels, or another number of modes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ptylive.engine.probe import ComplexPlane
from ptylive.engine.refine.data.start_probe import Coherence, Frequencies, centring, coherent_modes
from ptylive.schema.model import ComplexArray

SAME = 1e-6
"""Relative difference of pixels that are the same one, computed twice in single precision."""


def in_window(
    probe: ComplexArray, pixel_A: float, size: int, new_pixel_A: float, moved_invA: tuple[float, float] = (0.0, 0.0)
) -> ComplexPlane:
    """Modes (modes, P, P) in real space, centred on pixel P // 2, as Fourier modes of a window of ``size`` pixels.

    moved_invA: how much higher the frequency (row, column) of the new window's pixel (0, 0) is than that of the old
    one's. The wave is evaluated at the new window's frequencies; beyond the old window, in either space, it is 0. Where
    the new window is narrower in real space than the probe, its rim is folded back. Powers of modes are comparable with
    each other, not with those before.
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
    """Fourier modes (modes, P, P) in another number, with the counts they had.

    Fewer: the leading eigenvectors of their density matrix, the best description of the same light by that number.
    Added ones are those that source size and focal spread give the first mode, with the share of the light they have
    there.
    """
    there, counts = len(modes), float((np.abs(modes) ** 2).sum())
    if number == there:
        return modes
    if number < there:
        flat = modes.reshape(there, -1)
        _, vectors = np.linalg.eigh(flat @ flat.conj().T)  # ascending eigenvalues
        kept = (vectors[:, ::-1][:, :number].conj().T @ flat).reshape(number, *modes.shape[1:])
        return np.asarray(kept * np.sqrt(counts / (np.abs(kept) ** 2).sum()))
    spread = coherent_modes(modes[0], window, wavelength_A, replace(coherence, modes=number), 1.0)
    share = float((np.abs(spread[:there]) ** 2).sum())
    return np.asarray(np.concatenate([modes * np.sqrt(share), spread[there:] * np.sqrt(counts)]))
