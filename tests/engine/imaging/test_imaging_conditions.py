"""The filters, compared with a forward model that makes no approximation."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first
from synthetic import WeakPhaseScan

from ptylive.engine.bases import BinnedPixels
from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging.imaging_conditions import DISC_TOLERANCE, ImagingConditions, Part
from ptylive.schema import Calibration, Origin, Quantity

STRENGTH = 0.01
"""Strength of the object (rad), and so the order of the relative error of a first-order filter."""
CASES = [{}, {"C10": -100.0}, {"C10": 80.0, "C12a": 21.0, "C12b": 21.0}]


def setting_of(scan: WeakPhaseScan, max_bins: int = 2000) -> ImagingConditions:
    grid = DetectorGrid.of((scan.n, scan.n), (scan.n // 2,) * 2, "none", 1 / (scan.n * scan.step_A))
    basis = BinnedPixels.of(grid, scan.probe.semiangle_invA, np.zeros((scan.n, scan.n), bool), max_bins)
    return ImagingConditions(scan.probe, grid, basis, (scan.n, scan.n), (scan.step_A, scan.step_A), 0.0)


def scan_spectra(scan: WeakPhaseScan, conditions: ImagingConditions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients over the periodic scan, their frequencies, and the spectrum of the true phase."""
    bins = np.stack([scan.patterns[:, conditions.basis.bin_of == b].sum(1) for b in range(conditions.basis.count)])
    spectra = np.fft.fft2((bins - bins.mean(1, keepdims=True)).reshape(-1, scan.n, scan.n)).reshape(len(bins), -1)
    f = np.fft.fftfreq(scan.n, scan.step_A)
    q = np.stack(np.meshgrid(f, f, indexing="ij"), -1).reshape(-1, 2)
    return spectra, q, np.fft.fft2(scan.phase).ravel()


@pytest.mark.parametrize("aberrations", CASES)
@pytest.mark.parametrize("max_bins", quick_first([60, 2000]))
def test_transfer_matches_the_forward_model(aberrations, max_bins):
    scan = WeakPhaseScan.make(aberrations, strength=STRENGTH)
    conditions = setting_of(scan, max_bins)
    spectra, q, truth = scan_spectra(scan, conditions)
    transfer = conditions.transfer(q)
    power = (np.abs(transfer) ** 2).sum(0)
    band = power > 1e-2 * power.max()
    found = (transfer.conj() * spectra).sum(0)[band] / power[band]
    assert np.linalg.norm(found - truth[band]) < STRENGTH * np.linalg.norm(truth[band])


@pytest.mark.parametrize("aberrations", CASES[1:])
def test_aligned_bright_field_is_the_phase_times_its_transfer(aberrations):
    scan = WeakPhaseScan.make(aberrations, strength=STRENGTH)
    conditions = setting_of(scan)
    spectra, q, truth = scan_spectra(scan, conditions)
    weights = conditions.aligned_shifts(q)
    t = (weights * conditions.transfer(q)).sum(0)
    image = (weights * spectra).sum(0)
    band = np.abs(t) > 0.05 * np.abs(t).max()
    assert np.abs(t.imag).max() < 1e-5 * np.abs(t).max()  # sums over some 150 pixels in single precision
    assert np.linalg.norm((image - t * truth)[band]) < 2 * STRENGTH * np.linalg.norm((t * truth)[band])


def test_in_focus_the_optimum_filter_is_the_single_sideband_one():
    conditions = setting_of(WeakPhaseScan.make({}))
    q = conditions.frequencies()
    full, sidebands = conditions.transfer(q), conditions.transfer(q, Part.SIDEBANDS)
    # amplitudes up to 1 in single precision; the disc's edge lies where triple overlaps cancel
    assert np.abs(full - sidebands).max() < 1e-5 / conditions.disc_pixels


def test_half_a_turn_with_reversed_aberrations_negates_the_transfer():
    scan = WeakPhaseScan.make({"C10": 80.0, "C12a": 30.0})
    turned = WeakPhaseScan.make({"C10": -80.0, "C12a": -30.0})
    one, other = setting_of(scan), setting_of(turned)
    q = one.frequencies()
    object.__setattr__(other, "samples", replace(one.samples, k=np.ascontiguousarray(-one.samples.k)))
    # phases of up to some 20 rad in single precision
    np.testing.assert_allclose(other.transfer(q), -one.transfer(q), atol=20 * 2**-24 / one.disc_pixels)


def test_probe_disc_and_padding():
    conditions = setting_of(WeakPhaseScan.make({"C10": -100.0}))
    expected = 100.0 * conditions.probe.semiangle_invA * conditions.probe.wavelength_A
    assert conditions.disc_shift_A == pytest.approx(expected, rel=1e-6)
    assert all(n % 2 == 0 and n >= 40 for n in conditions.padded)


def of_calibration(**more):
    """Conditions from calibrated values; lengths in Å."""
    values = {"energy_eV": 80e3, "convergence_semiangle_mrad": 25.0, "detector_pixel_invA": 0.05, **more}
    values["beam_center_px"] = (15.5, 15.5)
    calibration = Calibration().having(**{name: Quantity(value, Origin.GIVEN) for name, value in values.items()})
    scan = WeakPhaseScan.make({}, n=8)
    return ImagingConditions.of(calibration, setting_of(scan).basis, (32, 32), (8, 8), (0.5, 0.5))


def test_the_depth_of_the_plane_adds_to_the_defocus():
    at_entrance, inside = of_calibration(C10=-30.0), of_calibration(C10=-70.0, depth_A=40.0)
    np.testing.assert_allclose(inside.probe.chi_polynomial, at_entrance.probe.chi_polynomial)


def test_a_measured_disc_is_believed_where_it_is_near_the_semi_angle_given():
    given = of_calibration().probe.semiangle_invA
    for share in (1 - 0.9 * DISC_TOLERANCE, 1 + 0.9 * DISC_TOLERANCE):
        assert of_calibration(disc_radius_px=share * given / 0.05).probe.semiangle_invA == pytest.approx(share * given)
    for share in (1 - 1.1 * DISC_TOLERANCE, 1 + 1.1 * DISC_TOLERANCE):
        assert of_calibration(disc_radius_px=share * given / 0.05).probe.semiangle_invA == pytest.approx(given)


@pytest.mark.parametrize("factor", [1e6, 1e9, 1e30])
def test_phases_beyond_single_precision_leave_numbers(factor):
    """Regression: maps of absurd aberrations held no number, and OBF's noise ended in an IndexError."""
    conditions = setting_of(WeakPhaseScan.make({"C10": -100.0}))
    chi = factor * conditions.probe.chi_polynomial
    absurd = replace(conditions, probe=replace(conditions.probe, chi_polynomial=chi))
    q = 3 * conditions.frequencies()  # also far outside the aperture, where its phase is larger still
    transfer = absurd.transfer(q)
    # two products of amplitudes up to 1 for each pixel of the disc, over their number
    assert np.isfinite(transfer).all()
    assert np.abs(transfer).sum(axis=0).max() <= 2.01


def test_phases_outside_the_aperture_change_nothing():
    conditions = setting_of(WeakPhaseScan.make({"C10": -100.0}))
    probe, q = conditions.probe, conditions.frequencies()
    fifth = probe.chi_polynomial.copy()
    fifth[4, 0] = 1e-6 * 2 * np.pi / probe.semiangle_invA**4  # nothing inside, beyond 50 000 rad from 500 radii on
    far = replace(conditions, probe=replace(probe, chi_polynomial=fifth))
    with_far = np.concatenate([q, np.full((1, 2), 2e4 * probe.semiangle_invA)])
    found = far.transfer(with_far)
    assert (found[:, -1] == 0).all()
    np.testing.assert_allclose(found[:, :-1], conditions.transfer(q), atol=1e-5 / conditions.disc_pixels)
