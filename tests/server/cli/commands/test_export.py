"""``ptylive export --maps``: live maps as pictures, from a file of any origin."""

import h5py
import numpy as np
import pytest
from PIL import Image
from running import last_json, ptylive_here
from stored_runs import write_results

from ptylive.engine.results import write_maps
from ptylive.schema import Calibration, LiveMap


@pytest.fixture
def results(tmp_path):
    data = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    maps = [LiveMap("idpc", data, "rad", (0.5, 0.5), 30, "iDPC"), LiveMap("bf", data, "counts", None, 30, "BF")]
    covered = np.arange(30).reshape(5, 6) < 24
    write_maps(tmp_path / "r.h5", maps, covered, Calibration.from_attributes({}), {})
    return tmp_path / "r.h5"


def shown(path):
    """Colours (rows, cols, 3)."""
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("kind", ["png", "tiff", "hspy"])
def test_every_map_becomes_a_file(results, tmp_path, kind):
    done = last_json(ptylive_here("export", results, tmp_path / "out", "--to", kind, "--maps", "all", "--json"))
    assert sorted(done["files"]) == [str(tmp_path / "out" / f"{name}.{kind}") for name in ("bf", "idpc")]


def test_several_formats_are_written_at_once(results, tmp_path):
    done = last_json(
        ptylive_here("export", results, tmp_path / "out", "--to", "png,tiff,png", "--maps", "idpc", "--json")
    )
    assert done["files"] == [str(tmp_path / "out" / f"idpc.{kind}") for kind in ("png", "tiff")]


def test_without_a_folder_it_is_that_of_the_file(results, tmp_path):
    done = last_json(ptylive_here("export", results, "--map", "idpc", "--format", "png", "--json"))
    assert done["files"] == [str(tmp_path / "idpc.png")]


def test_the_numbers_are_those_of_the_map(results, tmp_path):
    last_json(ptylive_here("export", results, tmp_path, "--to", "tiff", "--maps", "idpc", "--json"))
    with Image.open(tmp_path / "idpc.tiff") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.random.default_rng(0).normal(size=(5, 6)).astype("f4"))


def test_phases_wear_the_colours_of_the_page_and_points_that_are_missing_none(results, tmp_path):
    last_json(ptylive_here("export", results, tmp_path, "--to", "png", "--maps", "idpc,bf", "--json"))
    phase, counts = (shown(tmp_path / name) for name in ("idpc.png", "bf.png"))
    assert (phase[:20, :, 0] != phase[:20, :, 2]).any()
    assert (counts[:20, :, 0] == counts[:20, :, 2]).all()
    assert len(np.unique(counts[-20:, -20:].reshape(-1, 3), axis=0)) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--to", "nxs", "--maps", "all"), "maps cannot be exported as 'nxs': choose from png, tiff, hspy"),
        (("--to", "png,nxs", "--maps", "all"), "maps cannot be exported as 'nxs': choose from png, tiff, hspy"),
        (("--to", "png", "--maps", "odpc"), "has no map 'odpc': did you mean 'idpc'? it has bf, idpc"),
        (("--to", "png", "--maps", "zz"), "has no map 'zz': it has bf, idpc"),
        (("--to", "png", "--maps", ","), "names nothing"),
        (("--to", "png", "--maps", "all", "--run", "run1"), "--run and --maps exclude each other"),
    ],
)
def test_what_cannot_be_is_one_line(results, tmp_path, options, said):
    done = ptylive_here("export", results, tmp_path / "out", *options)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_without_maps_says_how_to_make_them(tmp_path):
    write_results(tmp_path / "only.h5")
    done = ptylive_here("export", tmp_path / "only.h5", tmp_path, "--to", "png", "--maps", "all")
    assert "holds no maps: ptylive reconstruct RECORDING -o" in done.stderr


def test_names_of_maps_are_no_paths(results, tmp_path):
    with h5py.File(results, "a") as file:
        file["maps"].move("bf", "... out")
    done = last_json(ptylive_here("export", results, tmp_path / "in", "--to", "png", "--maps", "all", "--json"))
    assert str(tmp_path / "in" / "____out.png") in done["files"]


def test_two_maps_do_not_become_one_file(results, tmp_path):
    with h5py.File(results, "a") as file:
        file["maps/i dpc"], file["maps/i_dpc"] = file["maps/idpc"], file["maps/bf"]
    done = ptylive_here("export", results, tmp_path / "out", "--to", "png", "--maps", "all")
    assert done.returncode == 1
    assert "more than one of these maps would become" in done.stderr
