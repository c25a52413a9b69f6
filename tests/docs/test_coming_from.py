"""Pages for users of other programs: the commands and settings of ours that they name exist.

The names of the other programs are checked in tests/peers/test_coming_from.py.
"""

import re
import shlex
from pathlib import Path

import pytest
import typer

from ptylive.server.cli.main import build

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted((DOCS / "coming-from").glob("*.md"))
REFERENCE = ("settings", "conventions", "maps", "simulate", "python", "commands", "pypty-parity", "analysis")
"""Pages that are generated from the code, or compared with it."""


def code(page):
    """Code in the second column of tables."""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("| "):
            yield from re.findall(r"`([^`]+)`", line.split("|")[2])


@pytest.fixture(scope="module")
def known():
    """Every word that the reference shows as code."""
    text = "\n".join((DOCS / f"{name}.md").read_text(encoding="utf-8") for name in REFERENCE)
    blocks = re.findall(r"^```\w*\n(.*?)^```|`([^`\n]+)`", text, re.M | re.S)
    return {word for found in blocks for part in found for word in re.findall(r"[A-Za-z_]\w*", part)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_our_commands_can_be_typed(page):
    program = typer.main.get_command(build())
    typed = [shlex.split(one) for one in code(page) if one.startswith("ptylive ")]
    for _, name, *words in typed:
        program.commands[name].make_context(name, [*words])  # raises for an unknown option


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_our_settings_are_in_the_reference(page, known):
    named = {one for one in code(page) if re.fullmatch(r"[A-Za-z_][\w.]*", one)}
    named |= {one for text in code(page) for one in re.findall(r"--set (\w+)=", text)}
    assert named
    words = {word for one in named for word in one.split(".")}
    assert sorted(words - known) == []
