"""``ptylive compare``."""

import numpy as np
from PIL import Image
from running import last_json, ptylive_here
from stored_runs import write_results

from ptylive.engine.results import write_maps
from ptylive.schema import Calibration, LiveMap


def test_maps_and_refinement_become_one_picture(tmp_path):
    results, picture = tmp_path / "r.h5", tmp_path / "side.png"
    write_results(results)
    data = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    maps = [LiveMap(name, data, "rad", (0.5, 0.5), 30, name) for name in ("idpc", "obf")]
    write_maps(
        results,
        maps,
        np.ones((5, 6), bool),
        Calibration.from_attributes({"rotation_deg": 0.0, "rotation_deg_origin": "given"}),
        {},
    )
    done = last_json(ptylive_here("compare", results, picture, "--maps", "obf, idpc", "--in-a-row", 2, "--json"))
    assert done["shown"] == ["obf", "idpc", "run1"]
    assert done["run"] == "run1"
    assert -1 <= done["correlation"]["obf"] == done["correlation"]["idpc"] <= 1
    with Image.open(picture) as shown:
        assert 2 * 480 < shown.width < 3 * 480
    told = ptylive_here("compare", results, picture, "--run", "run1")
    assert told.returncode == 0
    assert "shown: idpc, obf, run1" in told.stdout
    before = results.read_bytes()
    for target in (results, tmp_path / "other.h5", tmp_path / "x.jpg"):
        refused = ptylive_here("compare", results, target)
        assert refused.returncode == 1
        assert "is not the name of a picture" in refused.stderr
    assert results.read_bytes() == before
