"""Maps and refinements side by side: the same field in the same frame, and how well they agree."""

import json

import h5py
import numpy as np
import pytest
from PIL import Image
from stored_runs import ORIGIN_A, PIXEL_A, write_results

from ptylive.application.comparison import compare
from ptylive.engine.results import write_maps
from ptylive.schema import Calibration, InputFileError, LiveMap, MetadataError

STEP_A, SHAPE = 0.5, (5, 6)


def phase(row_A, col_A):
    return 0.4 * np.sin(2.1 * row_A) * np.cos(1.7 * col_A + 0.3)


def write(path, *, covered=None, refined=True):
    """A run whose object is :func:`phase`, with maps of that phase, of noise, and of something else; no rotation."""
    rows, cols = (STEP_A * np.arange(n) for n in SHAPE)
    seen = phase(rows[:, None], cols).astype(np.float32)
    noise = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)
    ramp = seen + 5.0 + 0.7 * np.arange(SHAPE[0], dtype=np.float32)[:, None]
    if refined:
        write_results(path)
        with h5py.File(path, "a") as file:
            y, x = (ORIGIN_A[i] + PIXEL_A * np.arange((20, 24)[i]) for i in (0, 1))
            one = np.exp(1j * phase(y[:, None], x) / 3).astype(np.complex64)
            file["refinements/run1/object"][...] = one
            del file["refinements/run1/positions_A"]
            file["refinements/run1/positions_A"] = np.stack(np.divmod(np.arange(30), SHAPE[1]), axis=1) * STEP_A
    maps = [
        LiveMap("idpc", ramp, "rad", (STEP_A, STEP_A), 30, "iDPC"),
        LiveMap("obf", noise, "rad", (STEP_A, STEP_A), 30, "OBF", buried=True),
        LiveMap("tcbf", -seen, "relative", (STEP_A, STEP_A), 30, "tcBF", faint=True),
        LiveMap("ssb", np.zeros(SHAPE, np.float32), "rad", (STEP_A, STEP_A), 30, "SSB"),
        LiveMap("bf", noise, "counts", None, 30, "bright field"),
    ]
    calibration = Calibration.from_attributes({"energy_eV": 80e3, "rotation_deg": 0.0, "rotation_deg_origin": "given"})
    write_maps(path, maps, np.ones(SHAPE, bool) if covered is None else covered, calibration, {})
    return path


def test_a_phase_agrees_with_the_refined_one_whatever_its_ramp(tmp_path):
    found = compare(write(tmp_path / "r.h5"))
    assert [one.name for one in found.shown] == ["idpc", "obf", "ssb", "tcbf", "run1"]
    by_name = {one.name: one for one in found.shown}
    assert by_name["idpc"].correlation > 0.99
    assert abs(by_name["obf"].correlation) < 0.6
    assert by_name["ssb"].correlation is None, "a flat map is like nothing"
    assert by_name["tcbf"].correlation is None, "it is no phase"
    assert found.correlations().keys() == {"idpc", "obf"}
    refined = by_name["run1"]
    assert refined.data.shape == (2 * SHAPE[0], 2 * SHAPE[1])
    assert refined.pixel_A == (PIXEL_A, PIXEL_A)
    assert "3 slices" in refined.label
    assert by_name["idpc"].lines("run1")[1].startswith("correlation with run1: ")
    assert by_name["obf"].lines("run1")[1] == "nothing but noise"
    assert len(by_name["tcbf"].lines("run1")) == 1


def test_of_a_scan_that_was_cut_off_only_what_arrived_counts(tmp_path):
    path = write(tmp_path / "r.h5", covered=np.arange(30).reshape(SHAPE) < 24)
    with h5py.File(path, "a") as file:
        file["maps/idpc"][4] = -1.0  # the value there is meaningless, and must not affect the ramp either
    idpc = compare(path, ["idpc"]).shown[0]
    assert idpc.visited.sum() == 24
    assert idpc.correlation > 0.99


def test_maps_alone_are_shown_too(tmp_path):
    found = compare(write(tmp_path / "r.h5", refined=False), ["bf", "tcbf"])
    assert [one.name for one in found.shown] == ["bf", "tcbf"]
    assert found.first_run is None
    assert not found.correlations()


def test_the_picture_holds_all_of_them(tmp_path):
    compare(write(tmp_path / "r.h5")).write(tmp_path / "c.png", 3)
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.width > 3 * 480
        assert picture.height > 2 * 400


def test_what_cannot_be_shown_is_said(tmp_path):
    path = write(tmp_path / "r.h5")
    with pytest.raises(MetadataError, match="no map 'odpc'") as error:
        compare(path, ["odpc"])
    assert "idpc" in error.value.hint
    with pytest.raises(InputFileError, match="no run 'run7'"):
        compare(path, None, ["run7"])
    with pytest.raises(MetadataError, match="scale of its maps"):
        compare(path, ["bf"])
    with pytest.raises(MetadataError, match="holds no maps"):
        write_results(tmp_path / "only.h5")
        compare(tmp_path / "only.h5")


def test_maps_of_a_file_that_has_none_of_the_usual_ones_are_shown(tmp_path):
    path = tmp_path / "r.h5"
    maps = [LiveMap("bf", np.ones(SHAPE, np.float32), "counts", (STEP_A, STEP_A), 30, "bright field")]
    write_maps(path, maps, np.ones(SHAPE, bool), Calibration(), {})
    assert [one.name for one in compare(path).shown] == ["bf"]


def test_the_refinement_s_own_axes_count_not_those_the_maps_were_made_with(tmp_path):
    """The run's positions give its orientation; the file has one calibration for all of its runs."""
    path = write(tmp_path / "r.h5")
    with h5py.File(path, "a") as file:
        file["calibration"].attrs["rotation_deg"] = 40.0
    assert compare(path, ["idpc"]).correlations()["idpc"] > 0.99


def test_maps_of_points_off_any_grid_lie_where_they_say(tmp_path):
    """Offset by one row and two columns of the object's pixels along its axes, whatever the scan's rotation."""
    path = write(tmp_path / "r.h5")
    with h5py.File(path, "a") as file:
        file["calibration"].attrs["rotation_deg"] = 40.0
        rows, cols = (STEP_A * np.arange(n) + at for n, at in zip(SHAPE, (0.25, 0.5), strict=True))
        file["maps/idpc"][...] = phase(rows[:, None], cols)
        told = {"points": "placed", "origin_A": [0.25, 0.5]}
        file["maps/idpc"].attrs["settings"] = json.dumps({**told, "axes_deg": 0.0})
    found = compare(path, ["idpc"]).correlations()["idpc"]
    assert found > 0.99
    with h5py.File(path, "a") as file:
        file["maps/idpc"].attrs["settings"] = json.dumps(told)  # as earlier versions wrote it
    assert compare(path, ["idpc"]).correlations()["idpc"] == found


def test_what_the_refinement_has_not_seen_is_left_out(tmp_path):
    path = write(tmp_path / "r.h5")
    with h5py.File(path, "a") as file:
        places = file["refinements/run1/positions_A"][()]
        del file["refinements/run1/positions_A"]
        file["refinements/run1/positions_A"] = places[: 3 * SHAPE[1]]
        file["maps/idpc"][4] = 100.0
    found = compare(path, ["idpc"])
    assert found.correlations()["idpc"] > 0.99
    refined = found.shown[-1]
    assert refined.visited[: 2 * 3].all()
    assert not refined.visited[2 * 4 + 1 :].any()


def test_pixels_that_are_no_numbers_are_left_out(tmp_path):
    path = write(tmp_path / "r.h5")
    with h5py.File(path, "a") as file:
        file["maps/idpc"][2, 2] = np.nan
    assert compare(path, ["idpc"]).correlations()["idpc"] > 0.99


def test_a_phase_that_wraps_correlates_with_nothing_and_says_so(tmp_path):
    path = write(tmp_path / "r.h5")
    with h5py.File(path, "a") as file:
        file["refinements/run1/object"][...] = file["refinements/run1/object"][()] ** 60
    found = compare(path, ["idpc"])
    assert not found.correlations()
    assert found.shown[-1].label.endswith("wrapped")


def test_a_deviation_is_no_phase(tmp_path):
    path = write(tmp_path / "r.h5")
    with h5py.File(path, "a") as file:
        file.move("maps/idpc", "maps/idpc_deviation")
    assert not compare(path, ["idpc_deviation"]).correlations()
