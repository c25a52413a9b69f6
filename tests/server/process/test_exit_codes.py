"""Exit codes, help, examples, completion, progress and Ctrl-C of every command."""

import os
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer
from quick_first import quick_first
from running import PTYLIVE, ptylive

from ptylive.engine.results import StorageLocation
from ptylive.schema import PtyliveError
from ptylive.server.cli.commands.refine import _judge
from ptylive.server.cli.main import COMMANDS, _interruptible, build, main
from ptylive.server.cli.output import Interrupted, bar, end_partial, when_interrupted
from ptylive.server.process.exit_codes import MEANINGS, ExitCode
from ptylive.simulators.data import bundled

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "commands.md"


@pytest.fixture(scope="module")
def program():
    return typer.main.get_command(build())


def test_the_document_has_every_exit_code_and_command():
    text = DOCUMENT.read_text(encoding="utf-8")
    for code, meaning in MEANINGS.items():
        assert f"| {code.value} | {meaning} |" in text
    for name in COMMANDS:
        assert f"`{name.replace('_', '-')}`" in text
    assert set(MEANINGS) == set(ExitCode)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_is_understood(program, name):
    examples = import_module(f"ptylive.server.cli.commands.{name}").EXAMPLES.strip().splitlines()
    assert examples
    for line in examples:
        first, command, *arguments = shlex.split(line.split(">")[0], comments=True)
        assert (first, command) == ("ptylive", name.replace("_", "-"))
        program.commands[command].make_context(command, arguments)  # raises for an unknown option


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_examples_and_exit_codes(program, name):
    command = program.commands[name.replace("_", "-")]
    with command.make_context(command.name, [], resilient_parsing=True) as context:
        text = command.get_help(context)
    for line in import_module(f"ptylive.server.cli.commands.{name}").EXAMPLES.strip().splitlines():
        assert line in text
    assert f"{ExitCode.INTERRUPTED.value}  {MEANINGS[ExitCode.INTERRUPTED]}" in text


def test_version_and_short_help():
    version = ptylive("--version")
    assert (version.returncode, version.stdout.split()[0]) == (0, "ptylive")
    said = ptylive("-h").stdout
    assert "Exit codes:" in said
    assert "..." not in said.partition("Commands:")[2], "a description is cut off"


@pytest.mark.parametrize(
    ("line", "word", "completed"),
    quick_first([("ptylive refine-now --w", "2", ["--wait"]), ("ptylive ref", "1", ["refine", "refine-now"])]),
)
def test_the_shell_completes_commands_and_options(line, word, completed):
    asked = {"_PTYLIVE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": word}
    done = subprocess.run([PTYLIVE], env={**os.environ, **asked}, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == completed


def result(state):
    return state, 2, "the loss is not finite"


def test_a_failed_refinement_is_no_success():
    _judge(*result("done"), StorageLocation(Path("out.h5"), "run1"))
    with pytest.raises(PtyliveError, match="not finite"):
        _judge(*result("failed"), StorageLocation(Path("out.h5"), "run1"))
    with pytest.raises(PtyliveError, match="no room"):
        _judge(*result("done"), StorageLocation(Path("out.h5.run1.pending"), "run1", "no room"))
    with pytest.raises(Interrupted, match=r"2 epochs are in out\.h5 as run1.*--resume"):
        _judge(*result("stopped"), StorageLocation(Path("out.h5"), "run1"))


def test_maps_that_were_asked_for_and_not_made(tmp_path, monkeypatch, capsys):
    import h5py
    import numpy as np

    with h5py.File(tmp_path / "bare.h5", "w") as file:  # no optics, hence no phase maps
        file["data"] = np.random.default_rng(1).poisson(3.0, (8, 8, 16, 16)).astype(np.uint16)
    out = tmp_path / "maps.h5"
    arguments = ["ptylive", "reconstruct", str(tmp_path / "bare.h5"), "-o", str(out), "--methods", "bf,wdd"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert (ended.value.code, out.exists()) == (ExitCode.PARTIAL, True), said
    assert "wdd" in said


def test_ctrl_c_says_what_is_kept(capsys):
    def command():
        with when_interrupted("out.h5 was not written"):
            raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as ended:
        _interruptible(command)()
    assert ended.value.exit_code == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "ptylive: interrupted: out.h5 was not written\n"


def test_partial_success_has_its_own_code(capsys):
    with pytest.raises(typer.Exit) as ended:
        end_partial("two maps are missing")
    assert ended.value.exit_code == ExitCode.PARTIAL
    assert "two maps are missing" in capsys.readouterr().err


def test_without_a_terminal_progress_is_lines(capsys):
    import time

    seen = ""
    with bar("counting", quiet=False, interval_s=0.02) as shown:
        shown.update(3, 10)
        give_up = time.monotonic() + 60
        while "counting: 3 of 10 (30 %)" not in seen and time.monotonic() < give_up:
            time.sleep(0.01)
            seen += capsys.readouterr().err
    assert "counting: 3 of 10 (30 %)" in seen
    with bar("counting", quiet=True, interval_s=0.01) as shown:
        shown.update(3, 10)
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_ctrl_c_in_a_refinement_and_resume(tmp_path):
    import signal

    source, out = bundled("mos2_svac_80kV_focus"), tmp_path / "out.h5"
    command = [PTYLIVE, "refine", str(source), "-o", str(out), "--epochs", "400"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "sweep loss" in line or "lbfgs loss" in line:
            break
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(120) == ExitCode.INTERRUPTED
    assert "--resume" in rest
    assert "Traceback" not in rest
    assert out.exists()
    assert out.with_suffix(".checkpoint").exists()
