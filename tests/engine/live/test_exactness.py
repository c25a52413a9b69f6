"""Exact statements about the phase maps, on a periodic weak phase object computed without approximation."""

import numpy as np
import pytest
from synthetic import WeakPhaseScan

from ptylive.engine.bases import BinnedPixels
from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging.imaging_conditions import ImagingConditions, Part
from ptylive.engine.probe import Probe

EPSILON = 1e-3
STRENGTH = 0.01
"""Strength of the object (rad), and so the order of the relative second-order error, which the maps neglect."""
CASES = [{}, {"C10": -100.0}, {"C10": 80.0, "C12a": 30.0}]


class Periodic:
    """Spectra of all bright-field pixels over one period, where filters need no padding."""

    def __init__(self, aberrations: dict, strength: float = STRENGTH) -> None:
        self.scan = scan = WeakPhaseScan.make(aberrations, n=24, strength=strength)
        grid = DetectorGrid.of((scan.n, scan.n), (scan.n // 2,) * 2, "none", 1 / (scan.n * scan.step_A))
        basis = BinnedPixels.of(grid, scan.probe.semiangle_invA, np.zeros((scan.n, scan.n), bool), 2000)
        self.conditions = ImagingConditions(scan.probe, grid, basis, (scan.n, scan.n), (scan.step_A, scan.step_A), 0.0)
        bins = np.stack([scan.patterns[:, basis.bin_of == b].sum(1) for b in range(basis.count)])
        bins = (bins - bins.mean(1, keepdims=True)).reshape(-1, scan.n, scan.n)
        self.spectra = np.fft.fft2(bins).reshape(basis.count, -1)
        f = np.fft.fftfreq(scan.n, scan.step_A)
        self.q = np.stack(np.meshgrid(f, f, indexing="ij"), -1).reshape(-1, 2)

    def phase(self, *, part: Part = Part.WHOLE, turned: bool = False) -> np.ndarray:
        """Wiener phase with the whole transfer (OBF, flat noise), or with that of single overlaps (SSB).

        ``turned`` selects the other member of the pair: rotation + 180 degrees and reversed aberrations.
        """
        conditions, q = self.conditions, self.q
        if turned:
            probe, reversed_signs = conditions.probe, {name: -value for name, value in self.scan.aberrations.items()}
            mrad = probe.semiangle_invA * probe.wavelength_A * 1e3
            conditions = conditions.with_probe(Probe.of(probe.wavelength_A, mrad, probe.edge_invA, reversed_signs))
            q = -q
        transfer = conditions.transfer(q, part)
        power = (np.abs(transfer) ** 2).sum(0)
        spectrum = (transfer.conj() * self.spectra).sum(0) / (power + EPSILON * power.max())
        return np.fft.ifft2(spectrum.reshape(self.scan.phase.shape)).real

    def band(self, level: float) -> np.ndarray:
        """Frequencies with more than the share ``level`` of the highest power."""
        power = (np.abs(self.conditions.transfer(self.q)) ** 2).sum(0)
        return (power > level * power.max()).reshape(self.scan.phase.shape)


@pytest.mark.parametrize("aberrations", CASES)
def test_phase_is_returned_in_band(aberrations):
    periodic = Periodic(aberrations)
    band = periodic.band(0.3)
    found, truth = np.fft.fft2(periodic.phase())[band], np.fft.fft2(periodic.scan.phase)[band]
    assert np.linalg.norm(found - truth) < STRENGTH * np.linalg.norm(truth)


def test_in_focus_optimum_bright_field_is_single_sideband():
    """In focus only single overlaps remain, so the filters are equal up to single precision, amplified by some tens."""
    periodic = Periodic({})
    whole, single = periodic.phase(), periodic.phase(part=Part.SIDEBANDS)
    assert np.abs(whole - single).max() < 1e-5 * np.abs(whole).max()


@pytest.mark.parametrize("aberrations", CASES)
def test_half_a_turn_with_reversed_aberrations_negates_the_map(aberrations):
    periodic = Periodic(aberrations)
    remove_shear, turned = periodic.phase(), periodic.phase(turned=True)
    # transfers in single precision with phases up to some 20 rad: 1e-6 of them
    np.testing.assert_allclose(turned, -remove_shear, atol=2e-6 * np.abs(remove_shear).max())


@pytest.mark.parametrize("aberrations", CASES)
def test_transfer_equals_the_overlaps_summed_by_hand(aberrations):
    """Gamma = i [P*(k) P(k - Q) - P(k) P*(k + Q)], computed from the wave itself, pixel by pixel."""
    periodic = Periodic(aberrations)
    conditions, probe = periodic.conditions, periodic.conditions.probe
    k = conditions.samples.k
    chosen = np.arange(0, len(periodic.q), 17)

    def wave(points: np.ndarray) -> np.ndarray:
        return probe.wave(points[..., 0], points[..., 1])

    here, q = wave(k)[:, None], periodic.q[chosen]
    below, above = wave(k[:, None] - q), wave(k[:, None] + q)
    by_hand = 1j * (here.conj() * below - here * above.conj()) / conditions.disc_pixels
    found = conditions.transfer(q)
    # phases of up to some 20 rad in single precision: 1e-6 each, and as much from the soft edge
    assert np.abs(found - by_hand).max() < 1e-5 * np.abs(by_hand).max()
