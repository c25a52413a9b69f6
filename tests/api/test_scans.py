"""The five lines of docs/notebook.md, run on the bundled scan."""

import re
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from scan_parts import part_of

import ptylive
from ptylive.scans import open_scan
from ptylive.schema import InputFileError, MetadataError
from ptylive.schema.advice import advise
from ptylive.schema.metadata import NAMES
from ptylive.simulators.data import bundled

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "notebook.md"
DATA_SET = "mos2_svac_80kV_focus"
ENDED = SimpleNamespace(message="")


@pytest.mark.slow
def test_the_documents_five_lines(tmp_path):
    lines = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S)[1]
    lines = lines.replace('"scan.h5"', repr(str(bundled(DATA_SET)))).replace("epoch_max=20", "epoch_max=1")
    names = {}
    exec(compile(lines, "notebook.md", "exec"), names)
    maps, refined = names["maps"], names["refined"]
    assert {"obf", "idpc", "wdd_phase"} <= set(maps)
    assert maps.calibration.get("energy_eV") == 80e3
    assert maps.advice == advise(maps.calibration)
    assert refined.phase.ndim == 3
    assert len(refined.result.loss) >= 1
    shown = maps.show("obf")
    assert "data:image/png;base64," in shown._repr_html_()
    (written,) = shown.save(tmp_path / "made" / "pictures")
    assert written.read_bytes().startswith(b"\x89PNG")


def test_a_map_that_is_not_there_is_named(tmp_path):
    maps = open_scan(part_of(DATA_SET, 8, tmp_path / "scan.h5")).reconstruct(["bf"])
    assert list(maps) == ["bf"]
    with pytest.raises(MetadataError, match="no map 'obf'"):
        maps.show("obf")
    with pytest.raises(KeyError, match="obf; made: "):
        maps["obf"]


def test_a_map_that_could_not_be_made_says_why():
    maps = open_scan(np.ones((4, 4, 8, 8), np.uint16), scan_step_A=0.4).reconstruct(["wdd_phase"])
    with pytest.raises(KeyError, match="wdd_phase: needs energy_eV"):
        maps["wdd_phase"]
    with pytest.raises(MetadataError, match="no map 'wdd_phase': needs energy_eV") as refused:
        maps.show("wdd_phase")
    assert refused.value.hint == "made: none"
    assert maps.get("wdd_phase") is None


def test_what_a_masked_array_leaves_out_is_bad_pixels():
    counts = np.random.default_rng(3).poisson(4.0, (5, 6, 8, 8)).astype(np.uint16)
    mask = np.zeros(counts.shape, dtype=bool)
    mask[..., 2, 3:5] = True
    plain = ptylive.reconstruct(counts, ["bf", "adf"], bad_pixel_mask=mask[0, 0])
    counts[..., 2, 3:5] = 9
    masked = np.ma.masked_array(counts, mask)
    made = ptylive.reconstruct(masked, ["bf", "adf"])
    for name in plain:
        np.testing.assert_array_equal(made[name].data, plain[name].data)
    np.testing.assert_array_equal(
        ptylive.reconstruct(np.ma.masked_array(counts), ["adf"])["adf"].data,
        ptylive.reconstruct(counts, ["adf"])["adf"].data,
    )


def test_an_array_is_a_scan_like_a_file(tmp_path):
    path = part_of(DATA_SET, 16, tmp_path / "scan.h5")
    with h5py.File(path) as file:
        counts, about = file["data"][()], dict(file["metadata"].attrs)
    known = {name: value for name, value in about.items() if name in NAMES and name != "energy_eV"}
    scan = ptylive.open_scan(counts, energy_eV="80 keV", **known)
    said = "16 x 16 points of 64 x 64 pixels, uint16; energy_eV 80000, convergence_semiangle_mrad 25"
    assert repr(scan) == f"Scan('array': {said})"
    maps = scan.reconstruct(["bf"])
    assert np.array_equal(maps["bf"].data, ptylive.reconstruct(path, ["bf"])["bf"].data)
    assert repr(maps) == "Maps(bf; 16 x 16 pixels, 256 frames)"
    assert "data:image/png" in maps._repr_html_()


@pytest.mark.parametrize(
    ("array", "metadata", "said"),
    [
        (np.zeros((4, 4)), {}, "array: the array is 4 x 4"),
        (np.zeros((2, 2, 8, 8), dtype="u2"), {"engery": 1}, "unknown setting 'engery'"),
        (np.zeros((2, 2, 8, 8), dtype="u2"), {"epoch_max": 1}, "epoch_max is a setting of refinements, not of scans"),
        (np.zeros((2, 2, 8, 8), dtype="c8"), {}, "array"),
    ],
)
def test_what_is_no_scan_is_refused(array, metadata, said):
    with pytest.raises((InputFileError, MetadataError), match=said):
        ptylive.open_scan(array, **metadata)


def test_all_that_a_refinement_needs_is_named_before_maps_are_made(monkeypatch):
    scan = ptylive.open_scan(np.zeros((2, 2, 8, 8), dtype="u2"), convergence_semiangle_mrad=25)
    monkeypatch.setattr(type(scan), "reconstruct", None)
    with pytest.raises(MetadataError, match="the refinement needs scan_step_A, energy_eV"):
        scan.refine()


def test_preset_and_settings_go_together():
    with h5py.File(bundled(DATA_SET)) as file:
        counts, about = file["data"][:12, :12], dict(file["metadata"].attrs)
    known = {name: value for name, value in about.items() if name in NAMES and name != "scan_shape"}
    scan = ptylive.open_scan(counts, **known)
    refined = scan.refine(ptylive.Preset(epoch_max=3, sweeps=1), epoch_max=1, probe_modes=1)
    assert len(refined.result.loss) <= 2
    assert refined.probe.shape[0] == 1
    assert repr(refined).startswith("Refined(done: 1 slice of ")
    assert "probe, amplitude" in refined._repr_html_()


def test_a_preset_may_be_a_file_and_say_what_corrects_the_recording(monkeypatch, tmp_path):
    """Regression: ``refine`` took no file, which ``batch`` and ``tune`` do."""
    scan = ptylive.open_scan(np.ones((4, 4, 8, 8), np.uint16), scan_step_A=0.4, convergence_semiangle_mrad=25)
    file = tmp_path / "p.toml"
    file.write_text(
        "[refine]\nprobe_modes = 3\n[optics]\nenergy_eV = 8e4\n[corrections]\nrotation_deg = 3\nscan_step_A = 9\n"
    )
    said = {"energy_eV": 8e4, "rotation_deg": 3.0, "scan_step_A": (0.4, 0.4)}  # what open_scan was given counts
    refined = []
    monkeypatch.setattr("ptylive.engine.refine.refine", lambda *given, **_: refined.append(given) or ENDED)
    for preset in (file, str(file)):
        scan.refine(preset, epoch_max=2)
    for dataset, preset in refined:
        assert (preset.value("probe_modes"), preset.value("epoch_max")) == (3, 2)
        assert [dataset.calibration.get(name) for name in said] == list(said.values())


def test_the_start_is_the_map_that_was_asked_for_with_its_settings(monkeypatch):
    """Regression: the notebook refined from the map ``obf`` whatever ``start_map`` said."""
    with h5py.File(bundled(DATA_SET)) as file:
        counts, about = file["data"][:12, :12], dict(file["metadata"].attrs)
    known = {name: value for name, value in about.items() if name in NAMES and name != "scan_shape"}
    scan, started = ptylive.open_scan(counts, **known), []
    result = SimpleNamespace(object=np.zeros((1, 1, 2, 2)), loss=[], message="")
    monkeypatch.setattr("ptylive.engine.refine.refine", lambda *_, start, **__: started.append(start) or result)
    scan.refine(start_map="ssb")
    scan.refine({"start_map": "ssb", "ssb.crop": 0.5}, start_map_amplitude=True)
    maps = scan.reconstruct(["ssb"], settings={"ssb.crop": 0.5})
    assert not np.allclose(started[0].phase, started[1].phase, rtol=1e-3)
    np.testing.assert_array_equal(started[1].phase, maps["ssb"].data)
    np.testing.assert_array_equal(started[1].amplitude, maps["ssb_amplitude"].data)
    assert started[0].amplitude is None
    with pytest.raises(MetadataError, match="ssb has no setting 'cropp'"):
        scan.refine({"start_map": "ssb", "ssb.cropp": 0.5})


def test_a_refinement_says_what_it_could_not_keep(monkeypatch, tmp_path, caplog):
    with h5py.File(bundled(DATA_SET)) as file:
        counts, about = file["data"][:6, :6], dict(file["metadata"].attrs)
    known = {name: value for name, value in about.items() if name in NAMES and name != "scan_shape"}
    scan = ptylive.open_scan(counts, **known)
    (tmp_path / "file").touch()
    with pytest.raises(InputFileError, match=r"nothing can be written into .*file/history"):
        scan.refine(history=tmp_path / "file" / "history")
    ended = SimpleNamespace(message="disk.csv could not be written: it is full")
    monkeypatch.setattr("ptylive.engine.refine.refine", lambda *_, **__: ended)
    assert scan.refine().result is ended
    assert ended.message in caplog.messages
