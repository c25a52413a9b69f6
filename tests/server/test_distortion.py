"""A given distortion: maps live and offline use corrected patterns, and the recording keeps the patterns that came."""

import shutil

import h5py
import numpy as np
import pytest
from running import last_json, ptylive_here, server
from scan_parts import part_of

import ptylive
from ptylive.application.conversion import cleaned
from ptylive.schema.pattern.distortion import numbers_of
from ptylive.simulators.data import bundled
from ptylive.simulators.replay import ReplaySettings, replay
from ptylive.streamer.source import open_source

SCAN = "au_ac_300kV_parallax"
NUMBERS = numbers_of(np.random.default_rng(2).uniform(-0.01, 0.01, (9, 2)).round(6))
GIVEN = "distortion=" + ",".join(f"{number:.6f}" for number in NUMBERS)


def maps_of(path) -> dict:
    with h5py.File(path) as file:
        return {name: data[()] for name, data in file["maps"].items()}


@pytest.mark.slow
def test_a_scan_is_put_in_place_live_and_recorded_as_it_came(tmp_path):
    with server(tmp_path / "recordings", "--set", GIVEN) as running:
        replay(bundled(SCAN), ReplaySettings(to=running.data))
        status = running.wait_for_results()
        assert (status["state"], status["rejected"]) == ("complete", {})
    last_json(ptylive_here("reconstruct", bundled(SCAN), "-o", tmp_path / "straight.h5", "--set", GIVEN, "--json"))
    last_json(ptylive_here("reconstruct", status["recording"], "-o", tmp_path / "again.h5", "--json"))
    wanted, live, again = (maps_of(p) for p in (tmp_path / "straight.h5", status["results"], tmp_path / "again.h5"))
    assert set(wanted) == set(live) == set(again)
    for name, data in wanted.items():
        assert np.abs(live[name] - data).max() <= 1e-4 * np.abs(data).max(), name
        assert np.abs(again[name] - data).max() <= 1e-4 * np.abs(data).max(), name
    with h5py.File(status["recording"]) as file, open_source(bundled(SCAN)) as source:
        assert file["metadata"].attrs["distortion"] == pytest.approx(NUMBERS, abs=1e-6)
        recorded = file["data"][()].reshape(-1, *source.header.detector_shape)
        np.testing.assert_array_equal(recorded[:3], source.frames(np.arange(3)))


def test_converted_patterns_are_in_place_and_say_no_distortion(tmp_path):
    scan = part_of(SCAN, 8, tmp_path / "scan.h5")
    done = last_json(ptylive_here("convert", scan, tmp_path / "flat.h5", "--set", GIVEN, "--json"))
    assert done
    with open_source(scan, {"distortion": NUMBERS}) as told, open_source(tmp_path / "flat.h5") as flat:
        assert flat.header.detector.distortion is None
        assert flat.header.detector.beam_center_px == pytest.approx(told.header.detector.beam_center_px)
        np.testing.assert_allclose(flat.frames(np.arange(4)), told.frames(np.arange(4)), rtol=1e-6)


@pytest.mark.slow
def test_hot_pixels_that_nobody_names_are_left_out_before_they_are_spread(tmp_path):
    """The maps equal those of a scan whose mask lists the pixels; otherwise each would affect up to four pixels."""
    places = ((40, 45), (20, 60), (70, 11))
    mask = np.zeros((80, 80), bool)
    part_of(SCAN, 32, tmp_path / "hot.h5")
    with h5py.File(tmp_path / "hot.h5", "r+") as file:
        counts = file["data"][()]
        for row, col in places:
            counts[..., row, col] = np.random.default_rng(row).poisson(900, counts.shape[:-2])
            mask[row, col] = True
        file["data"][...] = counts
    shutil.copy(tmp_path / "hot.h5", tmp_path / "named.h5")
    with h5py.File(tmp_path / "named.h5", "r+") as file:
        file["metadata/bad_pixel_mask"] = mask
    with open_source(tmp_path / "hot.h5", {"distortion": NUMBERS}) as opened:
        found = cleaned(opened)
        assert found.flat is not None
        np.testing.assert_array_equal(np.argwhere(found.flat.recorded.arrays["bad_pixel_mask"]), np.argwhere(mask))
    one, other = (ptylive.open_scan(tmp_path / f"{name}.h5", distortion=NUMBERS) for name in ("hot", "named"))
    maps = [scan.reconstruct(["bf", "idpc"]) for scan in (one, other)]
    for name in ("bf", "idpc"):
        np.testing.assert_allclose(maps[0][name].data, maps[1][name].data, rtol=1e-6, err_msg=name)
    convert = ("convert", tmp_path / "hot.h5", tmp_path / "flat.h5", "--set", GIVEN, "--json")
    assert last_json(ptylive_here(*convert))
    with open_source(tmp_path / "flat.h5") as flat, open_source(tmp_path / "named.h5", {"distortion": NUMBERS}) as told:
        np.testing.assert_allclose(flat.frames(np.arange(4)), told.frames(np.arange(4)), rtol=1e-6)


@pytest.mark.parametrize(
    ("value", "words"),
    [("0.1,0.1,0.1", "distortion has 3 numbers"), ("0.9,0,0,0", "distortion"), ("yes", "distortion")],
)
def test_what_is_none_is_refused_in_a_line(value, words, tmp_path):
    for command in (("inspect", bundled(SCAN)), ("serve", "--headless")):
        done = ptylive_here(*command, "--set", f"distortion={value}")
        assert done.returncode == 1
        assert words in done.stderr
        assert "internal error" not in done.stderr
