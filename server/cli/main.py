"""The program ``ptylive``: one command per module in `commands`, imported only when that command is given."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any

import typer

from ptylive.server.cli import streams
from ptylive.server.cli.interrupt import ended_as_by_ctrl_c
from ptylive.server.cli.output import Interrupted
from ptylive.server.process.exit_codes import ExitCode, epilog

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "demo": "Watch a bundled scan arrive, turn into maps and be refined, all on this machine.",
        "serve": "Receive frames, show live maps, record, refine.",
        "replay": "Send a recorded scan to a server, as a microscope would.",
        "reconstruct": "Compute the maps of a recording with the live engine.",
        "refine": "Refine the object and probe of a recording by multislice ptychography.",
        "batch": "Reconstruct and refine many scans, and show them in one table; finished scans are skipped.",
        "tune": "Find settings and optics by trials judged on held-out patterns, each with its uncertainty.",
        "larbed": "Find structure factors and thickness of a crystal from a series of tilted-beam patterns (LARBED).",
        "inspect": "Show how a file is understood and what is missing.",
        "convert": "Write a scan to a new file: patterns prepared, as frames or as coefficients in a detector basis.",
        "simulate": "Simulate a scan: object, probe, scan and detector, with the forward model of refinements.",
        "plan": "Show before an experiment what its numbers mean: sampling, overlap, dose, depth, memory and time.",
        "dose": "Add up scans of the same place: information limit against dose, and what more dose would gain.",
        "preset": "Check a preset and write it as TOML; without FILE, list every setting with its meaning and default.",
        "export": "Write a refinement in the format of another program, or live maps as pictures.",
        "align": "Measure the shifts of bright-field images and the aberrations that explain them (parallax).",
        "trotters": "Show the 4D data at a spatial frequency across the detector, before and after compensation.",
        "compare": "Show maps and refined phase of a scan side by side, and measure how well they agree.",
        "film": "Show the progress of a refinement as a film: phase, probe, loss, and positions if they moved.",
        "report": "Write maps, calibration and refinement of a scan as one HTML page, to keep or to print.",
        "analyse": "Analyse a reconstruction: resolution, probe, aberrations, atom columns, depth section.",
        "status": "Show the state of a running server.",
        "advise": "Show what to change at the microscope: defocus, astigmatism and the other fitted aberrations.",
        "stop": "Stop a running server; its recording is finished first (20 s at most).",
        "refine_now": "Refine the current scan of a running server.",
        "call": "Send any command of the control protocol.",
        "bench": "Measure this machine: live maps, the stream, or the refinement.",
    }
)
"""Modules of `commands`, each with EXAMPLES and a function of the same name, and their descriptions in `--help`."""
_FULL, _FORBIDDEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), (errno.EACCES, errno.EPERM, errno.EROFS)
_COMPLETED = ("COMP_WORDS", "_TYPER_COMPLETE_ARGS")
"""Environment variables in which shells pass the line to be completed."""


def build(loaded: Collection[str] = tuple(COMMANDS)) -> typer.Typer:
    """Assemble the command line; commands not in ``loaded`` have only a name and a line of help."""
    app = typer.Typer(
        name="ptylive",
        help="Live electron ptychography: maps while the microscope scans, refinement when it stops.",
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=_preserve_lines(epilog()),
    )
    app.callback()(_options)
    for name, meaning in COMMANDS.items():
        if name not in loaded:
            app.command(_spelled(name), help=meaning, short_help=meaning)(_nothing)
            continue
        module = import_module(f"ptylive.server.cli.commands.{name}")
        command = app.command(_spelled(name), short_help=meaning, epilog=_examples(module))
        command(_interruptible(getattr(module, name)))
    return app


def named(words: Sequence[str]) -> tuple[str, ...]:
    """Return the commands whose names occur in a command line; one of them is the command given."""
    return tuple(name for name in COMMANDS if _spelled(name) in words)


def _spelled(name: str) -> str:
    return name.replace("_", "-")


def _nothing() -> None:
    """Stand in for a command other than the one given."""


def _examples(module: ModuleType) -> str:
    lines = [f"  {line}" for line in module.EXAMPLES.strip().splitlines()]
    return "\n\n".join((_preserve_lines("\n".join(("Examples:", *lines))), _preserve_lines(epilog())))


def _preserve_lines(text: str) -> str:
    """Return text whose line breaks the help keeps."""
    return f"\b\n{text}"


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """Make Ctrl-C end a command with its own exit code and a line that says what is kept."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt as stop:
            remark = str(stop) if isinstance(stop, Interrupted) else "nothing was written"
            sys.stderr.write(f"ptylive: interrupted: {remark}\n")
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
    """Run the program; the exit codes are those of :class:`ExitCode`."""
    streams.prepare()
    debug = "--debug" in sys.argv[1:]
    words = [*sys.argv[1:], *(word for name in _COMPLETED for word in os.environ.get(name, "").split())]
    try:
        ended_as_by_ctrl_c()
        if named(words) and not debug:
            from ptylive.schema.plain_errors import say_unraisable_in_a_line  # loads numpy: not needed for the help

            say_unraisable_in_a_line("ptylive")
        build(named(words))(args=[a for a in sys.argv[1:] if a != "--debug"] or ["--help"])
    except KeyboardInterrupt:
        _fail("interrupted", debug, ExitCode.INTERRUPTED)
    except SystemExit as ended:
        if _was_interrupted(ended.__context__):  # while typer read the command line, which ends without a word
            _fail("interrupted", debug, ExitCode.INTERRUPTED)
        raise
    except BrokenPipeError:  # the reader of the output has closed it
        sys.exit(ExitCode.FAILED)
    except Exception as error:
        if _was_interrupted(error):
            _fail("interrupted", debug, ExitCode.INTERRUPTED)
        _fail(_explained(error), debug)


def _was_interrupted(error: BaseException | None) -> bool:
    """Return whether Ctrl-C caused an error: raised while Python creates a class, it becomes a RuntimeError."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None


def _explained(error: Exception) -> str:
    """Return the error as one line for the user."""
    if isinstance(error, ImportError):  # also from the imports below
        return _not_loaded(error)
    from ptylive.schema import PtyliveError  # loads numpy and pydantic: not needed for the help

    if isinstance(error, PtyliveError):
        return error.line()
    if isinstance(error, OSError):
        prefix = f"{error.filename}: " if error.filename else ""
        reason = " ".join((error.strerror or str(error)).split())  # libraries write several lines
        hint = ": make room, or write somewhere else" if error.errno in _FULL else ""
        return f"{prefix}{reason}{': check its permissions' if error.errno in _FORBIDDEN else hint}"
    return f"internal error: {error!r} (run again with --debug for the traceback)"


def _not_loaded(error: ImportError) -> str:
    """Explain why a module does not load: it is missing, does not fit the others, or its library lacks memory."""
    name, reason = error.name or "", " ".join(str(error).split())
    if name.partition(".")[0] == "ptylive":
        problem = "is missing" if isinstance(error, ModuleNotFoundError) else f"does not fit the others ({reason})"
        return f"a part of ptylive {problem}: {name}: reinstall ptylive (docs/install.md)"
    if isinstance(error, ModuleNotFoundError):
        return f"the library {name or reason} is not installed: reinstall ptylive (docs/install.md)"
    return f"a library cannot be loaded: {reason}: raise the memory limit (ulimit -v), or reinstall ptylive"


def _fail(line: str, debug: bool, code: ExitCode = ExitCode.FAILED) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    sys.stderr.write(f"ptylive: {line}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
