"""Unforeseen errors: one line that says what to do, and exit status 1."""

import errno
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from typer.core import TyperGroup

from ptylive.server.cli import main as cli

CASES = (
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.h5"), "a.h5: No space left on device: make room"),
    (OSError(errno.EACCES, os.strerror(errno.EACCES), "a.h5"), "a.h5: Permission denied: check its permissions"),
    (OSError("write failed\n, errno = 27"), "write failed , errno = 27"),
    (
        ImportError("libopenblas.so:\nfailed to map segment"),
        "a library cannot be loaded: libopenblas.so: failed to map",
    ),
    (
        ModuleNotFoundError("No module named 'ptylive.engine.maps'", name="ptylive.engine.maps"),
        "a part of ptylive is missing: ptylive.engine.maps: reinstall ptylive",
    ),
    (
        ImportError("cannot import name 'x' from 'ptylive.schema' (a.py)", name="ptylive.schema"),
        "a part of ptylive does not fit the others (cannot import name 'x' from 'ptylive.schema' (a.py)): ",
    ),
    (ModuleNotFoundError("No module named 'h5py'", name="h5py"), "the library h5py is not installed: "),
    (ZeroDivisionError("1/0"), "internal error: ZeroDivisionError('1/0') (run again with --debug"),
)


@pytest.mark.parametrize(("error", "words"), CASES, ids=[type(one[0]).__name__ for one in CASES])
def test_it_is_one_line(error, words, monkeypatch, capsys) -> None:
    def broken(_names: tuple[str, ...]) -> None:
        raise error

    monkeypatch.setattr(cli, "build", broken)
    monkeypatch.setattr(sys, "argv", ["ptylive"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    told, said = capsys.readouterr()
    assert told == ""
    (line,) = said.splitlines()
    assert line.startswith(f"ptylive: {words}")


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_files_are_checked_by_the_function_that_opens_them(command) -> None:
    """typer would say that a command line with a file that may not be read is not understood, in three lines."""
    function = getattr(import_module(f"ptylive.server.cli.commands.{command}"), command)
    for name, hint in get_type_hints(function, include_extras=True).items():
        if hasattr(hint, "__metadata__") and Path in {hint.__origin__, *flattened(hint.__origin__)}:
            assert not hint.__metadata__[0].readable, name


def flattened(hint) -> list:
    """The types in a type: Path in list[Path] | None."""
    return [inner for outer in get_args(hint) for inner in (outer, *flattened(outer))]


def test_ctrl_c_while_python_makes_a_class_is_no_internal_error(monkeypatch, capsys) -> None:
    """Python 3.11 raises a RuntimeError for any error in __set_name__: pydantic makes classes while a command loads."""

    def broken(_names: tuple[str, ...]) -> None:
        raise RuntimeError("Error calling __set_name__ on 'PydanticDescriptorProxy'") from KeyboardInterrupt()

    monkeypatch.setattr(cli, "build", broken)
    monkeypatch.setattr(sys, "argv", ["ptylive"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "ptylive: interrupted\n")


def test_ctrl_c_while_the_command_line_is_read_is_told(monkeypatch, capsys) -> None:
    """Regression: typer itself ends with 130, and without a word."""

    def parsed(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TyperGroup, "parse_args", parsed)
    monkeypatch.setattr(sys, "argv", ["ptylive", "status"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code, capsys.readouterr().err.split("\n")[-2:]) == (130, ["ptylive: interrupted", ""])


def test_ctrl_c_in_a_command_is_told_once(monkeypatch, capsys) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ptylive.server.cli.commands.status.ControlClient", interrupted)
    monkeypatch.setattr(sys, "argv", ["ptylive", "status"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "ptylive: interrupted: nothing was written\n")
