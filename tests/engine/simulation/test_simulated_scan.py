"""Whole simulated scans: electrons are conserved, seeds work, and our own calibration finds the simulated values."""

import json

import numpy as np
import pytest

from ptylive.engine.live.engine import reconstruct
from ptylive.engine.probe import Probe
from ptylive.engine.simulation.simulated_scan import SimulatedScan
from ptylive.schema import FrameBatch
from ptylive.schema.simulation.settings import SimulationSettings

SMALL = {"scan_shape": (4, 5), "detector_shape": 32, "dtype": "f4", "poisson": False, "electrons_per_pattern": 1}


def made(folder, **values):
    return SimulatedScan.of(SimulationSettings.of(values), folder / "unused.h5")


def every(scan):
    return scan.frames(np.arange(scan.header.frames))


@pytest.mark.slow
def test_no_electron_is_lost(tmp_path):
    """The phase scatters nothing beyond the detector; sums of 32 x 32 numbers in single precision."""
    for values in ({"specimen": "vacuum"}, {"specimen": "gaussians", "phase_rad": 0.2, "feature_A": 3}):
        scan = made(tmp_path, **SMALL, **values, source_size_A=0.5, focal_spread_A=20)
        np.testing.assert_allclose(every(scan).sum(axis=(1, 2)), 1.0, atol=2e-5)
        assert scan.detected_fraction == pytest.approx(1.0, abs=2e-5)


def test_vacuum_is_the_aperture(tmp_path):
    scan = made(tmp_path, **SMALL, specimen="vacuum", Cs_A="10 µm", defocus_A=0)
    rows, cols = scan.window.frequencies()
    probe = Probe.of(scan.window.wavelength_A, 25.0, scan.window.detector_pixel_invA, {})
    disc = np.fft.fftshift(probe.aperture(rows, cols) ** 2)
    middle = slice(scan.window.size // 2 - 16, scan.window.size // 2 + 16)
    np.testing.assert_allclose(every(scan)[3], (disc / disc.sum())[middle, middle], atol=1e-8)


def test_a_slope_of_the_phase_moves_the_pattern(tmp_path):
    """The pattern moves by the slope over 2 pi, along the detector's axes (docs/conventions.md)."""
    values = {"specimen": "gradient", "phase_rad": 0.9, "feature_A": 6, "orientation_deg": 30, "rotation_deg": 40}
    # the slope has a step at the window's rim, where the probe's tails are
    scan = made(tmp_path, **SMALL, **values, oversampling=2, reach=1)
    frames = every(scan).astype(float)
    places = np.arange(32) - 16
    mean = np.stack([(frames.sum(axis=2) * places).sum(axis=1), (frames.sum(axis=1) * places).sum(axis=1)], axis=1)
    slope = 0.9 / 6 / (2 * np.pi) * np.array([np.cos(np.deg2rad(30)), np.sin(np.deg2rad(30))])
    np.testing.assert_allclose(mean * scan.window.detector_pixel_invA, np.tile(slope, (20, 1)), rtol=0.02)


@pytest.mark.parametrize(
    ("words", "times"),
    [  # each model has another size, for which a kernel is compiled
        pytest.param("transpose", 4, marks=pytest.mark.slow),
        ("transpose+flip_cols", 2),
        pytest.param("flip_rows", 3, marks=pytest.mark.slow),
    ],
)
def test_descan_and_offset_move_the_pattern_as_recorded(tmp_path, words, times):
    """Found: within 0.002 px, limited by tails of the moved wave's edge in a window of finite size."""
    shape = {"detector_shape": (24, 32), "reach": 1, "oversampling": times, "detector_transform": words}
    values = {
        **SMALL,
        **shape,
        "specimen": "vacuum",
        "beam_offset_px": (1.25, -0.5),
        "descan_px": (2.0, -1.0, 0.5, 1.5),
    }
    scan = made(tmp_path, **values)
    frames = every(scan).astype(float)
    rows, cols = frames.sum(axis=2) @ np.arange(24), frames.sum(axis=1) @ np.arange(32)
    mean = np.stack([rows, cols], axis=1) / frames.sum(axis=(1, 2))[:, None]
    np.testing.assert_allclose(mean, scan.trajectory.descan_px + np.array([13.25, 15.5]), atol=5e-3)
    assert np.ptp(scan.trajectory.descan_px, axis=0) == pytest.approx([3.0, 2.0])


@pytest.mark.slow
def test_frames_do_not_depend_on_each_other(tmp_path):
    values = {"scan_shape": (4, 5), "detector_shape": 32, "position_jitter_A": 0.1, "read_noise_counts": 1}
    scan = made(tmp_path, **values)
    frames = every(scan)
    np.testing.assert_array_equal(scan.frames(np.array([13])), frames[13:14])
    np.testing.assert_array_equal(every(made(tmp_path, **values)), frames)
    other = made(tmp_path, **values, seed=2)
    assert (every(other) != frames).any()
    assert other.header.uid != scan.header.uid


def test_free_space_is_defocus(tmp_path):
    """A plane d below the entrance plane is C10 + d out of focus (docs/conventions.md)."""
    scan = made(tmp_path, **SMALL, specimen="crystal", thickness_A=8)
    rows, cols = scan.window.frequencies()
    probe = Probe.of(scan.window.wavelength_A, 25.0, 1.0, {"C10": scan.specimen.slice_thickness_A})
    near = np.hypot(rows, cols) < scan.window.limit_invA
    np.testing.assert_allclose(scan._propagators[0][near], np.exp(-1j * probe.chi(rows, cols))[near], atol=1e-12)
    assert not scan._propagators[0][~near & (np.hypot(rows, cols) > scan.window.limit_invA)].any()


def test_source_size_is_a_sum_over_displaced_scans(tmp_path):
    """Nodes suffice when more change nothing; found: 3.5 % of the effect of the source with 3, 0.1 % with 5."""
    five, seven = (
        every(made(tmp_path, **SMALL, specimen="monolayer", source_size_A=0.6, source_points=n)) for n in (5, 7)
    )
    sharp = every(made(tmp_path, **SMALL, specimen="monolayer"))
    assert np.abs(five - seven).max() < 0.005 * np.abs(five - sharp).max()


def test_the_header_tells_everything_or_little(tmp_path):
    values = {
        **SMALL,
        "rotation_deg": 12,
        "detector_transform": "flip_cols",
        "descan_px": (1, 0, 0, 1),
        "dead_pixels": 2,
    }
    known, blind = made(tmp_path, **values).header, made(tmp_path, **values, tell="microscope").header
    assert (known.scan.rotation_deg, known.detector.transform) == (12, "flip_cols")
    assert known.optics.aberrations == {"C10": -100.0}
    assert known.detector.descan_px[:2] == (0.5, 0.0)
    assert blind.scan.rotation_deg is None
    assert not blind.detector.transform_given and not blind.optics.aberrations
    assert blind.detector.beam_center_px is None and blind.detector.descan_px is None
    assert np.count_nonzero(blind.arrays["bad_pixel_mask"]) == 2
    assert blind.detector.pixel_mrad == known.detector.pixel_mrad


def test_the_truth_is_complete(tmp_path):
    scan = made(tmp_path, **SMALL, flyback_frames=2, drift_A=(1, 1))
    every(scan)
    arrays, attributes = scan.truth()
    assert arrays["positions_A"].shape == (4, 7, 2)
    assert arrays["flyback_mask"].sum() == 8
    assert (np.abs(arrays["probe"]) ** 2).sum() == pytest.approx(1.0, rel=1e-5)  # single precision
    assert SimulationSettings.of(json.loads(attributes["settings"])) == scan.settings
    np.testing.assert_allclose(arrays["nominal_positions_A"][0, 0], attributes["first_point_A"])
    low, high = arrays["positions_A"].min(axis=(0, 1)), arrays["positions_A"].max(axis=(0, 1))
    assert (low > 0).all() and (high < np.array(arrays["phase"].shape) * attributes["object_sampling_A"]).all()


CASES = (
    {"rotation_deg": 25.0, "detector_transform": "transpose", "defocus_A": 80.0},
    {"rotation_deg": -40.0, "detector_transform": "none", "defocus_A": -90.0, "descan_px": (2.0, -1.0, 1.5, 0.5)},
)


@pytest.mark.slow
@pytest.mark.parametrize("truth", CASES, ids=["transposed", "overfocus-and-descan"])
def test_the_calibration_finds_what_was_put_in(tmp_path, truth):
    """Only energy, aperture, step and pixel are given. Found: within 0.1 degrees, 5 Å and 0.02 px.

    The focus is that of a sheet 9.3 Å thick, whose middle lies below the entrance plane, to which the defocus refers.
    """
    scan = made(tmp_path, tell="microscope", scan_step_A=0.4, **truth)
    frames = every(scan)

    def batches():
        yield FrameBatch(scan.header.uid, np.arange(len(frames)), frames)

    calibration = reconstruct(scan.header, batches, methods=["obf"])[0].calibration
    assert calibration.get("detector_transform") == truth["detector_transform"]
    assert calibration.get("rotation_deg") == pytest.approx(truth["rotation_deg"], abs=0.5)
    assert calibration.get("C10") == pytest.approx(-truth["defocus_A"], abs=12.0)
    wander = np.array(calibration.get("descan_px") or np.zeros(10))[[0, 1, 5, 6]]
    np.testing.assert_allclose(2 * wander, truth.get("descan_px", np.zeros(4)), atol=0.1)
