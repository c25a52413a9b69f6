"""Bright-field images aligned with each other, for a defocused scan with aberrations of every order."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

import ptylive
from ptylive.application.offline import reconstruct_file
from ptylive.engine.calibrate.alignment import image_shifts
from ptylive.engine.calibrate.alignment.image_shifts import (
    INNER,
    AlignmentOptions,
    measure_shifts,
    near_peak,
    reference_of,
)
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.schema import MetadataError

TRUE = {"C10": -250.0, "C12a": 20.0, "C12b": -15.0, "C21a": 900.0, "C23b": -800.0, "C30": 30000.0}


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """Store and conditions of a scan of whose aberrations only an approximate defocus is known."""
    path = tmp_path_factory.mktemp("aligned") / "atoms.h5"
    higher = {name: value for name, value in TRUE.items() if name not in ("C10", "C30")}
    ptylive.simulate(
        path,
        seed=3,
        tell="microscope",
        specimen="atoms",
        coverage=0.2,
        energy_eV=300e3,
        convergence_semiangle_mrad=20,
        scan_shape=(32, 32),
        scan_step_A=(1.2, 1.2),
        defocus_A=-TRUE["C10"],
        Cs_A=TRUE["C30"],
        rotation_deg=30,
        **higher,
    )
    # near what calibration finds automatically; its search among aliases would take most of the time of this file
    roughly = {"defocus_A": 1.1 * -TRUE["C10"], "rotation_deg": 27}
    engine = reconstruct_file(path, roughly, ["bf"]).engine
    header = engine.store.header
    shapes = header.detector_shape, header.scan.require_shape()
    conditions = ImagingConditions.of(engine.calibration, engine.store.reduction.basis, *shapes, header.scan.step_A)
    return engine.store, conditions


@pytest.mark.slow
def test_a_scan_of_nothing_is_not_aligned(scanned):
    store, conditions = scanned
    blank = store.snapshot()
    blank.bins[:] = store.bins.mean(axis=0)
    with pytest.raises(MetadataError, match="images of the bright field are flat"):
        measure_shifts(blank, conditions, AlignmentOptions())


@pytest.fixture(scope="module")
def found(scanned):
    """Twelve aberrations, which several tests compare others with."""
    return measure_shifts(*scanned, AlignmentOptions(order=3))


def test_twelve_aberrations_and_the_rotation_explain_the_shifts(found):
    assert len(found.aberrations) == 12
    assert found.rotation_deg == pytest.approx(30, abs=1)
    assert found.aberrations["C10"] == pytest.approx(TRUE["C10"], abs=25)
    for name, error in found.errors_A.items():
        assert abs(found.aberrations[name] - TRUE.get(name, 0.0)) < 2 * error, name
    assert abs(found.aberrations["C21a"]) > 0.5 * TRUE["C21a"]
    assert found.rms_A < 0.3
    assert np.abs(found.shift_A).max() > 3, "there is something to explain"


def test_bins_near_the_rim_are_not_fitted(found):
    """Their shifts deviate from the gradient (INNER); all of them are measured."""
    distance = np.hypot(*found.k.T) / found.semiangle_invA
    np.testing.assert_array_equal(found.used, distance < INNER)
    assert not found.used.all() and np.isfinite(found.shift_A).all()


def test_a_low_order_leaves_more_unexplained(scanned, found):
    low, high = measure_shifts(*scanned, AlignmentOptions(order=1)), found
    assert set(low.aberrations) == {"C10", "C12a", "C12b"}
    assert low.rms_A > 1.4 * high.rms_A


def test_from_nothing_the_same_shifts_are_found_within_half_a_turn(scanned):
    found = measure_shifts(*scanned, AlignmentOptions(near=False))
    turned = found.rotation_deg % 180
    assert turned == pytest.approx(30, abs=5)
    sign = 1 if abs(found.rotation_deg - 30) < 90 else -1
    assert sign * found.aberrations["C10"] == pytest.approx(TRUE["C10"], rel=0.2)


def test_a_forced_rotation_stays(scanned):
    found = measure_shifts(*scanned, AlignmentOptions(), rotation_deg=12.0)
    assert (found.rotation_deg, found.rotation_error_deg) == (12.0, 0.0)
    assert found.rms_A > 1.5 * measure_shifts(*scanned, AlignmentOptions()).rms_A


@pytest.mark.slow
def test_bins_and_reference_are_those_asked_for(scanned):
    coarse, fine = (measure_shifts(*scanned, AlignmentOptions(bin_px=size)) for size in (6, 3))
    assert len(fine.k) > 3 * len(coarse.k)
    centre = measure_shifts(*scanned, AlignmentOptions(reference=reference_of("centre")))
    assert centre.aberrations["C10"] == pytest.approx(TRUE["C10"], rel=0.2)
    assert not np.array_equal(centre.shift_A, measure_shifts(*scanned, AlignmentOptions()).shift_A)


def test_the_aligned_image_is_sharper_than_the_sum(scanned):
    found = measure_shifts(*scanned, AlignmentOptions(order=3))
    plain = np.abs(found.spectra.mean(axis=0)) ** 2
    assert (np.abs(found.aligned()) ** 2)[8:-8, 8:-8].sum() > 1.5 * plain[8:-8, 8:-8].sum()
    assert found.aligned(3).shape == tuple(3 * n for n in plain.shape)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"order": 4}, "order=4"),
        ({"bin_px": 0}, "bin_px=0"),
        ({"rounds": 0}, "rounds=0"),
        ({"bin_px": np.nan}, "bin_px"),
    ],
)
def test_what_cannot_be_is_refused_by_name(values, words):
    with pytest.raises(MetadataError, match=words):
        AlignmentOptions(**values)


def test_a_reference_that_is_none_gets_the_nearest_name():
    with pytest.raises(MetadataError) as refused:
        reference_of("center")
    assert "centre" in refused.value.hint


def test_too_few_bins_are_refused(scanned):
    with pytest.raises(MetadataError, match="bins are too few"):
        measure_shifts(*scanned, AlignmentOptions(bin_px=12, order=3))


@pytest.fixture(scope="module")
def rimmed(tmp_path_factory):
    """A scan with defocus as its only aberration and steps coarser than the window in which maxima are searched."""
    path = tmp_path_factory.mktemp("rim") / "gaussians.h5"
    ptylive.simulate(
        path, seed=5, specimen="gaussians", energy_eV=300e3, convergence_semiangle_mrad=20, scan_shape=(40, 40),
        scan_step_A=(1.5, 1.5), defocus_A=400, rotation_deg=-15, detector_shape=64, detector_pixel_mrad=0.86,
    )  # fmt: skip
    made = reconstruct_file(path, {"defocus_A": 400, "rotation_deg": -15}, ["bf"])  # calibration is tested elsewhere
    header = made.engine.store.header
    shapes = header.detector_shape, header.scan.require_shape()
    basis = made.engine.store.reduction.basis
    return made.engine.store, ImagingConditions.of(made.calibration, basis, *shapes, (1.5, 1.5))


@pytest.mark.slow
def test_what_the_rim_shows_is_no_spherical_aberration(rimmed):
    """A fit to all bins gives C30 = -0.3 mm, 20 of its own standard errors."""
    found = measure_shifts(*rimmed, AlignmentOptions(order=3), -15.0)
    assert abs(found.aberrations["C30"]) < 2 * found.errors_A["C30"]
    assert abs(found.aberrations["C10"] + 400) < 2 * found.errors_A["C10"]
    assert found.errors_A["C10"] < 40
    assert not found.used.all() and np.hypot(*found.k[found.used].T).max() < INNER * found.semiangle_invA


@pytest.mark.slow
def test_a_wrong_calibration_is_left(rimmed):
    """A window narrower than the step pulled every shift back to the value of the calibration."""
    store, conditions = rimmed
    wrong = conditions.with_probe(conditions.probe.refocused(25.0))
    found = measure_shifts(store, wrong, AlignmentOptions(order=1), -15.0)
    assert abs(found.aberrations["C10"] + 400) < 10


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.31, -0.77), (-1.2, 0.4)])
def test_a_maximum_is_found_between_the_points(shift):
    """Tested on a band-limited bump at a known place: found to a hundredth of the step."""
    n, step = 24, np.array([2.0, 2.0])
    q = np.stack(np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n), indexing="ij"))
    cross = np.exp(-((q**2).sum(axis=0) / 0.1**2)) * np.exp(-2j * np.pi * np.tensordot(np.array(shift) / step, q, 1))
    place, height = near_peak(cross, step, 1.0)
    np.testing.assert_allclose(place, shift, atol=0.02)
    assert height == pytest.approx(np.abs(cross).sum(), rel=1e-3)


def test_a_very_fine_scan_takes_no_more_memory():
    """With points of 0.002 and a window of 1, searching to a thousandth would need 10^8 points per correlation."""
    n, step, shift = 512, np.array([0.002, 0.002]), (0.07, -0.11)
    q = np.fft.fftfreq(n, 0.002)
    along = [np.exp(-((q / 2) ** 2) - 2j * np.pi * q * one) for one in shift]
    tracemalloc.start()
    place, _ = near_peak(np.outer(*along), step, 1.0)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(place, shift, atol=0.01)
    assert most < 5e7


def test_rotations_on_either_side_of_half_a_turn_agree(scanned, found, monkeypatch):
    """Regression: fits of 179.9° and -179.9° made the rotation uncertain by 360°."""
    rotations = iter((179.9, -179.9, 180.0))
    work = image_shifts._Work(*scanned, AlignmentOptions(order=3), None, slice(0, 32))
    monkeypatch.setattr(work, "_fit", lambda *_: replace(found, rotation_deg=next(rotations)))
    start = replace(found, rotation_deg=-179.95, rotation_error_deg=0.0)
    assert work.with_contradiction(start).rotation_error_deg == pytest.approx(0.2)
