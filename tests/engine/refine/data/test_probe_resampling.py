"""Probes converted to other windows and numbers of modes, compared with the same optics computed there."""

from dataclasses import dataclass

import numpy as np
import pytest

from ptylive.engine.probe import Probe
from ptylive.engine.refine.data.probe_resampling import in_number, in_window
from ptylive.engine.refine.data.start_probe import Coherence, start_modes
from ptylive.schema.units import wavelength_A

WAVELENGTH_A = wavelength_A(80e3)
COHERENCE = Coherence(modes=4, source_A=0.3, focal_spread_A=20.0)


@dataclass(frozen=True)
class Window:
    """P pixels of a detector whose beam is a fraction of a pixel off."""

    size: int
    pixel_invA: float

    @property
    def object_pixel_A(self) -> float:
        return 1 / (self.size * self.pixel_invA)

    @property
    def k_row(self) -> np.ndarray:
        along = np.rint(np.fft.fftfreq(self.size) * self.size) * self.pixel_invA + 0.01
        return np.broadcast_to(along[:, None], (self.size, self.size))

    @property
    def k_col(self) -> np.ndarray:
        return self.k_row.T


def modes(window: Window, number: int = 1) -> np.ndarray:
    """Fourier modes of an aperture with a smooth rim, so that the rim does not depend on the pixels."""
    probe = Probe.of(WAVELENGTH_A, 20.0, 0.3, {"C10": -40.0})
    return start_modes(probe, window, Coherence(number, 0.3, 20.0), 1.0)


def real(fourier: np.ndarray) -> np.ndarray:
    return np.fft.ifft2(fourier, norm="ortho")


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return 1 for identical waves."""
    return float(abs(np.vdot(first, second)) / np.linalg.norm(first) / np.linalg.norm(second))


HERE = Window(48, 0.04)


@pytest.mark.parametrize("there", [Window(32, 0.04), Window(64, 0.04), Window(48, 0.04), Window(31, 0.04)])
def test_coarse_and_fine_windows_of_one_detector_hold_the_same_coefficients(there):
    found = in_window(real(modes(HERE)), HERE.object_pixel_A, there.size, there.object_pixel_A)
    # identical frequencies need no interpolation: only rounding remains
    assert overlap(found, modes(there)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("there", [Window(96, 0.02), Window(64, 0.03), Window(40, 0.05)])
def test_other_frequencies_are_those_of_the_same_wave(there):
    """Exact except for the part of the probe beyond the narrower window, in either space."""
    here = modes(HERE)
    found = in_window(real(here), HERE.object_pixel_A, there.size, there.object_pixel_A)
    wider = np.zeros((1, 512, 512), complex)  # the wave of HERE on a fine frequency grid, from its definition
    wider[:, :48, :48] = real(here)
    at = (np.arange(48) - 24) * HERE.object_pixel_A
    frequency = np.fft.fftfreq(there.size, there.object_pixel_A)
    inside = abs(frequency) <= 0.5 / HERE.object_pixel_A
    plain = np.array([
        [np.sum(real(here)[0] * np.exp(-2j * np.pi * (a * at[:, None] + b * at))) for b in frequency[inside][:3]]
        for a in frequency[inside][:3]
    ])  # fmt: skip
    moved = np.exp(2j * np.pi * np.fft.fftfreq(there.size) * (there.size // 2))[inside][:3]
    block = found[0][np.ix_(inside, inside)][:3, :3] * moved[:, None] * moved
    assert overlap(block, plain) == pytest.approx(1, abs=1e-9)


def test_beyond_the_old_window_there_is_nothing():
    there = Window(96, 0.04)
    found = in_window(real(modes(HERE)), HERE.object_pixel_A, there.size, there.object_pixel_A)
    beyond = abs(np.fft.fftfreq(96, there.object_pixel_A)) > 0.5 / HERE.object_pixel_A
    assert not found[:, beyond].any() and not found[:, :, beyond].any()


def test_fewer_modes_keep_most_of_the_light():
    four = modes(HERE, 4)
    mixing, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))
    mixed = np.einsum("ij,jyx->iyx", mixing, four)  # another representation of the same light
    two = in_number(mixed, 2, HERE, WAVELENGTH_A, COHERENCE)
    assert overlap(two[0], four[0]) == pytest.approx(1, abs=1e-9)
    assert overlap(two[1], four[1]) == pytest.approx(1, abs=1e-9)
    assert (abs(two) ** 2).sum() == pytest.approx(1, rel=1e-12)


def test_added_modes_are_those_of_the_source():
    one, four = 3.0 * modes(HERE), modes(HERE, 4)
    found = in_number(one, 4, HERE, WAVELENGTH_A, COHERENCE)
    assert (abs(found) ** 2).sum() == pytest.approx(9, rel=1e-9)
    assert overlap(found[0], one[0]) == pytest.approx(1, abs=1e-12)
    for added, expected in zip(found[1:], four[1:], strict=True):
        assert overlap(added, expected) == pytest.approx(1, abs=1e-6)
        assert np.linalg.norm(added) == pytest.approx(3 * np.linalg.norm(expected), rel=1e-6)
    assert in_number(four, 4, HERE, WAVELENGTH_A, COHERENCE) is four
