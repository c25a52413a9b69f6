"""Scripts for microscope programs, run against stand-ins for what they import from those programs."""

import argparse
import ast
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from cpp_sender import LossyServer

import ptylive
from ptylive.schema import ServerGoneError
from ptylive.simulators.outlet import SendPatience

FOLDER = Path(__file__).resolve().parents[4] / "docs" / "examples" / "microscopes"
SCRIPTS = sorted(FOLDER.glob("*.py"))
FRAMES = np.random.default_rng(5).poisson(3.0, (3, 4, 8, 6)).astype("<u2")
NOBODY = "tcp://127.0.0.1:9"


@pytest.fixture
def load(monkeypatch):
    """Loads a script, with stand-ins for modules of its program."""

    def loaded(name: str, **modules: object) -> ModuleType:
        for module, content in modules.items():
            monkeypatch.setitem(sys.modules, module.replace("__", "."), content)
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        made = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, made)
        spec.loader.exec_module(made)
        return made

    return loaded


def as_bytes(frames: np.ndarray) -> list[bytes]:
    return [frame.tobytes() for frame in frames.reshape(-1, *frames.shape[-2:])]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_what_a_script_takes_of_ptylive_is_there(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ptylive"):
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ptylive":
            assert hasattr(ptylive, node.attr)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_first_line_says_what_it_was_tried_on(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith('"""')
    assert "Not tried on" in first or ("Tried with" in first and "not at a microscope" in first)


def run_documents(callback, frames: np.ndarray, **start: object) -> None:
    """The documents that bluesky emits for a run."""
    callback("start", {"uid": "run-1", "scan_id": 7, "plan_name": "grid_scan", **start})
    callback("descriptor", {"data_keys": {"camera": {}}})
    for number, frame in enumerate(frames.reshape(-1, *frames.shape[-2:])):
        callback("event", {"seq_num": number + 1, "data": {"camera": frame, "motor": 1.0}})
    callback("stop", {"exit_status": "success"})


def test_a_bluesky_callback_sends_every_frame_and_the_metadata(load):
    script = load("bluesky_callback")
    with LossyServer() as lossy:
        callback = script.PtyliveCallback("camera", lossy.data, energy_eV="200 keV", scan_step_A=0.4)
        run_documents(callback, FRAMES, shape=(3, 4), snaking=(False, True))
        end = lossy.wait_for_end()
        assert lossy.patterns() == as_bytes(FRAMES)
        header = lossy.arm.header
    assert (header.uid, header.series, header.scan.shape) == ("run-1", "grid_scan-7", (3, 4))
    assert (header.scan.pattern, header.scan.step_A, header.optics.energy_eV) == ("snake", (0.4, 0.4), 200e3)
    assert (end.frames, end.reason) == (12, "complete")


@pytest.mark.parametrize(
    ("start", "frames", "metadata", "words"),
    [
        ({"shape": (3, 4)}, FRAMES, {}, "no server takes data"),
        ({"shape": (3, 4, 5)}, FRAMES, {}, "rows and columns"),
        ({"num_points": 3}, FRAMES[0, 0, :, :1, None], {}, "no server takes data"),
        ({"shape": (3, 4)}, FRAMES, {"energy": 3}, "unknown setting 'energy'"),
    ],
)
def test_what_goes_wrong_costs_bluesky_nothing(load, monkeypatch, caplog, start, frames, metadata, words):
    script = load("bluesky_callback")
    impatient = SendPatience(first_s=0.05, away_s=0.05)
    monkeypatch.setattr(ptylive, "Sender", lambda to, make=ptylive.Sender: make(to, impatient))
    run_documents(script.PtyliveCallback("camera", NOBODY, **metadata), frames, **start)
    (warning,) = caplog.records
    assert words in warning.getMessage()


class Channel:
    """Stands in for nion.instrumentation.Acquisition.DataAndMetadataDataChannel."""

    def __init__(self):
        self.kept = 0

    def update_data(self, *_given):
        self.kept += 1


class NionScan:
    """A scan controller that acquires FRAMES in two parts, with those of another channel in between."""

    def get_current_frame_parameters(self):
        return SimpleNamespace(size=(3, 4))

    def grab_synchronized(self, *, scan_frame_parameters, camera, camera_frame_parameters, data_channel):
        assert camera_frame_parameters.processing is None
        scale = [SimpleNamespace(scale=0.5, units="nm")] * 2 + [SimpleNamespace(scale=2.0, units="rad")] * 2
        flat, metadata = (
            FRAMES.reshape(12, 8, 6),
            SimpleNamespace(data_shape=FRAMES.shape, dimensional_calibrations=scale),
        )
        camera_channel, scan_channel = (SimpleNamespace(segments=[name]) for name in ("camera", "scan"))
        for first, last in ((0, 5), (5, 12)):
            data_channel.update_data(camera_channel, flat, slice(first, last), slice(first * 48, last * 48), metadata)
            data_channel.update_data(scan_channel, None, None, slice(0, 0), None)
        assert data_channel.kept == 4
        return ["scan"], ["camera"]


def nion(load) -> ModuleType:
    camera = SimpleNamespace(
        hardware_source_id="camera", get_current_frame_parameters=lambda: SimpleNamespace(processing="sum_project")
    )
    stem = SimpleNamespace(scan_controller=NionScan(), ronchigram_camera=camera, GetVal={"EHT": 100e3}.get)
    return load(
        "nion_swift",
        nion=ModuleType("nion"),
        nion__instrumentation=SimpleNamespace(Acquisition=SimpleNamespace(DataAndMetadataDataChannel=Channel)),
        nion__utils=SimpleNamespace(Registry=SimpleNamespace(get_component={"stem_controller": stem}.get)),
    )


def test_the_nion_swift_script_sends_every_frame_and_the_metadata(load):
    script = nion(load)
    with LossyServer() as lossy:
        assert script.acquire(lossy.data, rotation_deg=5.0) == (["scan"], ["camera"])
        assert lossy.wait_for_end().reason == "complete"
        assert lossy.patterns() == as_bytes(FRAMES)
        header = lossy.arm.header
    assert (header.scan.shape, header.scan.step_A, header.scan.rotation_deg) == ((3, 4), (5.0, 5.0), 5.0)
    assert (header.optics.energy_eV, header.optics.convergence_semiangle_mrad) == (100e3, 30.0)


def test_a_server_that_is_away_costs_nion_swift_nothing(load, monkeypatch, caplog):
    script = nion(load)
    impatient = SendPatience(first_s=0.05, away_s=0.05)
    monkeypatch.setattr(ptylive, "Sender", lambda to, make=ptylive.Sender: make(to, impatient))
    assert script.acquire(NOBODY) == (["scan"], ["camera"])
    assert "no server takes data" in caplog.records[0].getMessage()


class DMImage:
    """Stands in for an image of DigitalMicrograph: pattern axes first, as in its array."""

    def __init__(self, data: np.ndarray):
        self.data = data

    def GetNumArray(self):
        return self.data

    def GetName(self):
        return "diffraction si"

    def GetTagGroup(self):
        return SimpleNamespace(GetTagAsFloat=lambda name: (name == "Microscope Info:Voltage", 300e3))

    def GetDimensionCalibration(self, axis, _kind):
        return 0.0, {0: 0.05}.get(axis, 9.0), "nm"


def test_the_digitalmicrograph_script_sends_every_frame_and_the_metadata(load):
    image = DMImage(FRAMES.transpose(2, 3, 0, 1))
    script = load("gatan_dm", DigitalMicrograph=SimpleNamespace(GetFrontImage=lambda: image))
    with LossyServer() as lossy:
        uid = script.send(image, lossy.data, lossy.control)
        assert lossy.wait_for_end().reason == "complete"
        assert lossy.patterns() == as_bytes(FRAMES)
        header = lossy.arm.header
    assert (header.uid, header.series, header.scan.shape) == (uid, "diffraction si", (3, 4))
    assert (header.optics.energy_eV, header.scan.step_A) == (300e3, (0.5, 0.5))
    with pytest.raises(ValueError, match="diffraction si has 2 axes"):
        script.send(DMImage(FRAMES[0, 0]), NOBODY)


class SerialEM:
    """Stands in for the module serialem: a beam that moves, and patterns of where it is."""

    def __init__(self, broken_at: int = 99):
        self.beam, self.broken_at, self.records = [0.25, 0.5], broken_at, 0

    def ReportBeamShift(self):
        return (*self.beam, 0.0)

    def SetBeamShift(self, x, y):
        self.beam = [x, y]

    def MoveBeamByMicrons(self, x, y):
        self.beam = [self.beam[0] + x, self.beam[1] + y]

    def Record(self):
        self.records += 1
        if self.records == self.broken_at:
            raise RuntimeError("SerialEM: the camera is gone")

    def bufferImage(self, _name):
        column, row = ((now - start) / 20e-4 for now, start in zip(self.beam, (0.25, 0.5), strict=True))
        return FRAMES[round(row), round(column)]


@pytest.mark.parametrize(("broken_at", "reason"), [(99, "complete"), (7, "aborted")])
def test_serialem(load, broken_at, reason):
    sem = SerialEM(broken_at)
    script = load("serialem_scan", serialem=sem)
    asked = ["--rows", "3", "--columns", "4", "--step_A", "20", "--energy_eV", "300e3", "--semiangle_mrad", "10"]
    with LossyServer() as lossy:
        there = ["--to", lossy.data, "--control", lossy.control]
        arguments: argparse.Namespace = script.parser().parse_args([*asked, *there])
        if reason == "complete":
            script.run(arguments)
        else:
            with pytest.raises(RuntimeError, match="camera is gone"):
                script.run(arguments)
        end = lossy.wait_for_end()
        assert lossy.patterns() == as_bytes(FRAMES)[: end.frames]
        header = lossy.arm.header
    assert (end.reason, end.frames) == (reason, min(12, broken_at - 1))
    assert (header.scan.step_A, header.optics.energy_eV) == ((20.0, 20.0), 300e3)
    assert sem.beam == [0.25, 0.5]


def test_a_server_that_is_away_ends_serialem_s_script(load, monkeypatch):
    sem = SerialEM()
    script = load("serialem_scan", serialem=sem)
    monkeypatch.setattr(
        ptylive,
        "Sender",
        lambda to, control, make=ptylive.Sender: make(to, SendPatience(first_s=0.05, away_s=0.05), control=control),
    )
    with pytest.raises(ServerGoneError):
        script.run(script.parser().parse_args(["--step_A", "20", "--energy_eV", "300e3", "--to", NOBODY]))
    assert sem.beam == [0.25, 0.5]
