"""Patterns of a file for a refinement and for virtual detectors: effects known to the calibration are removed."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from quick_first import quick_first
from scan_parts import part_of

from ptylive.application import offline
from ptylive.application.detector_texts import read_detectors
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.detector import Descan
from ptylive.streamer.source import open_array, open_source

RNG = np.random.default_rng(5)
COUNTS = RNG.poisson(4.0, (6, 7, 16, 18)).astype(np.uint16)
STUCK = (4, 11)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path, counts = tmp_path / "scan.h5", COUNTS.copy()
    counts[:, :, STUCK[0], STUCK[1]] = 60000
    with h5py.File(path, "w") as file:
        file["data"] = counts
        file.create_group("metadata").attrs.update(
            {"energy_eV": 80e3, "convergence_semiangle_mrad": 20.0, "scan_step_A": 0.5}
        )
    return path


def known(**more: object) -> Calibration:
    values = {"beam_center_px": (7.5, 8.5), "bad_pixels_px": tuple(map(float, STUCK)), **more}
    return Calibration({name: Quantity(value, Origin.ESTIMATED) for name, value in values.items()})


@pytest.mark.parametrize("descan", [{}, {"descan_px": Descan.of([3.2, 0.0, -1.3, 2.0]).numbers}])
def test_patterns_read_when_they_are_asked_for_are_the_same(scan, monkeypatch, descan) -> None:
    calibration = known(**descan, detector_transform="transpose")
    with open_source(scan, {}) as source:
        read = offline.refinable(source, calibration)
        monkeypatch.setattr(offline, "STREAMED_PIXELS", 0)
        later = offline.refinable(source, calibration)
        assert isinstance(read.patterns, np.ndarray) and not isinstance(later.patterns, np.ndarray)
        np.testing.assert_array_equal(later.patterns[np.arange(42)], read.patterns)
    np.testing.assert_array_equal(later.bad_pixels, read.bad_pixels)
    assert (read.offsets_px is None, later.offsets_px is None) == (not descan, not descan)
    if descan:
        np.testing.assert_array_equal(later.offsets_px, read.offsets_px)
        assert read.patterns.max() < 60000, "filled before it is moved"
    else:
        assert np.argwhere(read.bad_pixels).tolist() == [[STUCK[1], STUCK[0]]]


def test_what_a_user_gave_is_taken_out_of_what_the_file_tells(scan) -> None:
    with open_source(scan, {}) as source:
        told = offline.without(source.header, ["optics.energy_eV", "dark_reference", "detector.gain_reference"])
    assert (told.optics.energy_eV, told.scan.step_A) == (None, (0.5, 0.5))


def test_virtual_detectors_leave_found_pixels_out(scan) -> None:
    with open_source(scan, {}) as source:
        (shown,) = offline.summed(source, read_detectors({"all": "disc:7.5,8.5,30"}), known(), COUNTS.mean(axis=(0, 1)))
    without = COUNTS.sum(axis=(2, 3)) - COUNTS[:, :, STUCK[0], STUCK[1]]
    np.testing.assert_allclose(shown.data, without, rtol=1e-6)  # single precision


def test_what_is_to_be_checked_is_said_where_maps_are_made(scan) -> None:
    """Regression: only ``inspect`` said so, and maps of scans with wrongly cut rows were made without a remark."""
    made = offline.reconstruct_file(scan, {"scan_shape": (7, 6)}, ["bf"])
    cut, assumed = made.remarks
    assert cut == "frames stored as 6 x 7 are read one after the other, for 7 x 6 points: check it"
    assert assumed.startswith("the mean pattern shows no disc")
    assert offline.reconstruct_file(scan, {"beam_center_px": (8, 9)}, ["bf"]).remarks == ()


def test_a_saturated_detector_is_told_of_where_maps_are_made(scan) -> None:
    with h5py.File(scan, "r+") as file:
        file["data"][...] = np.minimum(file["data"][()], 6)
    said = offline.reconstruct_file(scan, {"beam_center_px": (8, 9)}, ["bf"]).remarks
    assert any("hold 6, the largest number" in remark for remark in said)


def test_flashes_are_told_of_until_they_are_limited(scan) -> None:
    with h5py.File(scan, "r+") as file:
        file["data"][2, 3, 8, 8] = 5000
    told = {"beam_center_px": (8, 9), "bad_pixel_mask": np.indices((16, 18)).sum(axis=0) == -1}
    (said,) = (r for r in offline.reconstruct_file(scan, told, ["bf"]).remarks if "single pixels hold" in r)
    limit = said.split("saturation_value=")[1].split(",")[0]
    limited = offline.reconstruct_file(scan, {**told, "saturation_value": float(limit)}, ["bf"])
    assert not any("single pixels hold" in remark for remark in limited.remarks)


def test_a_detector_beyond_the_patterns_is_told_of(scan) -> None:
    """Regression: its map, all zeros, was made without a warning."""
    request = offline.MapRequest(detectors={"far": "ring:60,70", "near": "disc:3"})
    made = offline.reconstruct_file(scan, {}, ["bf"], request)
    assert [remark for remark in made.remarks if "vd_" in remark] == [
        "vd_far: ring 60–70 px, which contains no pixel of the detector"
    ]


@pytest.mark.parametrize(
    ("more_deg", "said"),
    quick_first([(0.0, None), (30.0, "phases are smeared"), (180.0, "the dark field shows another 180°")], 2),
)
def test_a_rotation_of_the_wrong_sign_is_told_of_where_maps_are_made(tmp_path, more_deg, said) -> None:
    path = part_of("mos2_svac_80kV_focus", 32, tmp_path / "scan.h5")
    with open_source(path, {}) as source:
        given = float(source.header.scan.rotation_deg or 0.0)
    made = offline.reconstruct_file(path, {"rotation_deg": given + more_deg}, ["com"])
    assert [said in one for one in made.remarks] == ([] if said is None else [True])


def test_exchanged_axes_are_told_of_where_maps_are_made() -> None:
    rows, columns = np.indices((32, 32)) - 15.5
    patterns = np.where(np.hypot(rows, columns) < 9, 20, 0) + np.zeros((18, 17, 1, 1), int)
    data = np.random.default_rng(3).poisson(patterns).astype(np.uint16)
    for axes, expected in (((0, 1, 2, 3), 0), ((2, 3, 0, 1), 1)):
        with open_array(data.transpose(axes)) as source:
            remarks = offline.reconstruct_source(source, {}, ["bf"]).remarks
        assert sum("exchanged?" in remark for remark in remarks) == expected
        assert len(remarks) == expected


def test_what_follows_the_last_frame_is_not_shown_as_done(scan) -> None:
    """Regression: `maps: 168 of 168 (100 %)` stood there for the minutes of a calibration."""
    told: list[tuple[int, int, str]] = []
    offline.reconstruct_file(scan, {}, ["bf"], on_progress=lambda *progress: told.append(progress))
    assert told[-1] == (0, 0, f"{scan.name}: calibration and maps")
    assert all(done < total for done, total, words in told if "calibration" not in words)
