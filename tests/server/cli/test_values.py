"""A user's invalid input is answered with one line; valid input is understood."""

import json
import subprocess
import sys
from importlib import import_module
from inspect import getdoc

import h5py
import numpy as np
import pytest
from quick_first import quick_first
from running import last_json, ptylive_here
from scan_parts import part_of

from ptylive.engine.backend.device import missing
from ptylive.schema import InputFileError, MetadataError
from ptylive.server.cli.commands.refine import split_settings
from ptylive.server.cli.main import COMMANDS, named
from ptylive.server.cli.values import parse_assignments, parse_value
from ptylive.server.process.config_file import load_config
from ptylive.simulators.data import bundled

NOBODY = "tcp://127.0.0.1:1"


def one_line(done, *words):
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    (folder / "text.h5").write_text("no HDF5")
    with h5py.File(folder / "empty.h5", "w"):
        pass
    with h5py.File(folder / "shape.h5", "w") as file:
        file["data"] = np.zeros((4, 5, 8, 8), np.uint16)
        file.create_group("metadata").attrs["scan_shape"] = [7, 9]
    return folder


@pytest.mark.parametrize("command", ["replay", "inspect", "reconstruct", "refine"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.h5", ["missing.h5"]),
        ("text.h5", ["text.h5", "HDF5"]),
        ("empty.h5", ["empty.h5", "/data"]),
        ("shape.h5", ["shape.h5", "scan_shape", "7 x 9"]),
    ],
)
def test_a_bad_file_is_told_in_one_line_and_nothing_is_written(broken, tmp_path, command, name, words):
    options = ["-o", tmp_path / "out.h5"] if command in ("reconstruct", "refine") else []
    one_line(ptylive_here(command, broken / name, *options), *words)
    assert not list(tmp_path.iterdir())


def test_images_of_the_detector_are_files_of_their_own(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text('[detector]\ngain_reference = "g.npy"\npixel_mrad = 1.0\n')
    made = load_config(config, {}, {"dark_reference": "d.h5", "detector.bad_pixel_mask": "m.npy", "energy_eV": 8e4})
    assert made.detector_files == {"gain_reference": "g.npy", "dark_reference": "d.h5", "bad_pixel_mask": "m.npy"}
    assert (made.defaults, made.overrides) == ({"detector.pixel_mrad": 1.0}, {"energy_eV": 8e4})
    assert load_config(None, {}, {"dark_reference": 5}).detector_files == {"dark_reference": "5"}
    for name, value in (("gain_reference", 5), ("dark_reference", True)):
        with pytest.raises(MetadataError, match="detector_files"):
            load_config(None, {}, {name: value})
    preset, metadata = split_settings({"dark_reference": "d.h5", "sweeps": 3})
    assert (preset, metadata) == ({"sweeps": 3}, {"dark_reference": "d.h5"})


def test_numbers_of_live_maps(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text('[maps]\n"obf.noise" = 2\n[maps.wdd]\nepsilon = 0.5\n')
    made = load_config(config, {}, {"wdd.epsilon": 0.1, "idpc.highpass_invA": "0.5 1/nm"})
    assert made.maps == {"obf.noise": 2.0, "wdd.epsilon": 0.1, "idpc.highpass_invA": pytest.approx(0.05)}
    for name, value, words in (
        ("wdd.epsilom", 1, "wdd has no setting 'epsilom'"),
        ("wdd.epsilon", -1, "is not possible"),
    ):
        with pytest.raises(MetadataError, match=words):
            load_config(None, {}, {name: value})
    for name in ("maps", "detector_files", "refine", "security", "overrides"):
        config.write_text(f"[server.{name}]\nepsilon = 1\n")
        with pytest.raises(MetadataError, match=rf"\[server\] {name} is not valid here"):
            load_config(config, {}, {})
    with pytest.raises(MetadataError, match="positions_A is not one of bad_pixel_mask"):
        load_config(None, {}, {"detector_files": {"positions_A": "x.npy"}})
    config.write_text("[maps.nothing]\nepsilon = 1\n")
    with pytest.raises(MetadataError, match="not a map setting"):
        load_config(config, {}, {})


def test_commands_without_a_server_say_how_to_start_one(tmp_path):
    for command in (["status"], ["stop"], ["refine-now"], ["call", "runs"]):
        one_line(ptylive_here(*command, "--control", NOBODY), NOBODY, "ptylive serve")


def test_misspelt_settings_name_the_nearest(tmp_path):
    source = bundled("mos2_svac_80kV_focus")
    one_line(ptylive_here("inspect", source, "--set", "energy_ev=80e3"), "energy_eV")
    one_line(ptylive_here("refine", source, "-o", tmp_path / "o.h5", "--set", "num_slice=2"), "num_slices")
    one_line(ptylive_here("serve", "--headless", "--set", "idle_timout_s=3"), "idle_timout_s")
    one_line(ptylive_here("serve", "--headless", "--data", "tcp://0.0.0.0:9999"), "loopback")
    one_line(ptylive_here("reconstruct", source, "-o", tmp_path / "o.h5", "--methods", "idpc,wwd"), "'wwd'")


@pytest.mark.parametrize("name", ["descan_px", "distortion"])
def test_a_file_that_tells_no_value_is_named_with_the_value_it_was_for(tmp_path, name):
    np.save(tmp_path / "offsets.npy", np.zeros((7, 2)))
    with pytest.raises(InputFileError, match=f"^{name}=.*offsets.npy: .*the array is 7 x 2"):
        parse_assignments([f"{name}={tmp_path / 'offsets.npy'}"])


def test_usage_errors_are_2():
    assert ptylive_here("replay").returncode == 2
    assert ptylive_here("dance").returncode == 2
    assert ptylive_here("replay", "x.h5", "--batch", "many").returncode == 2


def test_every_command_has_help():
    for command in ([], ["serve"], ["replay"], ["refine"], ["refine-now"], ["demo"], ["bench"]):
        done = ptylive_here(*command, "--help")
        assert done.returncode == 0
        assert "Usage" in done.stdout


HEAVY = ("numba", "bokeh", "h5py", "scipy")
LOADED = """
import sys
from ptylive.server.cli.main import main
sys.argv = ["ptylive", *{arguments!r}]
try:
    main()
except SystemExit:
    pass
print(sorted(set({modules!r}) & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("arguments", "modules"),
    quick_first(
        [
            (["--version"], (*HEAVY, "numpy", "pydantic", "zmq", "rich", "msgpack")),
            (["--help"], (*HEAVY, "numpy", "pydantic", "zmq", "rich", "msgpack")),
            (["stauts"], HEAVY),
            (["status", "--help"], HEAVY),
            (["refine", "--help"], HEAVY),
            (["demo", "--help"], HEAVY),
        ],
        3,
    ),
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_loads_only_what_it_needs(arguments, modules):
    code = LOADED.format(arguments=arguments, modules=modules)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_their_own_help_says(name):
    command = getattr(import_module(f"ptylive.server.cli.commands.{name}"), name)
    assert getdoc(command) == COMMANDS[name]


def test_commands_are_found_in_command_lines():
    assert named(["--debug", "refine-now", "--wait"]) == ("refine_now",)
    assert named(["--help"]) == ()


def test_inspect_says_what_is_understood_and_missing(tmp_path):
    said = last_json(ptylive_here("inspect", bundled("au_ac_300kV_parallax"), "--json"))
    assert said["scan_shape"] == [48, 48]
    assert said["C10"] == -400.0
    assert said["missing"] == []
    with h5py.File(tmp_path / "bare.h5", "w") as file:
        file["data"] = np.zeros((4, 5, 8, 8), np.uint16)
    said = last_json(ptylive_here("inspect", tmp_path / "bare.h5", "--json"))
    assert [m.split()[0] for m in said["missing"]] == ["energy_eV", "convergence_semiangle_mrad", "scan_step_A"]
    assert any(line.startswith("rotation_deg") for line in said["estimated"])


def test_reconstruct_chooses_methods_and_reports(tmp_path):
    out = tmp_path / "out.h5"
    said = last_json(
        ptylive_here(
            "reconstruct",
            part_of("mos2_svac_80kV_focus", 16, tmp_path / "scan.h5"),
            "-o",
            out,
            "--methods",
            "bf,com",
            "--backend",
            "cpu",
            "--json",
        )
    )
    assert said["computed_on"] == {"reduction": "cpu", "transforms": "cpu", "filters": "cpu"}
    assert said["frames"] == 256
    assert {"seconds", "frames_per_s"} <= set(said)
    with h5py.File(out) as file:
        assert set(file["maps"]) == {"bf", "com_row", "com_col"}
        assert file["maps/com_row"].attrs["units"] == "1/Å"
        np.testing.assert_allclose(file["maps/bf"].attrs["sampling_A"], [0.4, 0.4])
        assert file["calibration"].attrs["rotation_deg_origin"] == "given"
        assert {"version", "command_line", "backend", "date"} <= set(file["settings"].attrs)


def test_values_of_set_are_numbers_lists_or_words():
    assert parse_value("80e3") == 80000.0
    assert parse_value("64,64") == [64, 64]
    assert parse_value("snake") == "snake"
    assert parse_assignments(["scan.shape=64,64"]) == {"scan.shape": [64, 64]}
    with pytest.raises(MetadataError, match="KEY=VALUE"):
        parse_assignments(["energy_eV"])


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("energy_eV=80,000", "write 80000 without a comma, or write a decimal point: 80.000"),
        ("optics.energy_eV=1,000,000", "write 1000000 without a comma"),
        ("C10=-1,200", "write -1200 without a comma, or write a decimal point: -1.200"),
        ("defocus_A=1,5", "write a decimal point: 1.5"),
        ("energy_eV=80,5e3", "give one number"),
    ],
)
def test_commas_between_thousands_are_no_decimal_commas(typed, hint):
    with pytest.raises(MetadataError, match="is not a single number") as caught:
        parse_assignments([typed])
    assert caught.value.hint == hint
    assert parse_assignments(["scan.shape=128,128", "beam_center_px=128,128"])["scan.shape"] == [128, 128]


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("scan_step_A=12,5", "write '12 Å, 5 Å' for two steps, or '12.5 Å' for one"),
        ("scan.step_A=12,5 nm", "write '12 nm, 5 nm' for two steps, or '12.5 nm' for one"),
    ],
)
def test_a_step_with_a_comma_may_be_one_or_two(typed, hint):
    """Regression: a text was questioned, but this one had become a list of two steps before anybody looked."""
    with pytest.raises(MetadataError, match="may be one number or two") as caught:
        parse_assignments([typed])
    assert caught.value.hint == hint
    assert parse_assignments(["scan_step_A=[12,5]"]) == {"scan_step_A": [12, 5]}
    assert parse_assignments(["scan_step_A=12 Å, 5 Å"]) == {"scan_step_A": ["12 Å", "5 Å"]}
    assert parse_assignments(["scan_step_A=0.3,0.4"]) == {"scan_step_A": [0.3, 0.4]}


def test_a_configuration_file_is_overridden_by_options_and_set(tmp_path):
    path = tmp_path / "microscope.toml"
    path.write_text('[server]\nrecord = "/data"\n[optics]\nenergy_eV = 80e3\n[refine]\nsweeps = 3\n')
    config = load_config(path, {"data": "tcp://127.0.0.1:5555"}, {"scan.step_A": 0.5, "refine.sweeps": 4})
    assert config.record == "/data"
    assert config.defaults == {"optics.energy_eV": 80e3}
    assert config.overrides == {"scan.step_A": 0.5}
    assert config.refine == {"sweeps": 4}
    assert json.loads(config.model_dump_json())["data"] == "tcp://127.0.0.1:5555"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nrecrod = 1\n", "did you mean 'record'"),
        ("[optics]\nenergy = 1\n", "energy_eV"),
        ("[opticks]\n", "did you mean 'optics'"),
        ("[server\n", "microscope.toml"),
        ("[refine]\nnum_slice = 2\n", "num_slices"),
    ],
)
def test_a_mistake_in_a_configuration_is_named(tmp_path, text, words):
    path = tmp_path / "microscope.toml"
    path.write_text(text)
    with pytest.raises(MetadataError) as caught:
        load_config(path, {}, {})
    assert words in caught.value.line()


@pytest.mark.parametrize("command", ["reconstruct", "refine", "bench"])
def test_an_unknown_backend_is_refused(tmp_path, command):
    what = ["live"] if command == "bench" else [bundled("mos2_svac_80kV_focus"), "-o", tmp_path / "o.h5"]
    one_line(ptylive_here(command, *what, "--backend", "tpu"), "--backend 'tpu' is unknown", "use auto, cpu or gpu")


def test_maps_on_a_gpu_that_is_not_there_are_refused(tmp_path):
    if not missing():
        pytest.skip("there is a GPU")
    source = bundled("mos2_svac_80kV_focus")
    done = ptylive_here("reconstruct", source, "-o", tmp_path / "o.h5", "--methods", "bf", "--backend", "gpu")
    one_line(done, f"no GPU to make maps on: {missing()}", "use backend cpu")
