"""``ptylive convert``: frames to coefficients, and its messages."""

import json
import os

import h5py
import numpy as np
import pytest
from running import last_json, ptylive_here
from shared_data import shared_data

from ptylive.application.conversion import convert_file, write_scan
from ptylive.application.offline import reconstruct_file
from ptylive.engine.bases.choice import parse_basis
from ptylive.engine.preparation import Preparation
from ptylive.schema import Detector, FrameBatch, InputFileError, MetadataError, Optics, Scan, ScanHeader
from ptylive.server.process.exit_codes import ExitCode
from ptylive.simulators.timepix3_packets import LineTiming, edge_word, line_packets
from ptylive.streamer.recording.recording_writer import ScanWriter, created_scan
from ptylive.streamer.source import open_source
from ptylive.streamer.timepix3.sensor import Sensor

# Lowest correlation of maps from few masks with those from all pixels
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
    header = ScanHeader("u-1", "small", scan.frames, scan, Optics(energy_eV=80e3, convergence_semiangle_mrad=25.0),
              Detector(shape=(30, 30), pixel_mrad=3.0), arrays={"bad_pixel_mask": mask})  # fmt: skip
    rng = np.random.default_rng(1)
    rows, cols = np.indices((30, 30)) - 14.6
    frames = rng.poisson(np.where(np.hypot(rows, cols) < 8.3, 30, 0.4), (header.frames, 30, 30)).astype(np.uint16)
    frames[:, 15, 16] = 60000
    with created_scan(path, header) as writer:
        index = np.delete(np.arange(header.frames), 17)
        writer.add_frames(index, frames[index])
        writer.finish()
    return path


def test_a_scan_survives_its_compression(scan_file, tmp_path):
    made = convert_file(scan_file, tmp_path / "z.h5", parse_basis("zernike:21+3"), Preparation(), {})
    assert made.frames == 9 * 12 - 1
    assert (made.report.n_bright, made.report.n_dark, made.report.numbers) == (21, 3, 30)
    assert made.report.compression == pytest.approx(30 * 30 / 30)
    with open_source(scan_file) as raw, open_source(tmp_path / "z.h5") as source:
        assert source.header.scan == raw.header.scan
        assert source.header.optics == raw.header.optics
        np.testing.assert_array_equal(source.received, raw.received)
        assert not source.header.arrays["masks"][:, 15, 16].any()
    maps = {m.name: m.data for m in reconstruct_file(tmp_path / "z.h5", {}).rendering.maps}
    plain = {m.name: m.data for m in reconstruct_file(scan_file, {}).rendering.maps}
    assert set(maps) == set(plain)
    np.testing.assert_allclose(maps["idpc"], plain["idpc"], atol=1e-4 * np.abs(plain["idpc"]).max())


def test_a_basis_is_saved_and_used_again(scan_file, tmp_path):
    convert_file(scan_file, tmp_path / "learnt.h5", parse_basis("data:9+1"), Preparation(), {})
    convert_file(scan_file, tmp_path / "again.h5", parse_basis(str(tmp_path / "learnt.h5")), Preparation(), {})
    with h5py.File(tmp_path / "learnt.h5") as one, h5py.File(tmp_path / "again.h5") as other:
        np.testing.assert_array_equal(one["basis/masks"][()], other["basis/masks"][()])
        np.testing.assert_array_equal(one["coefficients"][()], other["coefficients"][()])
    with pytest.raises(MetadataError, match="compressed already"):
        convert_file(tmp_path / "learnt.h5", tmp_path / "no.h5", parse_basis("zernike"), Preparation(), {})
    assert not (tmp_path / "no.h5").exists()


def test_frames_can_be_kept(scan_file, tmp_path):
    assert convert_file(scan_file, tmp_path / "same.h5", parse_basis("pixels"), Preparation(), {}).report is None
    with open_source(scan_file) as raw, open_source(tmp_path / "same.h5") as source:
        for one, other in zip(raw.batches(50), source.batches(50), strict=True):
            assert isinstance(one, FrameBatch)
            np.testing.assert_array_equal(one.frames, other.frames)
    with pytest.raises(InputFileError, match="overwrite the input"):
        convert_file(scan_file, scan_file, parse_basis("zernike"), Preparation(), {})


def test_the_ratio_said_is_the_ratio_of_the_files(tmp_path):
    """The reference is a file with uncompressed frames."""
    raw, out = tmp_path / "raw.h5", tmp_path / "out.h5"
    rows, cols = np.indices((48, 48)) - 23.5
    patterns = np.random.default_rng(0).poisson(np.where(np.hypot(rows, cols) < 12, 20, 0.2), (40, 40, 48, 48))
    with h5py.File(raw, "w") as file:
        file.create_dataset("data", data=patterns.astype(np.uint16))
    for text in ("zernike:45+1", "binning:45+1", "data:15+1"):
        made = convert_file(raw, out, parse_basis(text), Preparation(), {})
        assert made.bytes_ratio == pytest.approx(raw.stat().st_size / out.stat().st_size, rel=0.05)


def test_ptylive_convert_compresses_and_states_the_angles(scan_file, tmp_path):
    said = last_json(ptylive_here("convert", scan_file, tmp_path / "z.h5", "--basis", "zernike:21+1", "--json"))
    assert said["frames"] == 107
    assert said["output_bytes"] == (tmp_path / "z.h5").stat().st_size
    assert 0 < said["angle_bright_deg"] < said["angle_dark_deg"] < 90
    assert last_json(ptylive_here("inspect", tmp_path / "z.h5", "--json"))["basis"] == "zernike:21+1"
    one, other = tmp_path / "one.h5", tmp_path / "other.h5"
    last_json(ptylive_here("reconstruct", tmp_path / "z.h5", "-o", one, "--json"))
    last_json(ptylive_here("reconstruct", scan_file, "-o", other, "--basis", "zernike:21+1", "--json"))
    with h5py.File(one) as stored, h5py.File(other) as made:
        np.testing.assert_array_equal(stored["maps/obf"][()], made["maps/obf"][()])
    refused = ptylive_here("convert", scan_file, tmp_path / "z.h5", "--basis", "zernik")
    assert refused.returncode == 1
    assert "unknown basis 'zernik'" in refused.stderr


def test_names_that_are_no_unicode_are_names(tmp_path):
    """Regression: neither the series nor the command line of such a file could be stored."""
    scan, out, maps = (tmp_path / os.fsdecode(name) for name in (b"M\xfcller.npy", b"M\xfcller.h5", b"maps \xfc.h5"))
    np.save(scan, np.ones((2, 3, 16, 16), np.uint16))
    said = last_json(ptylive_here("convert", scan, out, "--json"))
    assert said["frames"] == 6
    for _ in range(2):  # the second time into the results of the same scan
        last_json(ptylive_here("reconstruct", out, "-o", maps, "--methods", "bf", "--json"))
    with open_source(out) as source:
        assert source.header.series == "M\\udcfcller"


def test_patterns_are_prepared(scan_file, tmp_path):
    out = tmp_path / "prepared.h5"
    done = ptylive_here("convert", scan_file, out, "--transform", "transpose", "--crop", "2,4,3,3", "--bin", "2",
                   "--pad", "1", "--set", "beam_center_px=14.6,12.6", "--json")  # fmt: skip
    assert last_json(done)["frames"] == 107
    with open_source(scan_file) as raw, open_source(out) as source:
        assert source.header.detector_shape == (14, 14)
        assert source.header.frame_dtype == np.dtype("<u4")
        assert source.header.detector.pixel_mrad == pytest.approx(6.0)
        assert source.header.detector.transform == "none"
        assert source.header.detector.beam_center_px == pytest.approx(
            ((12.6 - 2 + 0.5) / 2 + 0.5, (14.6 - 3 + 0.5) / 2 + 0.5)
        )
        one = raw.frames(np.array([40]))[0].T[2:26, 3:27]
        np.testing.assert_array_equal(
            source.frames(np.array([40]))[0, 1:13, 1:13], one.reshape(12, 2, 12, 2).sum((1, 3))
        )
        mask = source.header.arrays["bad_pixel_mask"]
        assert mask.sum() == 1
        assert mask[1 + (16 - 2) // 2, 1 + (15 - 3) // 2]


def test_rescaling_and_normalising_keep_what_they_promise(scan_file, tmp_path):
    sums = {}
    for name, preparation in {
        "rescaled": Preparation(rescale=1.5),
        "normalised": Preparation(normalize=True),
        "cut": Preparation(cutoff=0.5, dtype="<f4"),
    }.items():
        convert_file(scan_file, tmp_path / f"{name}.h5", parse_basis("pixels"), preparation, {})
        with open_source(tmp_path / f"{name}.h5") as source:
            frames = source.frames(np.arange(12, 24))
            sums[name] = frames.sum((1, 2), dtype=float)
            if name == "rescaled":
                assert frames.shape[1:] == (45, 45)
            if name == "cut":
                assert np.sort(np.unique(frames))[1] >= 0.5 * frames.max((1, 2)).min()
    with open_source(scan_file) as raw:
        plain = raw.frames(np.arange(12, 24)).sum((1, 2), dtype=float)
    np.testing.assert_allclose(sums["rescaled"], plain, rtol=1e-5)
    present = sums["normalised"] > 0
    np.testing.assert_allclose(sums["normalised"][present], sums["normalised"].max(), rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"transform": "twist"}, "twist"),
        ({"crop": (-1, 0, 0, 0)}, "--crop"),
        ({"bin": 0}, "--bin 0 is impossible\npossible values: from 1 to "),
        ({"dtype": "<c8"}, "--dtype"),
    ],
)
def test_impossible_preparations_are_named(options, said):
    with pytest.raises(MetadataError, match=said):
        Preparation(**options)


@pytest.fixture(scope="module")
def raw_maps():
    made = reconstruct_file(shared_data("mos2_svac_80kV_focus"), {}, ("idpc", "obf", "wdd"))
    return {m.name: m.data for m in made.rendering.maps}


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("text", list(FLOORS))
def test_maps_of_mos2_from_few_masks(raw_maps, tmp_path, text):
    from synthetic import correlation

    convert_file(shared_data("mos2_svac_80kV_focus"), tmp_path / "few.h5", parse_basis(text), Preparation(), {})
    made = reconstruct_file(tmp_path / "few.h5", {}, ("idpc", "obf", "wdd"))
    maps = {m.name: m.data[4:-4, 4:-4] for m in made.rendering.maps}
    for name, floor in FLOORS[text].items():
        # the table has three digits
        assert correlation(maps[name], raw_maps[name][4:-4, 4:-4]) > floor - 0.0005, name


@pytest.fixture
def damaged_scan(scan_file, tmp_path):
    """The scan with the stored bytes of one pattern overwritten; and that pattern's acquisition number."""
    path = tmp_path / "damaged.h5"
    path.write_bytes(scan_file.read_bytes())
    with h5py.File(path) as file:
        chunk = file["data"].id.get_chunk_info_by_coord((2, 3, 0, 0))
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff" * chunk.size)
    return path, 2 * 12 + 3


def test_frames_that_cannot_be_read_are_left_out_and_named(damaged_scan, scan_file, tmp_path):
    path, number = damaged_scan
    done = ptylive_here("convert", path, tmp_path / "out.h5", "--json")
    assert done.returncode == ExitCode.PARTIAL, done.stderr
    assert f"1 of 107 frames cannot be read and are left out: {number} (" in done.stderr
    assert json.loads(done.stdout)["frames"] == 106
    with open_source(scan_file) as raw, open_source(tmp_path / "out.h5") as source:
        assert np.flatnonzero(raw.received & ~source.received).tolist() == [number]
        index = np.flatnonzero(source.received)
        np.testing.assert_array_equal(source.frames(index), raw.frames(index))


def test_a_scan_of_which_nothing_can_be_read_is_no_scan(scan_file, tmp_path, monkeypatch):
    with open_source(scan_file) as source:
        monkeypatch.setattr(type(source), "frames", lambda *_: (_ for _ in ()).throw(OSError("no disk")))
        with pytest.raises(OSError, match="no disk"):
            write_scan(tmp_path / "out.h5", source, leave_out=True)
    assert not (tmp_path / "out.h5").exists()


def test_a_full_disk_is_not_taken_for_frames_that_cannot_be_read(scan_file, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ScanWriter, "add_frames", full)
    with open_source(scan_file) as source, pytest.raises(OSError, match="No space"):
        write_scan(tmp_path / "out.h5", source, leave_out=True)


def test_how_raw_packets_were_understood_is_told(tmp_path):
    """Triggers are mere pulses, and one is lost: the written file no longer shows either."""
    rng, timing, sensor = np.random.default_rng(2), LineTiming.of(10, 20), Sensor(four=False)
    patterns = rng.poisson(0.002, (12, 4, *sensor.shape))
    begins = {number: edge_word("1 rise", timing.line(number, 4), 0) for number in range(12)}
    lines = [line_packets(line, number, timing, sensor, rng) for number, line in enumerate(patterns)]
    words = np.frombuffer(b"".join(lines), "<u8").copy()
    words[words >> np.uint64(56) == 0x6A] = 0  # where the pulses end
    words[words == begins[5]] = 0
    (tmp_path / "scan.tpx3").write_bytes(words.tobytes())
    source, target = str(tmp_path / "scan.tpx3"), str(tmp_path / "scan.h5")
    done = ptylive_here("convert", source, target, "--set", "scan_shape=12,4")
    assert "lines inserted where an edge is missing: 1: check it" in done.stderr
    assert "each line is assumed to last until the next one begins: check it" in done.stderr
    done = ptylive_here("convert", source, target, "--set", "scan_shape=12,4", "--set", "dwell_time_us=10")
    assert "lasts" not in done.stderr and "is assumed to last" not in done.stderr
    with open_source(tmp_path / "scan.h5") as made:
        np.testing.assert_array_equal(made.frames(np.arange(48)).reshape(patterns.shape), patterns)
