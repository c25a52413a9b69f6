"""Preset files on the command line, PyPty's included; one runs from end to end."""

import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from running import last_json, ptylive_here

from ptylive.application.offline import method_of, start_guess
from ptylive.application.presets import files_of, load_preset, preset_of, with_stage_files
from ptylive.schema import Calibration, LiveMap, MetadataError, Origin, Quantity
from ptylive.schema.preset import Preset
from ptylive.server.cli.commands.refine import _loaded
from ptylive.server.cli.preset_option import with_masks
from ptylive.server.cli.values import parse_assignments
from ptylive.simulators.data import bundled

SIDE = 12
PYPTY = """
import numpy as np
# a preset as PyPty's examples write them
experimental_params = {
    'acc_voltage': 80, 'conv_semiangle_mrad': %(semiangle)r, 'rez_pixel_size_A': %(pixel)r,
    'scan_size': (12, 12), 'scan_step_A': %(step)r, 'PLRotation_deg': %(rotation)r, 'aberrations': [%(C10)r, 0, 0],
}
pypty_params = {
    'data_path': 'scan.h5', 'output_folder': 'out', 'print_flag': 2, 'load_one_by_one': False,
    'algorithm': 'lsq_sqrt', 'epoch_max': 6, 'phase_only_obj': lambda x: x != 2,
    'sequence': lambda x: np.arange(x %% 2, 144, 2) if x < 4 else None, 'tune_only_probe_phase': lambda x: x == 3,
    'update_probe': "lambda x: x >= 2", 'update_probe_pos': lambda x: x > 100,
    'hist_length': lambda x: 10 if x > 4 else 5, 'wolfe_c1_constant': 0.1, 'reduce_factor': 1/15,
    'phase_norm_weight': lambda x: 0.01*(x < 4), 'atv_weight': 1e-3,
    'restart_from_vacuum': lambda x: x == 1, 'n_hermite_probe_modes': [2, 1],
}
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A corner of the bundled MoS2 scan without any metadata, and its metadata."""
    path = tmp_path_factory.mktemp("bare") / "scan.h5"
    with h5py.File(bundled("mos2_svac_80kV_focus")) as source, h5py.File(path, "w") as file:
        file["data"] = source["data"][:SIDE, :SIDE]
        values = dict(source["metadata"].attrs)
    return path, values


def pypty_text(values):
    return (PYPTY % {
        "semiangle": float(values["convergence_semiangle_mrad"]), "pixel": float(values["detector_pixel_invA"]),
        "step": float(np.ravel(values["scan_step_A"])[0]), "rotation": -float(values["rotation_deg"]),
        "C10": -float(values["defocus_A"]),
    })  # fmt: skip


@pytest.mark.slow
def test_a_pypty_preset_runs_from_end_to_end(bare, tmp_path):
    file, values = bare
    preset = tmp_path / "preset.py"
    preset.write_text(pypty_text(values))
    output = tmp_path / "refined.h5"
    done = ptylive_here("refine", file, "-o", output, "--preset", preset, "--json")
    assert done.returncode == 0, done.stderr
    outcome = last_json(done)
    assert (outcome["state"], outcome["epochs"]) == ("done", 6)
    with h5py.File(output) as results:
        run = results["refinement"]
        used = Preset.model_validate_json(run.attrs["preset"])
        assert used.schedules["update_probe"] == "epoch >= 2"
        assert used.schedules["sequence"] == "np.arange(epoch % 2, 144, 2) if epoch < 4 else None"
        assert run["probe"].shape[1] == 2
        assert run["loss"][-1] < run["loss"][1]
        assert results["calibration"].attrs["energy_eV"] == 80e3
        assert results["calibration"].attrs["rotation_deg"] == pytest.approx(values["rotation_deg"])


def test_a_pypty_preset_becomes_toml(bare, tmp_path):
    _, values = bare
    preset, toml = tmp_path / "preset.py", tmp_path / "preset.toml"
    preset.write_text(pypty_text(values))
    done = ptylive_here("preset", preset, "-o", toml)
    assert done.returncode == 0, done.stderr
    first, second = load_preset(preset), load_preset(toml)
    assert Preset.from_mapping(first.settings) == Preset.from_mapping(second.settings)
    assert second.metadata["energy_eV"] == 80e3
    assert tuple(second.metadata["scan_shape"]) == (12, 12)


def test_presets_of_ours(tmp_path):
    (tmp_path / "flat.toml").write_text("num_slices = 1\nsweeps = 3\n")
    (tmp_path / "full.toml").write_text("[refine]\nsweeps = 3\n[optics]\nenergy_eV = 60e3\n[scan]\nstep_A = 0.5\n")
    (tmp_path / "plain.json").write_text(json.dumps({"sweeps": 3}))
    for name in ("flat.toml", "full.toml", "plain.json"):
        assert load_preset(tmp_path / name).settings["sweeps"] == 3
    assert load_preset(tmp_path / "full.toml").metadata == {"energy_eV": 60e3, "scan_step_A": 0.5}


def test_corrections_win_over_what_the_recording_says(bare, tmp_path):
    """A tuning finds better values than those the microscope wrote; values that are typed override both."""
    file, _ = bare
    (tmp_path / "best.toml").write_text("[refine]\nsweeps = 3\n[corrections]\ndefocus_A = 44.0\n")
    loaded = load_preset(tmp_path / "best.toml")
    assert (loaded.corrections, loaded.metadata) == ({"defocus_A": 44.0}, {})
    (tmp_path / "flat.toml").write_text("sweeps = 3\n[corrections]\ndefocus_A = 44.0\n")
    assert load_preset(tmp_path / "flat.toml").settings == {"sweeps": 3}
    told = {"energy_eV": 80e3, "defocus_A": 60.0}
    assert _loaded(tmp_path / "best.toml", file, told, tmp_path / "o.h5")[1]["defocus_A"] == 60.0
    assert _loaded(tmp_path / "best.toml", file, {}, tmp_path / "o.h5")[1]["defocus_A"] == 44.0
    (tmp_path / "bad.toml").write_text("[corrections]\ndefocs_A = 44.0\n")
    with pytest.raises(MetadataError, match=r"unknown setting corrections.defocs_A") as caught:
        load_preset(tmp_path / "bad.toml")
    assert caught.value.hint == "did you mean 'defocus_A'?"
    with pytest.raises(MetadataError, match="describes the experiment"):
        with_stage_files({}, [tmp_path / "best.toml"], tmp_path / "o.h5")


@pytest.mark.parametrize(
    ("name", "text", "said", "hint"),
    [
        ("a.toml", "[optics]\nenergy_eV = 80\n", "energy_eV = 80 eV\\? did you mean 80 keV", "write the unit"),
        ("a.toml", "[corrections]\nconvergence_semiangle_mrad = 0.03\n", "did you mean 0.03 deg", "write the unit"),
        (
            "a.json",
            '{"acc_voltage": 8000}',
            "energy_eV = 8e\\+06 eV\\? this is unusual",
            "'8e\\+06 eV' if that is right",
        ),
        ("a.json", '{"conv_semiangle_mrad": "25,5"}', "is not a single number", "write a decimal point: 25.5"),
    ],
)
def test_an_unlikely_value_in_a_preset_is_questioned(tmp_path, name, text, said, hint):
    (tmp_path / name).write_text(text)
    with pytest.raises(MetadataError, match=f"{name}: .*{said}") as caught:
        load_preset(tmp_path / name)
    assert re.search(hint, caught.value.hint)
    (tmp_path / "unit.json").write_text('{"acc_voltage": 80, "conv_semiangle_mrad": "0.03 mrad"}')
    assert load_preset(tmp_path / "unit.json").metadata == {
        "energy_eV": 80e3, "convergence_semiangle_mrad": pytest.approx(0.03)
    }  # fmt: skip


def test_a_preset_that_the_recording_contradicts_is_said(tmp_path, capsys):
    file, preset = bundled("au_ac_300kV_parallax"), tmp_path / "preset.json"
    preset.write_text(json.dumps({"acc_voltage": 80, "defocus": -90.0, "scan_size": [48, 48]}))
    added = _loaded(preset, file, {"energy_eV": 300e3}, tmp_path / "o.h5")[1]
    assert added == {"energy_eV": 300e3}
    words = "".join(capsys.readouterr().err)
    assert "the recording says otherwise than" in words
    assert ": C10 -400, not -90; --set overrides both" in words
    assert "energy_eV" not in words, "typed"


def test_stages_stand_in_tables_or_files_of_their_own(tmp_path):
    (tmp_path / "all.toml").write_text("[refine]\nsweeps = 3\n[[stage]]\nname = 'coarse'\nwindow_px = 32\n[[stage]]\n")
    (tmp_path / "flat.toml").write_text("sweeps = 3\n[[stage]]\nname = 'coarse'\nwindow_px = 32\n[[stage]]\n")
    for name in ("all.toml", "flat.toml"):
        settings = load_preset(tmp_path / name).settings
        assert settings == {"sweeps": 3, "stages": [{"name": "coarse", "window_px": 32}, {}]}
    (tmp_path / "thin.toml").write_text("num_slices = 1\n")
    (tmp_path / "named.json").write_text(json.dumps({"name": "fine", "sweeps": 5}))
    files = [tmp_path / "thin.toml", tmp_path / "named.json"]
    added = with_stage_files(settings, files, tmp_path / "out.h5")
    assert added["stages"][2:] == [{"name": "thin", "num_slices": 1}, {"name": "fine", "sweeps": 5}]
    assert with_stage_files({"sweeps": 3}, [], tmp_path / "out.h5") == {"sweeps": 3}
    for unusual in (3, "fine"):
        assert with_stage_files({"stages": unusual}, [], tmp_path / "out.h5") == {"stages": unusual}  # refused later
        with pytest.raises(MetadataError, match="stages is"):
            with_stage_files({"stages": unusual}, files, tmp_path / "out.h5")
    (tmp_path / "optics.toml").write_text("[optics]\nenergy_eV = 60e3\n")
    with pytest.raises(MetadataError, match=r"optics\.toml describes the experiment"):
        with_stage_files({}, [tmp_path / "optics.toml"], tmp_path / "out.h5")


@pytest.mark.parametrize("text", ["[refine]\nsweep = 8\n", "sweep = 8\n"])
def test_an_unknown_setting_is_named_with_its_file(tmp_path, text):
    """Regression: the file was not named, although a command line may name several."""
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(MetadataError, match=r"mine\.toml: unknown refinement setting 'sweep'") as refused:
        load_preset(tmp_path / "mine.toml")
    assert refused.value.hint == "did you mean 'sweeps'?"


def test_files_of_all_stages_are_looked_through():
    preset = Preset.from_mapping({"stages": [{"start_object": "a.h5"}, {}], "start_probe": "b.h5"})
    assert sorted(files_of(preset)) == [Path("a.h5"), Path("b.h5")]


@pytest.mark.slow
def test_stages_run_from_end_to_end_and_lie_in_the_results(bare, tmp_path):
    file, known = bare
    output, thick = tmp_path / "refined.h5", tmp_path / "thick.toml"
    thick.write_text("num_slices = 2\ntotal_thickness_A = 10\n")
    preset = tmp_path / "all.toml"
    preset.write_text("sweeps = 2\nepoch_max = 3\nprobe_modes = 1\n[[stage]]\nname = 'thin'\nnum_slices = 1\n")
    names = ("energy_eV", "convergence_semiangle_mrad", "detector_pixel_invA", "rotation_deg", "defocus_A")
    values = [f"{name}={float(known[name])}" for name in names] + [f"scan_step_A={np.ravel(known['scan_step_A'])[0]}"]
    given = [word for value in values for word in ("--set", value)]
    done = ptylive_here("refine", file, "-o", output, "--preset", preset, "--stage", thick, *given, "--json")
    assert done.returncode == 0, done.stderr
    assert (last_json(done)["state"], last_json(done)["epochs"]) == ("done", 6)
    with h5py.File(output) as results:
        run = results["refinement"]
        assert run["object"].shape[1] == 2
        assert run["loss"].attrs["stages"].tolist() == [0, 3]
        assert [run[f"stages/{n}"].attrs["name"] for n in (1, 2)] == ["thin", "thick"]
        each = [Preset.model_validate_json(run[f"stages/{n}"].attrs["preset"]) for n in (1, 2)]
        assert [preset.object.slices for preset in each] == [1, 2]
        assert len(Preset.model_validate_json(run.attrs["preset"]).stages) == 2
    assert (tmp_path / "refined.checkpoint.stage2").exists()


def test_arrays_become_files_beside_the_output(tmp_path):
    preset = tmp_path / "preset.json"
    preset.write_text(json.dumps({"acc_voltage": 60, "beam_ctf": [[0, 1], [2, 3]]}))
    loaded = load_preset(preset, beside=tmp_path / "out.h5")
    assert loaded.settings["beam_ctf"] == str(tmp_path / "out.beam_ctf.npy")
    np.testing.assert_array_equal(np.load(loaded.settings["beam_ctf"]), [[0, 1], [2, 3]])


def test_what_cannot_be_read_is_said(tmp_path):
    pickled = tmp_path / "preset.pkl"
    pickled.write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "wrong.toml").write_text("a = = 1")
    (tmp_path / "section.toml").write_text("[optics]\nvoltage = 3\n")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    for name, words in (
        ("preset.pkl", "pickles are never opened"),
        ("none.toml", "no such file: check the path"),
        ("wrong.toml", "correct the TOML"),
        ("section.toml", "optics.voltage"),
        ("bytes.json", "is not text"),
    ):
        with pytest.raises(MetadataError) as error:
            load_preset(tmp_path / name)
        assert words in error.value.line()


def test_the_command_line(tmp_path):
    done = ptylive_here("preset", "--schema")
    assert json.loads(done.stdout)["properties"]["window_px"]["unit"] == "pixels"
    assert "# slices of the object along the beam" in ptylive_here("preset").stdout
    preset = tmp_path / "preset.json"
    preset.write_text(json.dumps({"acc_voltage": 60, "data_bin": 2}))
    done = ptylive_here("preset", preset)
    assert done.returncode == 1
    assert "data_bin" in done.stderr
    assert ptylive_here("preset", preset, "--lenient").stdout.endswith("[optics]\nenergy_eV = 60000.0\n")


def test_other_live_maps_to_start_from():
    data = np.ones((3, 4), np.float32)
    assert method_of("wdd_phase") == "wdd"
    assert method_of("obf") == "obf"
    for units, scale in (("rad", 1.0), ("relative", 0.5)):
        guess = start_guess(LiveMap("map", data, units, (0.5, 0.5), 12, ""), Calibration())
        np.testing.assert_array_equal(guess.phase, scale * data)
    assert start_guess(None, Calibration()) is None


def test_a_map_whose_points_were_placed_is_started_from_where_it_lies():
    calibration = Calibration({"rotation_deg": Quantity(30.0, Origin.GIVEN)})
    regular = LiveMap("obf", np.ones((3, 4), np.float32), "rad", (0.5, 0.5), 12, "obf")
    listed = {"points": "placed", "origin_A": [-3.0, 5.0]}
    said = {**listed, "origin_A": [0.0, 0.0], "axes_deg": 28.0}
    found = [start_guess(replace(regular, settings=told), calibration) for told in ({}, listed, said)]
    assert [(guess.origin_A, guess.rotation_deg) for guess in found] == [
        ((0.0, 0.0), 30.0),
        ((-3.0, 5.0), 0.0),
        ((0.0, 0.0), 28.0),
    ]


@pytest.mark.slow
def test_a_refinement_starts_from_the_map_it_is_told(bare, tmp_path):
    file, values = bare
    known = ("energy_eV", "convergence_semiangle_mrad", "detector_pixel_invA", "rotation_deg", "defocus_A")
    given = [f"{name}={float(values[name])}" for name in known] + [
        f"scan_step_A={float(np.ravel(values['scan_step_A'])[0])}"
    ]
    settings = [
        word
        for item in (*given, "start_map=wdd_phase", "start_from_map=true", "scan_defocus=false")
        for word in ("--set", item)
    ]
    output = tmp_path / "out.h5"
    done = last_json(ptylive_here("refine", file, "-o", output, "--epochs", "1", *settings, "--json"))
    assert done["state"] == "done"
    with h5py.File(output) as results:
        assert np.angle(results["refinement/object"][()]).std() > 1e-3


def test_expressions_and_ranges_on_the_command_line():
    values = parse_assignments(
        ["atv_weight=max(0, 1 - epoch)", "update_probe=epoch > 3", "sequence=0:10,20", "window=0.2,0.5"]
    )
    preset = Preset.from_mapping(values)
    assert preset.schedules == {"atv_weight": "max(0, 1 - epoch)", "update_probe": "epoch > 3"}
    assert (preset.patterns.sequence, preset.regularisers.window) == ("0:10, 20", (0.2, 0.5))


def test_a_file_of_names_that_pypty_means_otherwise_says_whose_it_is_read_as(tmp_path):
    """A JSON file is read as ours, with a remark; a Python file as PyPty's, in PyPty's units."""
    (tmp_path / "both.json").write_text('{"fast_axis_reg_weight_tilts": 1.0, "epoch_max": 5}')
    loaded = load_preset(tmp_path / "both.json")
    assert loaded.settings["fast_axis_reg_weight_tilts"] == 1.0
    assert "PyPty uses fast_axis_reg_weight_tilts" in loaded.notes[0]
    (tmp_path / "both.py").write_text("pypty_params = {'fast_axis_reg_weight_tilts': 1.0, 'epoch_max': 5}")
    assert load_preset(tmp_path / "both.py").settings["fast_axis_reg_weight_tilts"] == pytest.approx(1e-6)
    (tmp_path / "ours.json").write_text('{"epoch_max": 5, "atv_weight": 0.1}')
    assert load_preset(tmp_path / "ours.json").notes == ()


def test_a_file_of_ptyrad_is_a_preset(tmp_path):
    (tmp_path / "params.yaml").write_text("init_params: {probe_kv: 80, obj_Nlayer: 1}\nrecon_params: {NITER: 3}\n")
    loaded = load_preset(tmp_path / "params.yaml")
    assert (loaded.settings["epoch_max"], loaded.metadata["energy_eV"]) == (3, 80e3)
    assert any(line.startswith("changed: probe_kv") for line in loaded.table)
    (tmp_path / "other.yaml").write_text("a: 1\n")
    with pytest.raises(MetadataError, match="neither a parameter file of PtyRAD nor a plan of phaser"):
        load_preset(tmp_path / "other.yaml")


def test_masks_of_a_preset_open_the_recording(tmp_path):
    """Masks are read first, since without them the recording is not a scan; a batch refuses them."""
    masks = np.ones((2, 4, 4))
    path = tmp_path / "pypty.json"
    path.write_text(json.dumps({"acc_voltage": 80, "masks": masks.tolist(), "beam_current": [1.0, 2.0]}))
    values = with_masks(path, {"energy_eV": 1.0}, tmp_path / "out.h5")
    assert values["energy_eV"] == 1.0
    np.testing.assert_array_equal(np.load(values["masks"]), masks)
    assert with_masks(None, {}, tmp_path / "out.h5") == {}
    assert with_masks(path, {"masks": "mine.npy"}, tmp_path / "out.h5") == {"masks": "mine.npy"}
    loaded = load_preset(path, beside=tmp_path / "out.h5")
    assert "masks" not in loaded.metadata
    assert "--set masks=" in " ".join(loaded.notes)
    np.testing.assert_array_equal(np.load(loaded.settings["start_beam_current"]), [1.0, 4.0])
    with pytest.raises(MetadataError, match="masks, which belong to one recording"):
        preset_of(path, tmp_path)


def test_an_object_of_several_modes_sets_their_number(tmp_path):
    np.save(tmp_path / "co.npy", np.ones((6, 6, 2, 3), np.complex64))
    path = tmp_path / "pypty.json"
    path.write_text(json.dumps({"acc_voltage": 80, "obj": str(tmp_path / "co.npy")}))
    assert load_preset(path).settings["obj_modes"] == 3
    path.write_text(json.dumps({"acc_voltage": 80, "obj": str(tmp_path / "none.npy")}))
    assert "obj_modes" not in load_preset(path).settings
