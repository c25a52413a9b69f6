"""Files to install a server with: what they name is there, and what they run is understood."""

import configparser
import json
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from ptylive.server.cli.main import build

ROOT = Path(__file__).resolve().parents[4]
FOLDER = ROOT / "docs" / "examples" / "install"
BUILT_IN = {"exec"}
INSTRUCTIONS = {"FROM", "COPY", "RUN", "USER", "VOLUME", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile: instruction and what follows it."""
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def check_commands(line: str) -> None:
    """Every command of a shell line is a program of this machine, or of the virtual environment."""
    for command in line.split("&&"):
        name = shlex.split(command)[0]
        here = Path(sys.executable).with_name(name)
        assert name in BUILT_IN or shutil.which(name) or here.exists(), name


def check_server(arguments: list[str]) -> None:
    """What is given to ptylive is a command that it has, with its options."""
    program = typer.main.get_command(build())
    command = program.commands[arguments[0]]
    command.make_context(arguments[0], arguments[1:])  # raises for what is no option


def test_the_dockerfile_runs_what_there_is():
    given = instructions()
    assert {name for name, _ in given} <= INSTRUCTIONS
    stages = [words.split()[2] for name, words in given if name == "FROM" and " AS " in words]
    for name, words in given:
        if name == "RUN":
            check_commands(words)
        if name == "COPY":
            source = words.split()[0]
            assert source == "." or source.removeprefix("--from=") in stages
    told = dict(given)
    assert json.loads(told["ENTRYPOINT"]) == ["ptylive"]
    command = json.loads(told["CMD"])
    check_server(command)
    assert command[command.index("--record") + 1] in json.loads(told["VOLUME"])


def test_the_image_is_made_of_what_the_wheel_is_made_of():
    lines = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    taken = {line[1:] for line in lines if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rooms = {folder.split("/")[0] for folder in project["tool"]["setuptools"]["package-dir"].values()}
    files = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    assert taken == rooms | files
    assert [name for name in taken if not (ROOT / name).exists()] == []


def test_the_apptainer_definition_runs_what_there_is():
    sections: dict[str, list[str]] = {"": []}
    name = ""
    for line in (FOLDER / "ptylive.def").read_text(encoding="utf-8").splitlines():
        if line.startswith("%"):
            name = line[1:]
            sections[name] = []
        elif line.strip() and not line.strip().startswith("#"):
            sections[name].append(line.strip())
    assert list(sections) == ["", "files", "post", "runscript"]
    assert [line.split(":")[0] for line in sections[""]] == ["Bootstrap", "From"]
    for line in sections["post"] + sections["runscript"]:
        check_commands(line)
    assert sections["runscript"] == ['exec ptylive "$@"']


def test_the_unit_starts_a_server():
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read(FOLDER / "ptylive.service", encoding="utf-8")
    program, *arguments = shlex.split(unit["Service"]["ExecStart"])
    assert Path(program).name == "ptylive"
    check_server(arguments)
    record = arguments[arguments.index("--record") + 1]
    assert record == f"/var/lib/{unit['Service']['StateDirectory']}"
    assert unit["Service"]["Environment"] == f"XDG_CACHE_HOME=/var/cache/{unit['Service']['CacheDirectory']}"


def test_systemd_takes_the_unit(tmp_path):
    """With a program that is there; the folder of the one it names depends on the machine."""
    analyse = shutil.which("systemd-analyze")
    if analyse is None:
        pytest.skip("no systemd-analyze")
    text = (FOLDER / "ptylive.service").read_text(encoding="utf-8")
    here = tmp_path / "ptylive.service"
    here.write_text(text.replace("/opt/ptylive/bin/ptylive serve", "/bin/sh serve"), encoding="utf-8")
    done = subprocess.run([analyse, "verify", here], capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if "ptylive.service" in line]
    assert complaints == []
