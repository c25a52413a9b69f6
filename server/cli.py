"""The program ``ptylive``: one command per module in `commands`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import Any

import typer

from ptylive.schema import PtyliveError
from ptylive.server.exit_codes import ExitCode, epilog
from ptylive.server.output import Interrupted

COMMANDS = (
    "demo",
    "serve",
    "replay",
    "reconstruct",
    "refine",
    "inspect",
    "convert",
    "preset",
    "export",
    "analyse",
    "status",
    "stop",
    "refine_now",
    "call",
    "bench",
)
"""Modules of `commands`, in the order of `--help`; each has a function of its own name, and EXAMPLES for its help."""


def build() -> typer.Typer:
    """The command line, assembled."""
    app = typer.Typer(
        name="ptylive",
        help="Live electron ptychography: maps while the microscope scans, refinement when it stops.",
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=_kept_lines(epilog()),
    )
    app.callback()(_options)
    for name in COMMANDS:
        module = import_module(f"ptylive.server.commands.{name}")
        app.command(name.replace("_", "-"), epilog=_examples(module))(_interruptible(getattr(module, name)))
    return app


def _examples(module: ModuleType) -> str:
    lines = [f"  {line}" for line in module.EXAMPLES.strip().splitlines()]
    return "\n\n".join((_kept_lines("\n".join(("Examples:", *lines))), _kept_lines(epilog())))


def _kept_lines(text: str) -> str:
    """Text whose lines the help leaves as they are."""
    return f"\b\n{text}"


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """Ctrl-C ends a command with its own exit code, and a line that says what is kept."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt as stop:
            kept = str(stop) if isinstance(stop, Interrupted) else "nothing was written"
            sys.stderr.write(f"ptylive: interrupted: {kept}\n")
            raise typer.Exit(ExitCode.INTERRUPTED) from None

    return run


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version as installed

        sys.stdout.write(f"ptylive {installed('ptylive')}\n")
        raise typer.Exit


def _options(
    debug: bool = typer.Option(False, "--debug", help="show tracebacks"),
    version: bool = typer.Option(
        False, "--version", help="show the version and exit", callback=_version, is_eager=True
    ),
) -> None:
    """Live electron ptychography: maps while the microscope scans, refinement when it stops."""


def main() -> None:
    """Entry point; the exit codes are those of :class:`ExitCode`."""
    debug = "--debug" in sys.argv[1:]
    try:
        build()(args=[a for a in sys.argv[1:] if a != "--debug"] or ["--help"])
    except PtyliveError as error:
        _fail(error.line(), debug)
    except KeyboardInterrupt:
        _fail("interrupted", debug, ExitCode.INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", debug)
    except Exception as error:
        _fail(f"internal error: {error!r} (run again with --debug for the traceback)", debug)


def _fail(line: str, debug: bool, code: ExitCode = ExitCode.FAILED) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    sys.stderr.write(f"ptylive: {line}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
