"""ptylive convert: frames to coefficients, and what is said about it."""

import h5py
import numpy as np
import pytest
from running import last_json, ptylive
from shared_data import shared_data

from ptylive.engine.bases.choice import parse_basis
from ptylive.schema import Arm, Detector, FrameBatch, InputFileError, MetadataError, Optics, Scan
from ptylive.server.conversion import convert_file
from ptylive.server.offline import read_dataset, reconstruct_file
from ptylive.streamer.storage.recording import created_scan
from ptylive.streamer.storage.source import open_source

# live-maths, section 5, first column group: correlation of maps from few masks with those from all pixels
FLOORS = {
    "zernike:45+1": {"idpc": 0.999, "obf": 0.996, "wdd_phase": 0.998},
    "binning:45+1": {"idpc": 0.999, "obf": 0.987, "wdd_phase": 0.997},
    "data:15+1": {"idpc": 0.990, "obf": 0.967, "wdd_phase": 0.986},
}


@pytest.fixture(scope="module")
def scan_file(tmp_path_factory):
    """A small scan with a disc, flyback, a missing frame and a bad pixel."""
    path = tmp_path_factory.mktemp("scan") / "scan.h5"
    scan = Scan(shape=(9, 10), step_A=0.5, flyback_frames=2, rotation_deg=0.0)
    mask = np.zeros((30, 30), bool)
    mask[15, 16] = True
    arm = Arm("u-1", "small", scan.frames, scan, Optics(energy_eV=80e3, convergence_semiangle_mrad=25.0),
              Detector(shape=(30, 30), pixel_mrad=3.0), arrays={"bad_pixel_mask": mask})  # fmt: skip
    rng = np.random.default_rng(1)
    rows, cols = np.indices((30, 30)) - 14.6
    frames = rng.poisson(np.where(np.hypot(rows, cols) < 8.3, 30, 0.4), (arm.frames, 30, 30)).astype(np.uint16)
    frames[:, 15, 16] = 60000
    with created_scan(path, arm) as writer:
        index = np.delete(np.arange(arm.frames), 17)
        writer.add_frames(index, frames[index])
        writer.finish()
    return path


def test_a_scan_survives_its_compression(scan_file, tmp_path):
    made = convert_file(scan_file, tmp_path / "z.h5", parse_basis("zernike:21+3"), {})
    assert made.frames == 9 * 12 - 1
    assert (made.report.n_bright, made.report.n_dark, made.report.numbers) == (21, 3, 30)
    assert made.report.compression == pytest.approx(30 * 30 / 30)
    with open_source(scan_file) as raw, open_source(tmp_path / "z.h5") as source:
        assert source.arm.scan == raw.arm.scan
        assert source.arm.optics == raw.arm.optics
        np.testing.assert_array_equal(source.received, raw.received)
        assert not source.arm.arrays["masks"][:, 15, 16].any()
        with pytest.raises(InputFileError, match="zernike coefficients"):
            read_dataset(source, None)
    maps = {m.name: m.data for m in reconstruct_file(tmp_path / "z.h5", {}).rendering.maps}
    plain = {m.name: m.data for m in reconstruct_file(scan_file, {}).rendering.maps}
    assert set(maps) == set(plain)
    np.testing.assert_allclose(maps["idpc"], plain["idpc"], atol=1e-4 * np.abs(plain["idpc"]).max())


def test_a_basis_is_saved_and_used_again(scan_file, tmp_path):
    convert_file(scan_file, tmp_path / "learnt.h5", parse_basis("data:9+1"), {})
    convert_file(scan_file, tmp_path / "again.h5", parse_basis(str(tmp_path / "learnt.h5")), {})
    with h5py.File(tmp_path / "learnt.h5") as one, h5py.File(tmp_path / "again.h5") as other:
        np.testing.assert_array_equal(one["basis/masks"][()], other["basis/masks"][()])
        np.testing.assert_array_equal(one["coefficients"][()], other["coefficients"][()])
    with pytest.raises(MetadataError, match="compressed already"):
        convert_file(tmp_path / "learnt.h5", tmp_path / "no.h5", parse_basis("zernike"), {})
    assert not (tmp_path / "no.h5").exists()


def test_frames_can_be_kept(scan_file, tmp_path):
    assert convert_file(scan_file, tmp_path / "same.h5", parse_basis("pixels"), {}).report is None
    with open_source(scan_file) as raw, open_source(tmp_path / "same.h5") as source:
        for one, other in zip(raw.batches(50), source.batches(50), strict=True):
            assert isinstance(one, FrameBatch)
            np.testing.assert_array_equal(one.frames, other.frames)
    with pytest.raises(InputFileError, match="over itself"):
        convert_file(scan_file, scan_file, parse_basis("zernike"), {})


def test_the_ratio_said_is_the_ratio_of_the_files(tmp_path):
    """Against a file whose frames are not compressed in any way."""
    raw, out = tmp_path / "raw.h5", tmp_path / "out.h5"
    rows, cols = np.indices((48, 48)) - 23.5
    patterns = np.random.default_rng(0).poisson(np.where(np.hypot(rows, cols) < 12, 20, 0.2), (40, 40, 48, 48))
    with h5py.File(raw, "w") as file:
        file.create_dataset("data", data=patterns.astype(np.uint16))
    for text in ("zernike:45+1", "binning:45+1", "data:15+1"):
        made = convert_file(raw, out, parse_basis(text), {})
        assert made.bytes_ratio == pytest.approx(raw.stat().st_size / out.stat().st_size, rel=0.05)


def test_the_command(scan_file, tmp_path):
    said = last_json(ptylive("convert", scan_file, tmp_path / "z.h5", "--basis", "zernike:21+1", "--json"))
    assert said["frames"] == 107
    assert said["output_bytes"] == (tmp_path / "z.h5").stat().st_size
    assert 0 < said["angle_bright_deg"] < said["angle_dark_deg"] < 90
    refused = ptylive("convert", scan_file, tmp_path / "z.h5", "--basis", "zernik")
    assert refused.returncode == 1
    assert "unknown basis 'zernik'" in refused.stderr


@pytest.fixture(scope="module")
def raw_maps():
    made = reconstruct_file(shared_data("mos2_svac_80kV_focus"), {}, ("idpc", "obf", "wdd"))
    return {m.name: m.data for m in made.rendering.maps}


@pytest.mark.data
@pytest.mark.parametrize("text", FLOORS)
def test_maps_of_mos2_from_few_masks(raw_maps, tmp_path, text):
    from synthetic import correlation

    convert_file(shared_data("mos2_svac_80kV_focus"), tmp_path / "few.h5", parse_basis(text), {})
    made = reconstruct_file(tmp_path / "few.h5", {}, ("idpc", "obf", "wdd"))
    maps = {m.name: m.data[4:-4, 4:-4] for m in made.rendering.maps}
    for name, floor in FLOORS[text].items():
        # the table has three digits
        assert correlation(maps[name], raw_maps[name][4:-4, 4:-4]) > floor - 0.0005, name
