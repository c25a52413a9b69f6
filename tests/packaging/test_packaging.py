"""Files for installing a server: what they name exists, and what they run is valid."""

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
import yaml

from ptylive.server.cli.main import build

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "packaging"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = {"msgpack": "msgpack-python", "zlib-ng": "python-zlib-ng"}
"""Package names on conda-forge."""
BUILT_IN = {"exec"}
ROOT_PATH = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
"""Search path of root, who builds images: Debian gives other users none of the folders for administration."""
INSTRUCTIONS = {"ARG", "FROM", "COPY", "RUN", "USER", "VOLUME", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile: keyword and the rest of the line."""
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def check_commands(line: str) -> None:
    """Every command of a shell line is a program of this machine, or of the virtual environment."""
    for command in re.split(r"&&|\|\|", line):
        name = shlex.split(command)[0]
        here = Path(sys.executable).with_name(name)
        assert name in BUILT_IN or shutil.which(name, path=ROOT_PATH) or here.exists(), name


def check_server(arguments: list[str]) -> None:
    """Arguments given to ptylive are an existing command with existing options."""
    program = typer.main.get_command(build())
    command = program.commands[arguments[0]]
    command.make_context(arguments[0], arguments[1:])  # raises for an unknown option


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
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    rooms = {folder.split("/")[0] for folder in tool["setuptools"]["package-dir"].values()}
    files = {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]}
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
    assert list(sections) == ["", "arguments", "files", "post", "runscript"]
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
    environment = dict(word.split("=") for word in shlex.split(unit["Service"]["Environment"]))
    cache = f"/var/cache/{unit['Service']['CacheDirectory']}"
    assert environment == {"XDG_CACHE_HOME": cache, "TMPDIR": cache}, "a refinement must not end in a private /tmp"


def test_systemd_takes_the_unit(tmp_path):
    """Uses a program that exists here; the folder of the one that the file names depends on the machine."""
    analyse = shutil.which("systemd-analyze")
    if analyse is None:
        pytest.skip("no systemd-analyze")
    text = (FOLDER / "ptylive.service").read_text(encoding="utf-8")
    here = tmp_path / "ptylive.service"
    here.write_text(text.replace("/opt/ptylive/bin/ptylive serve", "/bin/sh serve"), encoding="utf-8")
    done = subprocess.run([analyse, "verify", here], capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if "ptylive.service" in line]
    assert complaints == []


def test_the_images_take_the_gpu_packages_that_the_extras_name():
    names = {
        re.match(r"[\w-]+", PROJECT["optional-dependencies"][f"gpu-cuda{number}"][0]).group() for number in (12, 13)
    }
    assert names == {"cupy-cuda12x", "cupy-cuda13x"}
    assert "cupy-cuda${CUDA}x[ctk]" in (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    assert "cupy-cuda{{ cuda }}x[ctk]" in (FOLDER / "ptylive.def").read_text(encoding="utf-8")


def recipe():
    return yaml.safe_load((FOLDER / "conda" / "recipe.yaml").read_text(encoding="utf-8"))


def test_the_recipe_installs_what_pip_installs():
    made = recipe()
    assert made["context"]["version"] == PROJECT["version"]
    given = dict(re.match(r"([\w-]+) ?(.*)", line).groups() for line in made["requirements"]["run"])
    wanted = {"python": PROJECT["requires-python"]}
    for line in PROJECT["dependencies"]:
        name, bound = re.match(r"([\w-]+)(.*)", line).groups()
        wanted[CONDA.get(name, name)] = bound
    assert given == wanted
    assert made["build"]["python"]["entry_points"] == [f"{k} = {v}" for k, v in PROJECT["scripts"].items()]
    for line in made["tests"][1]["script"]:
        program, *arguments = shlex.split(line)
        assert program == "ptylive"
        if arguments != ["--version"]:
            check_server(arguments)


def test_every_place_says_the_same_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == PROJECT["version"]
    assert re.search(
        rf"^## {re.escape(PROJECT['version'])} ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M
    )


@pytest.mark.parametrize("name", ["Dockerfile", "ptylive.def", "ptylive.service", "conda/recipe.yaml"])
def test_the_first_line_says_what_was_not_tried(name):
    first = (FOLDER / name).read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# Not ")
    assert "tests/packaging" in first
