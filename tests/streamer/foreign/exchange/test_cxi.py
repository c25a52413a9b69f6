"""CXI files with grids, with drifted and irregular positions; damaged and misleading ones."""

import h5py
import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.source import open_source

DATA = np.arange(12 * 6 * 5, dtype="<u2").reshape(12, 6, 5)
ROW, COL = np.divmod(np.arange(12), 4)
GRID_M = np.stack([COL * 1e-10, ROW * 2e-10, 0.0 * ROW], axis=1)  # x, y, z


def write(path, *, positions=GRID_M, energy_keV=494.4, linked=False, **changed):
    detector = "entry_1/instrument_1/detector_1"
    content = {
        f"{detector}/data": DATA, f"{detector}/distance": 1.0, f"{detector}/x_pixel_size": 1e-3,
        f"{detector}/y_pixel_size": 1e-3, "entry_1/instrument_1/source_1/energy": energy_keV * 1.602176634e-16,
        "entry_1/sample_1/geometry_1/translation": positions, "cxi_version": 160,
    }  # fmt: skip
    with h5py.File(path, "w") as file:
        for name, value in (content | changed).items():
            if value is not None:
                file[name] = value
        if linked:
            file.require_group("entry_1/data_1")["data"] = h5py.SoftLink(f"/{detector}/data")
    return path


def read(path, **values):
    with open_source(path, values) as source:
        return source.frames(np.arange(source.frame_count)), source.header, source.notes


@pytest.mark.parametrize("linked", [True, False])
def test_frames_and_what_is_told_of_them(tmp_path, linked):
    frames, header, notes = read(write(tmp_path / "a.cxi", linked=linked))
    np.testing.assert_array_equal(frames, DATA)
    assert (header.scan.shape, header.scan.step_A) == ((3, 4), pytest.approx((2.0, 1.0)))
    assert header.detector.pixel_mrad == pytest.approx(1.0)
    assert header.optics.energy_eV == pytest.approx(200e3, rel=1e-3)
    assert any("a grid of 3 x 4" in note for note in notes)


def test_unequal_pixels_are_told_of(tmp_path):
    detector = "entry_1/instrument_1/detector_1"
    _, header, notes = read(write(tmp_path / "a.cxi", **{f"{detector}/y_pixel_size": 1.5e-3}))
    assert header.detector.pixel_mrad is None
    assert any("pixels of the detector are 0.0015 by 0.001 rad" in note for note in notes)
    _, header, notes = read(write(tmp_path / "a.cxi", **{f"{detector}/y_pixel_size": 1.02e-3}))
    assert header.detector.pixel_mrad == pytest.approx(1.00995)
    assert any("their mean is used" in note for note in notes)


def test_positions_on_no_grid_are_kept(tmp_path):
    irregular = np.random.default_rng(2).uniform(0, 1e-9, (12, 3))
    _, header, notes = read(write(tmp_path / "a.cxi", positions=irregular))
    assert header.scan.shape == (1, 12)
    np.testing.assert_allclose(header.arrays["positions_A"], (irregular[:, 1::-1] - irregular[0, 1::-1]) * 1e10)
    assert any("do not form a grid" in note for note in notes)


def test_an_energy_of_x_rays_and_pixels_that_are_bad(tmp_path):
    mask = np.zeros((6, 5), "u4")
    mask[1, 2] = 4
    path = write(tmp_path / "a.cxi", energy_keV=8.0, **{"entry_1/instrument_1/detector_1/mask": mask})
    _, header, notes = read(path)
    assert header.optics.energy_eV is None
    assert any("8 keV is not used" in note for note in notes)
    np.testing.assert_array_equal(header.arrays["bad_pixel_mask"], mask != 0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"positions": GRID_M[:5]}, "translation has the shape"),
        ({"entry_1/instrument_1/detector_1/data": DATA[0]}, "its frames have the shape"),
        ({"entry_1/instrument_1/detector_1/data": "words"}, "its frames have"),
        ({"entry_1/data_1/data": h5py.ExternalLink("other.h5", "data")}, "is an external link"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, changed, said):
    with pytest.raises(InputFileError, match=said):
        read(write(tmp_path / "a.cxi", **changed))
