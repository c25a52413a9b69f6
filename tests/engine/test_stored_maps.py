"""Live maps in results files, read back."""

from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from ptylive.engine.results import write_maps
from ptylive.engine.stored_maps import StoredMaps, describe_maps, other_places
from ptylive.schema import Calibration, InputFileError, LiveMap, Scan
from ptylive.schema.detector import Detector
from ptylive.schema.maps import RingQuality


@pytest.fixture
def path(tmp_path):
    rng = np.random.default_rng(0)
    maps = [
        LiveMap("idpc", rng.normal(size=(6, 8)).astype(np.float32), "rad", (0.4, 0.5), 48, "iDPC", {"low": 0.1}),
        LiveMap("bf", np.ones((6, 8), np.float32), "counts", None, 48, "bright field"),
        LiveMap("obf", np.zeros((12, 16), np.float32), "rad", (0.2, 0.25), 48, "OBF", deviation=0.02, faint=True),
    ]
    covered = np.arange(48).reshape(6, 8) < 40
    write_maps(
        tmp_path / "maps.h5",
        maps,
        covered,
        Calibration.from_attributes({"rotation_deg": 7.0, "rotation_deg_origin": "given"}),
        {},
    )
    return tmp_path / "maps.h5"


def test_what_was_written_is_read(path):
    stored = StoredMaps.read(path)
    assert set(stored.maps) == {"idpc", "bf", "obf"}
    assert stored.coverage.sum() == 40
    assert Calibration.from_attributes(stored.calibration).rotation_deg == 7.0
    idpc, bf, obf = (stored.maps[name] for name in ("idpc", "bf", "obf"))
    np.testing.assert_array_equal(idpc.data, np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32))
    assert (idpc.name, idpc.units, idpc.sampling_A, idpc.frames) == ("idpc", "rad", (0.4, 0.5), 48)
    assert (idpc.method, idpc.settings, idpc.deviation, idpc.doubt) == ("iDPC", {"low": 0.1}, None, "")
    assert bf.sampling_A is None
    assert (obf.deviation, obf.buried, obf.faint) == (0.02, False, True)
    assert set(StoredMaps.read(path, ["obf", "ssb"]).maps) == {"obf"}


def test_the_quality_of_the_rings_is_read_unless_it_is_damaged(tmp_path):
    """Regression: a scan opened again had no information limit at other doses."""
    rings = RingQuality(np.array([0.1, 0.2, 0.3]), np.full(3, 0.8), np.array([0.9, 0.8, 0.1]), None, np.full(3, 20.0))
    one = LiveMap("obf", np.ones((6, 8), np.float32), "rad", (0.5, 0.5), 40, "OBF", quality=rings, visited=40 / 48)
    covered = np.arange(48).reshape(6, 8) < 40
    path = tmp_path / "maps.h5"
    write_maps(path, [one], covered, Calibration(), {})
    read = StoredMaps.read(path).maps["obf"]
    assert read.information_limits() == one.information_limits()
    assert set(read.information_limits()) == {1.0, 2.0, 4.0}
    with h5py.File(path, "r+") as file:
        del file["snr/obf/signal_share"]
        file["snr/obf/signal_share"] = np.full(2, 0.8)
    assert StoredMaps.read(path).maps["obf"].quality is None


def test_the_step_is_the_scan_s_whatever_a_map_is_finer_by(path):
    stored = StoredMaps.read(path)
    obf, idpc = stored.maps["obf"], stored.maps["idpc"]
    for told, step_A in (({}, (0.4, 0.5)), ({"scan_step_A": [0.41, 0.52]}, (0.41, 0.52))):
        known = replace(stored, calibration=told)
        assert known.step_A(idpc) == known.step_A(obf) == pytest.approx(step_A)
    placed = replace(idpc, settings={"points": "placed"})
    assert replace(stored, calibration={"scan_step_A": [9.0, 9.0]}).step_A(placed) == pytest.approx((0.4, 0.5))


def test_what_was_visited_is_told_on_the_pixels_of_each_map(path):
    stored = StoredMaps.read(path)
    np.testing.assert_array_equal(stored.visited(stored.maps["idpc"]), stored.coverage)
    assert stored.visited(stored.maps["obf"]).sum() == 4 * 40
    placed = replace(stored.maps["idpc"], settings={"points": "placed"})
    assert stored.visited(placed) is None, "its pixels are no scan points"
    stored.coverage[...] = True
    assert stored.visited(stored.maps["idpc"]) is None


def test_what_maps_were_asked_for_with_is_read_as_it_was_described(path):
    assert (StoredMaps.read(path).asked, StoredMaps.read(path).distortion) == ({}, None), "of an earlier version"
    flat = SimpleNamespace(recorded=SimpleNamespace(detector=Detector(distortion=(0.02, 0.01, 0.0, 0.0))))
    with h5py.File(path, "a") as file:
        file["settings"].attrs.update(describe_maps({"obf.upsample": 3.0}, flat, Scan()))
    stored = StoredMaps.read(path)
    assert stored.asked == {"obf.upsample": 3.0}
    assert stored.distortion == flat.recorded.detector.distortion
    with h5py.File(path, "a") as file:
        file["settings"].attrs.update(describe_maps({}, None, Scan()))
    assert StoredMaps.read(path).distortion == ()


def test_which_frame_was_taken_for_which_point_is_read_as_it_was_described(path):
    assert StoredMaps.read(path).places == {}, "of an earlier version"
    sent = Scan(shape=(4, 40))
    corrected = Scan(shape=(4, 40), pattern="snake", flyback_frames=2, skip_first=3, repeats=2)
    with h5py.File(path, "a") as file:
        file["settings"].attrs.update(describe_maps({}, None, corrected))
    places = StoredMaps.read(path).places
    other = {"scan_pattern": "snake", "flyback_frames": 2, "skip_first": 3, "repeats": 2}
    assert places == other
    assert other_places(places, (4, 40), sent) == other
    assert other_places(places, (4, 39), corrected) == {"scan_shape": [4, 39]}
    assert other_places(places, None, corrected) == other_places({}, (4, 40), sent) == {}


@pytest.mark.parametrize("said", ["7", '{"shape": 3}', '{"repeats": -1}', '{"scan_pattern": "spiral"}', "{"])
def test_an_order_of_frames_that_cannot_be_is_damage(path, said):
    with h5py.File(path, "a") as file:
        file["settings"].attrs["scan_places"] = said
    with pytest.raises(InputFileError, match=path.name):
        StoredMaps.read(path)


@pytest.mark.parametrize("patterns", ["data", "events", "coefficients"])
def test_a_scan_is_told_from_a_results_file(tmp_path, patterns):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_group(patterns)
    with pytest.raises(InputFileError, match="is a scan, not a results file"):
        StoredMaps.read(tmp_path / "scan.h5")


def test_what_holds_no_maps_is_said(path, tmp_path):
    with pytest.raises(InputFileError, match="no such file"):
        StoredMaps.read(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(InputFileError, match=r"text\.h5: "):
        StoredMaps.read(tmp_path / "text.h5")
    with h5py.File(path, "a") as file:
        file["maps/cube"] = np.zeros((2, 2, 2))
    with pytest.raises(InputFileError, match="its map cube has the shape"):
        StoredMaps.read(path)


@pytest.mark.parametrize(
    ("name", "attribute", "value"),
    [
        ("maps/idpc", "sampling_A", [np.nan, 0.4]),
        ("maps/idpc", "sampling_A", [0.0, 0.4]),
        ("maps/idpc", "sampling_A", [np.inf, 0.4]),
        ("maps/idpc", "frames", np.inf),
        ("maps/idpc", "settings", "[1]"),
        ("calibration", "rotation_deg", "much"),
        ("settings", "map_settings", '{"obf.upsample": 2'),
        ("settings", "map_settings", '["obf.upsample"]'),
        ("settings", "map_settings", '{"obf.upsample": "two"}'),
        ("settings", "map_settings", [1.0, 2.0]),
        ("settings", "distortion", "0.1"),
        ("settings", "distortion", '{"0": [1]}'),
        ("settings", "distortion", "[0.1, 0.2]"),
        ("settings", "distortion", "[NaN, 0, 0, 0]"),
    ],
)
def test_impossible_attributes_are_one_line(path, name, attribute, value):
    with h5py.File(path, "a") as file:
        file[name].attrs[attribute] = value
    with pytest.raises(InputFileError, match=r"maps\.h5: .*complete"):
        _raised_line(path)


@pytest.mark.parametrize("shape", [(), (0, 4), (48,), (2, 3, 4)])
@pytest.mark.parametrize("name", ["coverage", "maps/idpc"])
def test_impossible_shapes_are_one_line(path, name, shape):
    with h5py.File(path, "a") as file:
        del file[name]
        file[name] = np.zeros(shape)
    with pytest.raises(InputFileError, match=r"maps\.h5: .*complete"):
        _raised_line(path)


def _raised_line(path):
    """Raise the complete line of the error, hint included."""
    try:
        StoredMaps.read(path)
    except InputFileError as error:
        raise InputFileError(error.line()) from error
