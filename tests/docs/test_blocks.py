"""Every code block of README and documents: checked here, run in ``test_blocks_run.py``, or marked with the reason why
not.

A block that is not run has ``<!-- not run: reason -->`` above it. Blocks in other languages than the shell, Python and
those listed below only show something (text, hex), and nobody types them.
"""

import json
import re
import shlex
import tomllib

import pytest
import typer
from document_blocks import DOCUMENTS, ROOT, blocks

from ptylive.application.presets import load_preset
from ptylive.application.simulation import read_settings
from ptylive.schema.simulation.settings import SimulationSettings
from ptylive.server.cli.main import build
from ptylive.server.cluster.where import parse_where
from ptylive.server.process.config_file import load_config

BLOCKS = [block for path in DOCUMENTS for block in blocks(path)]
SHOWN = {"text", "hex"}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
OWN_PROGRAMS = ("python", ".venv/bin/python")


@pytest.fixture(scope="module")
def program():
    return typer.main.get_command(build())


def words(line):
    """The words of a command, without comment, redirection and preceding variables."""
    found = shlex.split(line, comments=True)
    found = found[: found.index(">")] if ">" in found else found
    while found and re.match(r"[A-Z_]+=", found[0]):
        found.pop(0)
    return found


def understood(program, line):
    """What is wrong with a line of the shell; "" if it can be typed."""
    name, *rest = words(line) or ["."]
    if name == "ptylive":
        if rest[0] not in program.commands:
            return "no such command"
        program.commands[rest[0]].make_context(rest[0], rest[1:])  # raises for an unknown option
        return ""
    if name == "make":
        gone = [one for one in rest if "=" not in one and one not in TARGETS]
        return f"no target {gone}" if gone else ""
    if name in OWN_PROGRAMS:
        paths = [one.split("::")[0] for one in rest if one.startswith(("tests/", "tools/"))]
        gone = [one for one in paths if not (ROOT / one).exists()]
        return f"no {gone}" if gone else ("" if paths or rest[:2] == ["-m", "chaos"] else "neither tests nor tools")
    return "" if name == "." else f"{name} is not run by any test: say why above the block"


def test_every_line_of_the_shell_can_be_typed(program):
    wrong = []
    for block in BLOCKS:
        if block.not_run:
            continue
        found = [(block.place, line, understood(program, line)) for line in block.commands]
        wrong += [one for one in found if one[2]]
    assert not wrong


def test_what_is_typed_while_a_server_runs_stands_in_another_block():
    """A block is pasted as a whole: what follows `serve`, which stays, would be typed after the server's end."""
    wrong = []
    for block in BLOCKS:
        names = [words(line)[1] for line in block.commands if words(line)[:1] == ["ptylive"]]
        after = names[names.index("serve") + 1 :] if "serve" in names else []
        if {"replay", "status", "refine-now", "call", "stop"} & set(after):
            wrong.append(block.place)
    assert not wrong


def test_commands_that_are_not_run_have_their_options_too(program):
    for block in BLOCKS:
        for line in block.commands:
            if block.not_run and words(line)[:1] == ["ptylive"]:
                assert understood(program, line) == "", (block.place, line)


def test_reasons_name_tests_that_exist():
    for block in BLOCKS:
        for name in re.findall(r"tests/[\w/.]+\b", block.not_run):
            assert (ROOT / name).exists(), (block.place, name)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "toml" and not b.not_run], ids=lambda b: b.place)
def test_tables_are_taken(block, tmp_path):
    path = tmp_path / "file.toml"
    path.write_text(block.text, encoding="utf-8")
    tables = tomllib.loads(block.text)
    if "project" in tables:
        example = tomllib.loads((ROOT / "docs/examples/plugin/pyproject.toml").read_text(encoding="utf-8"))
        for group, named in tables["project"]["entry-points"].items():
            assert named.items() <= example["project"]["entry-points"][group].items()
    elif "specimen" in tables:
        SimulationSettings.of(read_settings(path))
    elif "cluster" in tables:
        assert parse_where(str(path)).options
    elif "refine" in tables and "server" not in tables and "cluster" not in tables["refine"]:
        assert load_preset(path).settings
    else:
        load_config(path, {}, {})


def test_every_language_is_one_that_somebody_looks_at():
    for block in BLOCKS:
        if block.language == "json":
            json.loads(block.text.replace("…", ""))
        assert block.not_run or block.language in SHOWN | {"", "toml", "python", "json"}, block.place
