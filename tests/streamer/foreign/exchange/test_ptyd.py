"""PtyPy's files as its PtyScan writes them: chunks in the same file or next to it."""

from contextlib import nullcontext
from itertools import pairwise

import h5py
import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.source import open_source

DATA = np.arange(12 * 6 * 6, dtype="<i4").reshape(12, 6, 6)
ROW, COL = np.divmod(np.arange(12), 4)
GRID_M = np.stack([ROW * 2e-10, COL * 1e-10], axis=1)


def write(path, *, linked=False, cuts=(0, 5, 12), **changed):
    """Chunks 0, 1, …: 10 sorts after 2 by number, though not by name."""
    meta = {"psize": np.array([2e-3, 2e-3]), "distance": 1.0, "energy": 494.4} | changed
    with h5py.File(path, "w") as file:
        for name, value in meta.items():
            file[f"meta/{name}"] = value
        for number, (first, last) in enumerate(pairwise(cuts)):
            weights = np.ones((last - first, 6, 6), "f4")
            weights[:, 0, 3] = 0
            part = path.with_name(f"{path.name}.part{number:03d}")
            with h5py.File(part, "w") if linked else nullcontext(file.require_group(f"chunks/{number}")) as chunk:
                chunk["data"], chunk["positions"], chunk["weights"] = DATA[first:last], GRID_M[first:last], weights
            if linked:
                file[f"chunks/{number}"] = h5py.ExternalLink(f"/elsewhere/{part.name}", "/")
    return path


def read(path):
    with open_source(path) as source:
        return source.frames(np.arange(source.frame_count)), source.header, source.notes


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("cuts", [(0, 12), (0, 5, 12), tuple(range(13))])
def test_chunks_in_order(tmp_path, linked, cuts):
    frames, header, _ = read(write(tmp_path / "a.ptyd", linked=linked, cuts=cuts))
    np.testing.assert_array_equal(frames, DATA)
    assert (header.scan.shape, header.scan.step_A) == ((3, 4), pytest.approx((2.0, 1.0)))
    assert header.detector.pixel_mrad == pytest.approx(2.0)
    assert header.optics.energy_eV == pytest.approx(200e3, rel=1e-3)
    assert header.arrays["bad_pixel_mask"].sum() == 1


def test_an_energy_of_x_rays_is_not_taken(tmp_path):
    _, header, notes = read(write(tmp_path / "a.ptyd", energy=7.2))
    assert header.optics.energy_eV is None
    assert any("7.2 keV is not used" in note for note in notes)


def test_a_chunk_that_is_missing_is_one_line(tmp_path):
    path = write(tmp_path / "a.ptyd", linked=True)
    (tmp_path / "a.ptyd.part001").unlink()
    with pytest.raises(InputFileError, match=r"its chunk 1 lies in a\.ptyd\.part001"):
        read(path)


def test_chunks_without_frames_are_one_line(tmp_path):
    with h5py.File(tmp_path / "a.ptyd", "w") as file:
        file.create_group("chunks/0")
    with pytest.raises(InputFileError, match="no frames in its chunks"):
        read(tmp_path / "a.ptyd")


@pytest.mark.parametrize("link", ["/nowhere", "/chunks/1", "/meta/psize"])
def test_a_chunk_that_leads_nowhere_is_one_line(tmp_path, link):
    """Regression: a KeyError, RuntimeError or AttributeError."""
    path = write(tmp_path / "a.ptyd")
    with h5py.File(path, "a") as file:
        del file["chunks/1"]
        file["chunks/1"] = h5py.SoftLink(link)
    with pytest.raises(InputFileError, match=r"a\.ptyd: its chunk 1 holds no frames"):
        read(path)
