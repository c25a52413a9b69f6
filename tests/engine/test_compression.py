"""A scan of frames as one of coefficients: its sample, and the compressor for a choice of basis."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.bases.choice import parse_basis
from ptylive.engine.compression import SAMPLE_FRAMES, SavedBasis, compressor_for, resolution, sample_numbers
from ptylive.schema import Basis, Detector, MetadataError, Optics, Scan, ScanHeader

SHAPE = (24, 24)


def frames(count=20, center=(11.0, 12.0), radius=6.0):
    rows, columns = np.indices(SHAPE)
    disc = 50.0 * np.clip(radius + 0.5 - np.hypot(rows - center[0], columns - center[1]), 0, 1) + 0.5
    return np.random.default_rng(0).poisson(disc, (count, *SHAPE)).astype(np.uint16)


def header(scan=None, optics=None, basis=None, **arrays):
    detector = Detector(shape=SHAPE, dtype="<u2")
    optics = Optics.model_validate(optics or {})
    return ScanHeader("u", "s", 900, scan or Scan(), optics, detector, basis or Basis(), arrays=arrays)


def source(scan, received):
    return SimpleNamespace(path=Path("a.h5"), header=header(scan), received=received)


def test_the_sample_is_of_the_whole_scan_without_its_flyback():
    scan = Scan(shape=(30, 25), flyback_frames=5)
    received = np.ones(900, dtype=bool)
    received[:90] = False
    numbers = sample_numbers(source(scan, received))
    assert len(numbers) == len(set(numbers.tolist())) == SAMPLE_FRAMES
    assert (np.diff(numbers) > 0).all() and numbers[0] >= 90
    assert (scan.point_of(numbers) >= 0).all()
    assert numbers[0] < 150 and numbers[-1] > 850, "from beginning to end"
    np.testing.assert_array_equal(numbers, sample_numbers(source(scan, received)))


def test_few_frames_are_all_taken_and_none_are_refused():
    received = np.zeros(900, dtype=bool)
    received[[3, 7, 29]] = True
    np.testing.assert_array_equal(sample_numbers(source(Scan(), received)), [3, 7, 29])
    np.testing.assert_array_equal(sample_numbers(source(Scan(shape=(30, 25), flyback_frames=5), received)), [3, 7])
    with pytest.raises(MetadataError, match="has no frames to choose a basis from"):
        sample_numbers(source(Scan(), np.zeros(900, dtype=bool)))


def test_the_disc_is_measured_on_the_sample():
    compressor = compressor_for(header(), parse_basis("zernike:10+1"), frames())
    np.testing.assert_allclose(compressor.field.center_px, (11.0, 12.0), atol=0.15)
    assert compressor.field.radius_px == pytest.approx(6.0, abs=0.3)
    assert (compressor.basis.kind, compressor.basis.n_bright, compressor.basis.n_dark) == ("zernike", 10, 1)
    assert not compressor.square_root
    assert compressor_for(header(), parse_basis("data:4+1:sqrt"), frames()).square_root


def test_a_saved_basis_is_used_as_it_is():
    made = compressor_for(header(), parse_basis("zernike:10+1"), frames())
    bad = np.zeros(SHAPE, dtype=bool)
    bad[11, 12] = True
    saved = SavedBasis(made.words, made.basis.masks)
    again = compressor_for(header(bad_pixel_mask=bad), parse_basis("a.h5"), frames()[:0], saved)
    assert (again.field.center_px, again.field.radius_px) == (made.field.center_px, made.field.radius_px)
    assert not again.basis.masks[:, 11, 12].any(), "but for bad pixels"
    np.testing.assert_array_equal(again.basis.masks[:, ~bad], made.basis.masks[:, ~bad])
    assert SavedBasis(Basis(kind="own", n_bright=3), made.basis.masks).disc is None


def test_what_does_not_fit_is_refused():
    with pytest.raises(MetadataError, match="is compressed already"):
        compressor_for(header(basis=Basis(kind="pca", n_bright=3)), parse_basis("zernike:3+1"), frames())
    with pytest.raises(MetadataError, match="no frames to find the disc in"):
        compressor_for(header(), parse_basis("zernike:3+1"), frames()[:0])
    saved = SavedBasis(Basis(kind="own", n_bright=3), np.zeros((3, 8, 8), np.float32))
    with pytest.raises(MetadataError, match=r"is for \(8, 8\) pixels, not \(24, 24\)"):
        compressor_for(header(), parse_basis("a.h5"), frames(), saved)


OPTICS = {"energy_eV": 80e3, "convergence_semiangle_mrad": 20.0, "C10": -500.0}


def test_more_masks_resolve_finer_periods_down_to_two_steps():
    def finest(text, step_A=0.1, **optics):
        given = header(Scan(shape=(30, 30), step_A=step_A), {**OPTICS, **optics})
        return resolution(compressor_for(given, parse_basis(text), frames()), given)

    few, many = finest("zernike:10+1"), finest("zernike:45+1")
    assert few[0] / many[0] == pytest.approx(8 / 3), "complete up to orders 3 and 8"
    assert few[1] == many[1] > 45
    assert finest("zernike:45+1", step_A=30.0) == (60.0, 45), "order 8 suffices in focus"
    assert finest("zernike:45+1", C10=-1000.0)[0] == pytest.approx(2 * many[0], rel=1e-6)


@pytest.mark.parametrize(
    ("text", "scan", "optics"),
    [
        ("binning:9+1", Scan(step_A=0.1), OPTICS),
        ("zernike:10+1", Scan(), OPTICS),
        ("zernike:10+1", Scan(step_A=0.1), {"energy_eV": 80e3, "C10": -500.0}),
        ("zernike:10+1", Scan(step_A=0.1), {"energy_eV": 80e3, "convergence_semiangle_mrad": 20.0}),
    ],
)
def test_without_optics_steps_or_polynomials_nothing_is_told(text, scan, optics):
    given = header(scan, optics)
    assert resolution(compressor_for(given, parse_basis(text), frames()), given) == (None, None)
