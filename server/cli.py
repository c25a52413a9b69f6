"""The program ``ptylive``: one command per module in `commands`."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import typer

from ptylive.schema import PtyliveError

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
"""Modules of `commands`, in the order of `--help`; each has a function of its own name."""


def build() -> typer.Typer:
    """The command line, assembled."""
    app = typer.Typer(
        name="ptylive",
        help="Live electron ptychography: maps while the microscope scans, refinement when it stops.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for name in COMMANDS:
        module = import_module(f"ptylive.server.commands.{name}")
        app.command(name.replace("_", "-"))(getattr(module, name))
    return app


def _options(
    debug: bool = typer.Option(False, "--debug", help="show tracebacks"),
    version: bool = typer.Option(False, "--version", help="show the version and exit"),
) -> None:
    """Live electron ptychography: maps while the microscope scans, refinement when it stops."""
    if version:
        from importlib.metadata import version as installed

        sys.stdout.write(f"ptylive {installed('ptylive')}\n")
        raise typer.Exit()


def main() -> None:
    """Entry point: 0, 2 for a usage error, 1 with one clear line for anything else."""
    debug = "--debug" in sys.argv[1:]
    try:
        build()(args=[a for a in sys.argv[1:] if a != "--debug"] or ["--help"])
    except PtyliveError as error:
        _fail(error.line(), debug)
    except KeyboardInterrupt:
        _fail("interrupted", debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", debug)
    except Exception as error:
        _fail(f"internal error: {error!r} (run again with --debug for the traceback)", debug)


def _fail(line: str, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    sys.stderr.write(f"ptylive: {line}\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
