"""Patterns arranged in the detector's frame."""

import numpy as np
import pytest

from ptylive.engine.dataset import Dataset
from ptylive.schema import Basis, Calibration, Detector, MetadataError, Optics, Origin, Quantity, Scan, ScanHeader

FRAMES = np.random.default_rng(0).poisson(5.0, (8, 4, 6)).astype(np.uint16)


def calibration(transform="none", rotation_deg=0.0):
    values = {"beam_center_px": (1.0, 2.0), "detector_transform": transform, "rotation_deg": rotation_deg}
    return Calibration({name: Quantity(value, Origin.GIVEN) for name, value in values.items()})


def header(basis=None, **arrays):
    scan = Scan(shape=(2, 3), step_A=(1.0, 2.0), flyback_frames=1)
    optics, detector = Optics(), Detector(shape=(4, 6), dtype="<u2")
    return ScanHeader("u", "s", 8, scan, optics, detector, basis or Basis(), arrays=arrays)


def test_frames_without_a_point_are_left_out_and_positions_are_those_of_their_points():
    index = np.array([4, 3, 1, 7, 0])  # two of them in the flyback
    dataset = Dataset.of(header(), calibration(rotation_deg=90.0), index, FRAMES[: len(index)])
    np.testing.assert_array_equal(dataset.point, [3, 1, 0])
    np.testing.assert_array_equal(dataset.patterns, FRAMES[[0, 2, 4]])
    np.testing.assert_allclose(dataset.positions_A, [[0, 1], [-2, 0], [0, 0]], atol=1e-12)
    assert dataset.scan_shape == (2, 3) and dataset.masks is None and dataset.offsets_px is None


def test_everything_of_the_detector_is_turned_into_its_frame():
    bad, vacuum = np.zeros((4, 6), dtype=bool), np.arange(24.0).reshape(4, 6)
    bad[0, 5] = True
    arrays = {"bad_pixel_mask": bad, "vacuum_pattern": vacuum}
    dataset = Dataset.of(header(**arrays), calibration("transpose"), np.array([0]), FRAMES[:1])
    np.testing.assert_array_equal(dataset.patterns[0], FRAMES[0].T)
    np.testing.assert_array_equal(dataset.bad_pixels, bad.T)
    np.testing.assert_array_equal(dataset.vacuum, vacuum.T)
    np.testing.assert_array_equal(dataset.beam_center_px, [2.0, 1.0])


def test_positions_that_were_given_replace_nominal_ones():
    given = np.random.default_rng(1).normal(size=(6, 2))
    dataset = Dataset.of(header(positions_A=given), calibration(rotation_deg=90.0), np.array([1, 0]), FRAMES[:2])
    np.testing.assert_array_equal(dataset.positions_A, given[[1, 0]])


def test_coefficients_stay_and_their_masks_are_turned():
    masks = np.random.default_rng(2).normal(size=(3, 4, 6)).astype(np.float32)
    vectors = np.arange(8.0, dtype=np.float32).reshape(2, 4)
    basis = Basis(kind="zernike", n_bright=2, n_dark=1, extra=("sum",))
    dataset = Dataset.of(header(basis, masks=masks), calibration("transpose"), np.array([0, 1]), vectors)
    np.testing.assert_array_equal(dataset.patterns, vectors)
    np.testing.assert_array_equal(dataset.masks, masks.transpose(0, 2, 1))


@pytest.mark.parametrize("selected", [False, True])
def test_a_part_has_all_that_belongs_to_its_patterns(selected):
    whole = Dataset.of(header(), calibration(), np.array([0, 1, 2]), FRAMES[:3])
    whole = Dataset(
        **{
            **vars(whole),
            "offsets_px": np.arange(6.0).reshape(3, 2),
            "scan_of": np.array([0, 1, 1]),
            "current": np.arange(1.0, 4.0),
        }
    )
    chosen = np.array([2, 0])
    part = whole.part(chosen, FRAMES[5:7] if selected else None)
    np.testing.assert_array_equal(part.patterns, FRAMES[5:7] if selected else FRAMES[[2, 0]])
    for name in ("point", "positions_A", "offsets_px", "scan_of"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[chosen])
    assert part.scan_shape == whole.scan_shape


def test_every_pattern_has_the_beam_current_of_its_row():
    found = calibration().having(beam_current=Quantity((0.9, 1.1), Origin.ESTIMATED))
    index = np.array([4, 3, 1, 7, 0])  # two of them in the flyback
    np.testing.assert_array_equal(Dataset.of(header(), found, index, FRAMES[:5]).current, [1.1, 0.9, 0.9])
    constant = found.having(beam_current=Quantity((1.0,), Origin.GIVEN))
    for unchanged in (calibration(), constant):
        assert Dataset.of(header(), unchanged, index, FRAMES[:5]).current is None
    for other in ((0.9, 1.1, 1.0), (0.0, 1.0), (float("nan"), 1.0)):
        wrong = found.having(beam_current=Quantity(other, Origin.ESTIMATED))
        with pytest.raises(MetadataError, match="beam_current is not that of the 2 rows"):
            Dataset.of(header(), wrong, index, FRAMES[:5])
