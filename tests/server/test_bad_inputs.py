"""Bad inputs, one per row: where it comes in, what it is, and the words and exit status of the answer.

Every answer is one line that names the problem and the remedy; nothing ends in a traceback or an internal error. To add
rows: those of a command go to COMMANDS (``{name}`` is a file of ``files``), values that every place must refuse alike
to VALUES, metadata of a file to FILES.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
import pytest
from told_messages import is_on_the_page
from typer.main import get_command

from ptylive.dashboard.panels.calibration import UnclearValueError, parse_assignment
from ptylive.schema import InputFileError, MetadataError, PtyliveError, Scan, ScanHeader
from ptylive.schema.metadata import overlay, questions
from ptylive.server.cli import main as cli
from ptylive.server.cli.values import parse_value
from ptylive.server.commands.calibration_commands import CalibrationCommands
from ptylive.server.process.config_file import load_config
from ptylive.streamer.source import open_source
from ptylive.streamer.vetting import whole_file
from ptylive.streamer.vetting.worker import FileWorker, Limits

BUILD = cli.build
OPTICS = {"energy_eV": 80e3, "convergence_semiangle_mrad": 25.0, "scan_step_A": 0.4}

VALUES: tuple[tuple[str, str, str], ...] = (
    ("energy_eV", "80", "did you mean 80 keV"),
    ("energy_eV", "300", "did you mean 300 keV"),
    ("energy_eV", "0", "is impossible"),
    ("energy_eV", "-80000", "is impossible"),
    ("energy_eV", "-80 keV", "is impossible"),
    ("energy_eV", "1e300", "is impossible"),
    ("energy_eV", "1e999", ""),
    ("energy_eV", "nan", "energy_eV = "),
    ("energy_eV", "inf", "energy_eV = "),
    ("energy_eV", "80 nm", "is not a unit for an energy"),
    ("energy_eV", "80 furlong", "is not a unit for an energy"),
    ("energy_eV", "eighty", "not a number"),
    ("convergence_semiangle_mrad", "0.025", "did you mean 0.025 rad"),
    ("convergence_semiangle_mrad", "25000", "is impossible"),
    ("convergence_semiangle_mrad", "30,5 mrad", "write a decimal point"),
    ("convergence_semiangle_mrad", "30 eV", "is not a unit for an angle"),
    ("convergence_semiangle_mrad", "-1", "is impossible"),
    ("scan_step_A", "0", "is impossible"),
    ("scan_step_A", "0,1 nm", "write a decimal point"),
    ("scan_step_A", "0.3 mrad", "is not a unit for a length"),
    ("scan_step_A", "0.0005", "did you mean"),
    ("scan_step_A", "1e9", "is impossible"),
    ("scan_step_A", "1,25", "'1 Å, 25 Å' for two steps"),
    ("scan_step_A", "1,2,3", "one number"),
    ("rotation_deg", "1e9", "is impossible"),
    ("rotation_deg", "1000", "unusual"),
    ("rotation_deg", "5 nm", "is not a unit for an angle"),
    ("defocus_A", "1e8", "unusual"),
    ("defocus_A", "1e30", "is impossible"),
    ("defocus_A", "up", "not a number"),
    ("C10", "1e30", ""),
    ("C30", "1e30", "is impossible"),
    ("C30", "2 keV", "is not a unit for a length"),
    ("depth_A", "1e12", "is impossible"),
    ("detector_pixel_mrad", "0", "is impossible"),
    ("detector_pixel_mrad", "100", "detector_pixel_mrad = 100 mrad?"),
    ("detector_pixel_invA", "0.2 nm", "is not a unit for a spatial frequency"),
    ("detector_pixel_invA", "-1", "is impossible"),
    ("beam_center_px", "1e9,0", "is impossible"),
    ("dwell_time_us", "-1", "is impossible"),
    ("dwell_time_us", "10 Hz", "is not a unit for a time"),
    ("counts_per_electron", "0", "is impossible"),
    ("saturation_value", "-5", "is impossible"),
    ("field_of_view_A", "0", "is impossible"),
    ("repeats", "0", "is impossible"),
    ("scan_pattern", "spiral", "scan.pattern"),
    ("detector_transform", "sideways", "unknown detector transform"),
    ("energie_eV", "80e3", "did you mean"),
)
"""Metadata name, typed text, and words of the answer."""

FILES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"energy_eV": -1.0}, "energy_eV = -1 eV is impossible"),
    ({"energy_eV": np.nan}, "energy_eV = nan eV is impossible"),
    ({"energy_eV": "eighty"}, "not a number"),
    ({"energy_eV": np.array([1.0, 2.0, 3.0])}, "not a single number"),
    ({"convergence_semiangle_mrad": np.inf}, "is impossible"),
    ({"scan_step_A": [0.0, 1.0]}, "is impossible"),
    ({"scan_step_A": [1.0, 2.0, 3.0]}, "not a single number"),
    ({"rotation_deg": 1e20}, "is impossible"),
    ({"C30": np.nan}, "is impossible"),
    ({"beam_center_px": [np.nan, 1.0]}, "is impossible"),
    ({"detector_pixel_mrad": -0.5}, "is impossible"),
    ({"scan_shape": [3, 3]}, "impossible scan_shape"),
    ({"scan_shape": [-1, 4]}, "impossible scan shape"),
    ({"detector_transform": "twist"}, "unknown detector transform"),
)
"""Attributes of `/metadata`, and words of the answer."""

COMMANDS: tuple[tuple[str, str, int], ...] = (
    ("inspect nowhere.h5", "no such file", 1),
    ("inspect {text}", "is not an HDF5 file", 1),
    ("inspect {full} --set energy_eV", "is not KEY=VALUE", 1),
    ("inspect {full} --set scan_shape=0,5", "impossible scan shape", 1),
    ("inspect {full} --set scan_shape=9,9", "impossible scan_shape", 1),
    ("plan", "nothing is known", 1),
    ("plan nowhere.h5", "no such file", 1),
    ("plan {text}", "is not an HDF5 file", 1),
    ("plan {full} --energy 80", "did you mean 80 keV", 1),
    ("plan {full} --pixel 3s", "is not a unit for an angle", 1),
    ("plan {full} --detector 64,x", "is not two whole numbers", 1),
    ("plan {full} --detector 0,64", "0 x 64 is impossible", 1),
    ("plan {full} --scan 0,5", "impossible scan shape", 1),
    ("plan {full} --current 1 --dose 1", "have the same meaning", 1),
    ("plan {full} --energy_eV", "requires an argument", 2),
    ("plan {full} --json --nonsense", "No such option", 2),
    ("trotters {full} --at 0.3", "'0.3' is not a frequency", 1),
    ("trotters {bare}", "bare.h5: a trotter needs scan_step_A", 1),
    ("refine {full} -o {out} --set ssb.cropp=1", "did you mean 'ssb.crop'", 1),
    ("refine {full} -o {out} --set wdd.epsilon=1", "the refinement starts from obf", 1),
    ("reconstruct {full} -o {out} --methods wdd_phas", "unknown method", 1),
    ("reconstruct {full} -o {out} --methods ,", "names nothing", 1),
    ("reconstruct {full} -o {out} --basis nonsense:5", "nonsense", 1),
    ("reconstruct {full} -o {out} --set energy_eV=80", "did you mean 80 keV", 1),
    ("reconstruct nowhere.h5 -o {out}", "no such file", 1),
    ("reconstruct {full}", "Missing option", 2),
    ("refine {bare} -o {out}", "bare.h5: the refinement needs scan_step_A, energy_eV, convergence_semiangle_mrad", 1),
    ("refine {bare} -o {out}", "a series of tilted parallel beams: ptylive larbed", 1),
    ("refine {bare} -o {out} --set scan_step_A=0.4", "the refinement needs energy_eV", 1),
    ("refine {full} -o {out} --set energy_eV=80", "did you mean 80 keV", 1),
    ("refine {full} -o {out} --set probe_modes=99", "probe_modes", 1),
    ("refine {full} -o {out} --set nonsense=1", "nonsense", 1),
    ("refine {full} -o {out} --backend quantum", "is unknown", 1),
    ("refine {full} -o {out} --when-cluster-missing here", "has no effect without --cluster", 1),
    ("refine {full} -o {out} --when-cluster-missing soon", "is not a known way to go on", 1),
    (
        "refine {full} -o {out} --cluster local:2 --workers 2 --when-cluster-missing wait",
        "has no effect with --workers",
        1,
    ),
    ("larbed {full} -o {out} --tilt-step 0.004", "give it in mrad: 4 if it was in rad", 1),
    ("align {bare}", "bare.h5: the alignment of images needs scan_step_A", 1),
    ("refine {full} -o {out} --epochs 0", "Invalid value", 2),
    ("convert {full} {out} --crop 1,2", "is not TOP,BOTTOM,LEFT,RIGHT", 1),
    ("convert {full} {out} --crop 99,0,0,0", "nothing is left", 1),
    ("convert {full} {out} --bin 0", "--bin 0 is impossible", 1),
    ("convert {full} {out} --divide nan", "--divide nan is impossible", 1),
    ("convert {full} {out} --divide many", "is not a number", 1),
    ("convert {full} {out} --dtype text", "is not a pixel type", 1),
    ("convert {full} {out} --dtype c8", "is not supported", 1),
    ("convert {full} {out} --rescale 1e9", "--rescale 1000000000.0 is impossible", 1),
    ("convert {full} {out} --rescale nan", "--rescale nan is impossible", 1),
    ("convert {full} {out} --cutoff 2", "--cutoff 2.0 is impossible", 1),
    ("convert {full} {out} --flip-scan up", "--flip-scan up is impossible", 1),
    ("convert {full} {out} --transform twist", "unknown detector transform", 1),
    ("convert {full} {out} --set energy_eV=80", "did you mean 80 keV", 1),
    ("convert nowhere.h5 {out}", "no such file", 1),
    ("analyse {full} {dir}", "refine", 1),
    ("analyse nowhere.h5 {dir}", "nowhere.h5", 1),
    ("analyse {full} {dir} --line 1,2", "is not ROW,COL,ROW,COL", 1),
    ("analyse {full} {dir} --line nan,0,1,1", "is not ROW,COL,ROW,COL", 1),
    ("export {full} {dir} --to tiff", "refine", 1),
    ("export {full} {dir} --to word", "", 1),
    ("export nowhere.h5 {dir} --to tiff", "nowhere.h5", 1),
    ("replay {full} --rate quick", "is not a rate", 1),
    ("replay {full} --rate -1", "is not a rate", 1),
    ("replay {full} --protocol smtp", "is unknown", 1),
    ("replay {full} --set energy_eV=80", "did you mean 80 keV", 1),
    ("serve --set energy_eV=80", "did you mean 80 keV", 1),
    ("serve --set energie=80e3", "unknown setting", 1),
    ("serve --set idle_timeout_s=-1", "idle_timeout_s", 1),
    ("serve --config nowhere.toml", "no such file: check --config", 1),
    ("serve --config {toml}", "did you mean 80 keV", 1),
    ("serve --basis nonsense", "nonsense", 1),
    ("call status --control nonsense", "cannot connect to 'nonsense'", 1),
    ("call status --control tcp://", "give an address like tcp://", 1),
    ("call status --control udp://127.0.0.1:9998", "give an address like tcp://", 1),
    ("call status --control tcp://127.0.0.1:port", "give an address like tcp://", 1),
    ("call status energy --control tcp://127.0.0.1:1", "is not KEY=VALUE", 1),
    ("call status --keys {dir} --control tcp://127.0.0.1:1", "holds no server.key", 1),
    ("refine-now --control nonsense", "give an address like tcp://", 1),
    ("refine-now --preset nowhere.toml", "nowhere.toml: no such file", 1),
    ("replay {full} --to nonsense", "is not an address to send to", 1),
    ("replay {full} --to udp://127.0.0.1:9", "is not an address to send to", 1),
    ("replay {full} --rate nan", "is not a rate", 1),
    ("replay {full} --rate inf", "rate inf is impossible", 1),
    ("replay {full} --rate 0", "is not a rate", 1),
    ("replay {full} --keys {dir}", "holds no server.key", 1),
    ("serve --data nonsense", "data: 'nonsense' is not an address like tcp://127.0.0.1:9999", 1),
    ("serve --data tcp://127.0.0.1:99999", "data: Port out of range", 1),
    ("serve --control tcp://127.0.0.1:99999", "control: Port out of range", 1),
    ("serve --data tcp://0.0.0.0:0", "without keys", 1),
    ("serve --dashboard nonsense", "dashboard: 'nonsense' is not an address like 127.0.0.1:5006", 1),
    ("serve --dashboard 127.0.0.1:99999", "dashboard: '127.0.0.1:99999' is not an address", 1),
    ("serve --dashboard 127.0.0.1:²", "is not an address like", 1),
    ("serve --dashboard 0.0.0.0:5006", "others may see the dashboard with --token", 1),
    ("serve --set metrics=nonsense", "metrics: 'nonsense' is not an address", 1),
    ("serve --set prefix=../x", "is not a path like /ptylive", 1),
    ("serve --set idle_timeout_s=nan", "idle_timeout_s", 1),
    ("serve --set refine_threads=many", "refine_threads", 1),
    ("serve --set protocol=smtp", "protocol: Input should be 'native'", 1),
    ("serve --set defaults=3", "defaults", 1),
    ("serve --set refine.epoch_max=0", "epoch_max", 1),
    ("serve --set =5", "is not KEY=VALUE", 1),
    ("serve --basis zernike:-1", "unknown basis", 1),
    ("serve --basis {folder}", "unknown basis", 1),
    ("serve --config {folder}", "is not a file", 1),
    ("serve --config {fifo}", "is not a file", 1),
    ("serve --config /dev/zero", "is not a file", 1),
    ("serve --config {bytes}", "is not text", 1),
    ("serve --config {broken}", "broken.toml", 1),
    ("serve --headless --record {full}", "it is not a folder", 1),
    ("serve --headless --record {full}/inside", "cannot record in", 1),
    ("serve --headless --record /proc/inside", "cannot record in", 1),
    ("serve --colour", "No such option", 2),
    ("serve extra", "unexpected extra argument", 2),
    ("nonsense", "No such command 'nonsense'", 2),
    ("inspect", "Missing argument", 2),
    ("inspect {full} {bare}", "unexpected extra argument", 2),
    ("inspect {full} --set scan_shape=4", "4 is not two whole numbers", 1),
    ("inspect {full} --set scan_shape=4,4,4", "is not two whole numbers", 1),
    ("inspect {full} --set scan_shape=four", "'four' is not two whole numbers", 1),
    ("inspect {full} --set scan_shape=4.5,4", "is not two whole numbers", 1),
    ("inspect {full} --set scan_shape=nan,4", "is not two whole numbers", 1),
    ("inspect {full} --set scan_shape=-4,-4", "impossible scan shape", 1),
    ("inspect {full} --set scan_shape=1e9,1e9", "impossible scan shape", 1),
    ("inspect {full} --set flyback_frames=-1", "flyback_frames", 1),
    ("inspect {full} --set flyback_frames=4", "flyback_frames 4", 1),
    ("inspect {full} --set skip_first=1000", "skip_first 1000", 1),
    ("inspect {full} --set repeats=1000", "repeats 1000", 1),
    ("inspect {full} --set uid=x", "unknown setting 'uid'", 1),
    ("inspect {full} --set nowhere.energy_eV=3", "did you mean 'energy_eV'", 1),
    ("inspect {full} --set optics.energy_eV=-3", "energy_eV = -3 eV is impossible", 1),
    ("inspect {full} --set defocus_A=5 --set C10=7", "defocus_A and C10 have the same meaning", 1),
    ("inspect {full} --set scan_step_A=1 --set field_of_view_A=9", "have the same meaning", 1),
    ("inspect {full} --set detector_pixel_mrad=1 --set detector_pixel_invA=0.3", "have the same meaning", 1),
    ("reconstruct {full} -o {full}", "would overwrite the input", 1),
    ("reconstruct {full} -o {out} --basis {full}", "no masks", 1),
    ("reconstruct {full} -o {out} --basis zernike:99999", "unknown basis", 1),
    ("refine {full} -o {out} --preset {folder}", "is not a file", 1),
    ("refine {full} -o {out} --preset {fifo}", "is not a file", 1),
    ("refine {full} -o {out} --preset {bytes}", "is not text", 1),
    ("refine {full} -o {out} --preset {broken}", "broken.toml", 1),
    ("refine {full} -o {out} --set num_slices=2", "total_thickness_A", 1),
    ("refine {full} -o {out} --set total_thickness_A=-5", "total_thickness_A", 1),
    ("refine {full} -o {out} --set update_probe=exec(1)", "update_probe: schedule 'exec(1)'", 1),
    ("refine {full} -o {out} --resume", "there is no checkpoint", 1),
    ("refine {full} -o {out} --threads 0", "Invalid value", 2),
    ("convert {full} {out} --bin -1", "--bin -1 is impossible", 1),
    ("convert {full} {out} --bin 2.5", "Invalid value", 2),
    ("convert {full} {out} --crop -1,0,0,0", "--crop (-1, 0, 0, 0) is impossible", 1),
    ("convert {full} {out} --divide 0", "--divide 0.0 is impossible", 1),
    ("convert {full} {out} --dtype O", "is not supported", 1),
    ("convert {full} {out} --cutoff -1", "--cutoff -1.0 is impossible", 1),
    ("preset nowhere.toml", "nowhere.toml: no such file", 1),
    ("preset {folder}", "is not a file", 1),
    ("preset {fifo}", "is not a file", 1),
    ("export {folder} {out} --to png", "is not a file", 1),
    ("export {fifo} {out} --to png --maps obf", "is not a file", 1),
    ("preset {bytes}", "is not text", 1),
    ("preset {broken}", "broken.toml", 1),
    ("bench nonsense", "choose live, stream or refine", 1),
    ("bench refine --backend cpu", "bench refine has no option --backend: --backend is for bench live", 1),
    ("demo nonsense", "unexpected extra argument", 2),
    ("call nothing --control tcp://127.0.0.1:1", "no server", 1),
)
"""Arguments, words of the answer, exit status."""


@pytest.fixture
def worker() -> Iterator[FileWorker]:
    with FileWorker(Limits(memory_bytes=2**30)) as one:
        yield one


@pytest.fixture(autouse=True)
def assembled_once(worker: FileWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use one command line, and one process that reads files, for all rows."""
    monkeypatch.setattr(cli, "build", assembled)
    monkeypatch.setattr(whole_file._READER, "worker", lambda: contextlib.nullcontext(worker))


@functools.cache
def assembled(named: tuple[str, ...]) -> click.Command:
    """The commands as built by typer, which the program does anew at every start."""
    return get_command(BUILD(named))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A scan with optics, one without, a text file, and names to write to."""
    folder = tmp_path_factory.mktemp("bad")
    names = {name: folder / f"{name}.h5" for name in ("full", "bare", "text", "out")}
    scan_file(names["full"], **OPTICS)
    scan_file(names["bare"])
    names["text"].write_text("this is no scan")
    names["toml"] = folder / "serve.toml"
    names["toml"].write_text("[optics]\nenergy_eV = 80\n")
    names |= {name: folder / f"{name}.toml" for name in ("broken", "bytes", "fifo")}
    names["broken"].write_text("x = [")
    names["bytes"].write_bytes(b"\xff\xfe")
    os.mkfifo(names["fifo"])
    return names | {"dir": folder / "written", "folder": folder}


def scan_file(path: Path, **metadata: Any) -> Path:
    rows, cols = np.indices((12, 12)) - 5.5
    disc = (np.hypot(rows, cols) < 4).astype(float)
    with h5py.File(path, "w") as file:
        file["data"] = np.random.default_rng(1).poisson(20 * disc, (4, 4, 12, 12)).astype(np.uint16)
        file.create_group("metadata").attrs.update(metadata)
    return path


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and stderr of the program run in this process."""
    monkeypatch.setattr(sys, "argv", ["ptylive", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0), capsys.readouterr().err


def check_said(said: str, words: str) -> None:
    assert words in said, said
    assert "internal error" not in said
    assert "Traceback" not in said
    of_parser = "\nError: " in said or said.startswith(("Usage: ", "Error: "))
    if not of_parser:  # which uses its own words
        assert is_on_the_page(said), "python tools/write_tables.py"


@pytest.mark.parametrize(("arguments", "words", "status"), COMMANDS, ids=[row[0][:60] for row in COMMANDS])
def test_a_command_says_what_is_wrong(arguments, words, status, files, monkeypatch, capsys) -> None:
    given = [part.format(**files) for part in arguments.split(" ")]
    code, said = run(given, monkeypatch, capsys)
    check_said(said, words)
    assert code == status
    if status == 1:
        assert said.strip().splitlines()[-1].startswith("ptylive: ")


@pytest.mark.parametrize(("name", "text", "words"), VALUES, ids=[f"{row[0]}={row[1]}" for row in VALUES])
def test_a_value_is_refused_wherever_it_is_typed(name, text, words, files, tmp_path, monkeypatch, capsys) -> None:
    code, said = run(["inspect", str(files["full"]), "--set", f"{name}={text}"], monkeypatch, capsys)
    check_said(said, words)
    assert code == 1
    commands = CalibrationCommands({}, {}, lambda: None, lambda _scan: None)
    with pytest.raises(MetadataError) as refused:
        commands.command_configure({name: parse_value(text)})
    check_said(refused.value.line(), words)
    with pytest.raises(MetadataError) as refused:
        load_config(None, {}, {name: parse_value(text)})
    check_said(refused.value.line(), words)
    with pytest.raises((UnclearValueError, MetadataError)) as unclear:
        commands.command_configure(parse_assignment("other", f"{name} = {text}"))
    check_said(unclear.value.line() if isinstance(unclear.value, PtyliveError) else str(unclear.value), words)


@pytest.mark.parametrize(("metadata", "words"), FILES, ids=[str(row[0]) for row in FILES])
def test_a_file_that_says_what_cannot_be_is_refused_with_its_name(metadata, words, tmp_path) -> None:
    path = scan_file(tmp_path / "odd.h5", **{**OPTICS, **metadata})
    with pytest.raises(InputFileError) as refused, open_source(path):
        pass
    check_said(refused.value.line(), words)
    assert str(path) in refused.value.line()
    name = next(iter(metadata))
    good = {**OPTICS, "scan_shape": (4, 4), "detector_transform": "none"}.get(name)
    with open_source(path, {name: good}) as source:  # the suggested remedy works
        assert source.header.scan.shape == (4, 4)


@pytest.mark.parametrize(("name", "value"), [("energy_eV", 80.0), ("convergence_semiangle_mrad", 0.025), ("C10", 1e8)])
def test_a_file_that_says_something_odd_is_taken_and_questioned(name, value, tmp_path, monkeypatch, capsys) -> None:
    path = scan_file(tmp_path / "odd.h5", **{**OPTICS, name: value})
    with open_source(path) as source:
        assert len(questions(source.header)) == 1
    monkeypatch.setattr(sys, "argv", ["ptylive", "inspect", str(path)])
    try:
        cli.main()
    except SystemExit as ended:
        assert not ended.code
    assert "is this right?" in capsys.readouterr().out


def test_every_refusal_is_one_of_the_program() -> None:
    with pytest.raises(PtyliveError):
        overlay(ScanHeader("", "", 0, Scan()), {"energy_eV": object()})
