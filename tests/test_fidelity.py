"""Maps and objects against the truth of the simulated sets, scored by the independent scorer."""

import importlib.util
import json

import pytest
from running import last_json, ptylive_here
from shared_data import ROOTS, shared_data


@pytest.fixture(scope="module")
def score():
    """The scorer next to the shared data; skips the test if it is missing."""
    for root in ROOTS:
        path = root.parent / "tools" / "score.py"
        if path.exists():
            spec = importlib.util.spec_from_file_location("score", path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    pytest.skip("the scorer is not here (set PTYLIVE_SHARED_DATA)")


MAPS = [
    ("tiny_mos2_80kV_focus", "idpc", 0.988),
    ("tiny_mos2_80kV_focus", "obf", 0.97),
    pytest.param("mos2_svac_80kV_focus", "idpc", 0.989, marks=pytest.mark.slow),
    pytest.param("mos2_svac_80kV_focus", "obf", 0.989, marks=pytest.mark.slow),
    pytest.param("mos2_svac_80kV_focus", "wdd_phase", 0.985, marks=pytest.mark.slow),
    pytest.param("ws2_messy_60kV_lowdose", "obf", 0.942, marks=pytest.mark.slow),
    pytest.param("mos2_edge_80kV_defocus", "tcbf", 0.89, marks=pytest.mark.slow),
    pytest.param("mos2_edge_80kV_defocus", "obf", 0.97, marks=pytest.mark.slow),
    pytest.param("au_ac_300kV_parallax", "obf", 0.985, marks=pytest.mark.slow),
    pytest.param("sto_10nm_200kV_defocus", "wdd_phase", 0.96, marks=pytest.mark.slow),
]
"""Set, map, lowest correlation: the targets of docs/accuracy.md, all with default settings."""


@pytest.fixture(scope="module")
def reconstructed(tmp_path_factory):
    """Results of a shared set, computed once."""
    folder, made = tmp_path_factory.mktemp("maps"), {}

    def make(name, source=None):
        if name not in made:
            made[name] = folder / f"{name}.h5"
            last_json(ptylive_here("reconstruct", source or shared_data(name), "-o", made[name], "--json"))
        return made[name]

    return make


@pytest.mark.data
@pytest.mark.parametrize(("name", "live_map", "least"), MAPS)
def test_maps_of_shared_scans_correlate_with_the_truth(score, reconstructed, name, live_map, least):
    assert score.score_map(str(shared_data(name)), str(reconstructed(name)), live_map)["corr"] >= least


@pytest.mark.slow
@pytest.mark.data
def test_messy_scan_with_rotation_centre_and_transform_unknown(score, reconstructed, tmp_path):
    import h5py
    import hdf5plugin  # noqa: F401

    truth, blind = shared_data("ws2_messy_60kV_lowdose"), tmp_path / "blind.h5"
    with h5py.File(truth) as source, h5py.File(blind, "w") as file:
        source.copy("data", file)
        source.copy("metadata", file)
        for name in ("rotation_deg", "beam_center_px", "detector_transform"):
            del file["metadata"].attrs[name]
    results = reconstructed("ws2_blind", blind)
    for live_map, least in (("idpc", 0.78), ("obf", 0.942), ("tcbf", 0.90)):
        assert score.score_map(str(truth), str(results), live_map)["corr"] >= least, live_map
    with h5py.File(results) as file:
        found = dict(file["calibration"].attrs)
    assert found["rotation_deg_origin"] == "estimated"
    assert abs(found["rotation_deg"] - -15.0) < 2.0
    assert found["detector_transform"] == "none"
    assert found["beam_center_px"] == pytest.approx([33.25, 29.75], abs=0.1)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(("name", "least"), [("mos2_svac_80kV_focus", 0.96), ("mos2_edge_80kV_defocus", 0.92)])
def test_refined_objects_of_shared_scans_correlate_with_the_truth(score, tmp_path, name, least):
    out = tmp_path / "refined.h5"
    said = last_json(ptylive_here("refine", shared_data(name), "-o", out, "--json"))
    assert json.dumps(said)
    assert score.score_object(str(shared_data(name)), str(out))["corr"] >= least
