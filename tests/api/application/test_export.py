"""Pictures of maps: doubtful maps are greyed, as on the page; the floats stay unchanged."""

import h5py
import numpy as np
from PIL import Image

from ptylive.application.export import MAP_FORMATS, Export, export_stem, named
from ptylive.schema import LiveMap

DATA = np.indices((8, 8)).sum(axis=0).astype(np.float32)


def exported(tmp_path, name, formats, **more):
    live_map = LiveMap(name, DATA, "rad", (0.5, 0.5), 64, "OBF", **more)
    return Export(live_map, None).write(tmp_path / name, formats)


def test_a_map_in_doubt_is_greyed_in_its_picture(tmp_path):
    plain, buried, faint = (
        np.asarray(Image.open(exported(tmp_path, name, ["png"], **more)[0]).convert("L")).astype(int)
        for name, more in (("sure", {}), ("buried", {"buried": True}), ("faint", {"faint": True}))
    )
    corner = slice(-100, None), slice(-100, None)  # the brightest pixel, without words or scale bar
    assert plain[corner].max() == 255
    assert buried[corner].max() < 100 and faint[corner].max() < 100
    assert (buried != faint).any(), "each says why"


def test_the_floats_stay_and_the_doubt_is_told(tmp_path):
    for name, more, told in (("sure", {}, None), ("faint", {"faint": True}, "by 3 standard deviations")):
        path = exported(tmp_path, name, ["hspy"], **more)[0]
        with h5py.File(path) as file:
            signal = file[f"Experiments/{name}"]
            np.testing.assert_array_equal(signal["data"][()], DATA)
            found = signal["original_metadata/ptylive"].attrs.get("doubt")
        assert found is None if told is None else told in found


def test_a_point_in_the_name_of_a_scan_stays(tmp_path):
    recording = tmp_path / "20260101-120000_v1.2.h5"
    stems = [export_stem(recording, tmp_path, "v1.2", name) for name in ("obf", "idpc")]
    picture = Export(LiveMap("obf", DATA, "rad", (0.5, 0.5), 64, "OBF"), None)
    assert [[path.name for path in picture.write(stem, MAP_FORMATS)] for stem in stems] == [
        [f"20260101-120000_v1.2_{name}.{kind}" for kind in MAP_FORMATS] for name in ("obf", "idpc")
    ]
    assert named(stems[0], "html").name == "20260101-120000_v1.2_obf.html"
