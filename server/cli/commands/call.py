"""``ptylive call``."""

from __future__ import annotations

from typing import Annotated

import typer

from ptylive.schema import ServerGoneError
from ptylive.server.cli.options import CONTROL, AsJson, Control, Keys
from ptylive.server.cli.output import answer
from ptylive.server.cli.values import parse_assignments
from ptylive.server.wire.client import ControlClient

PATIENCE_S = 30.0
"""Time allowed for a reply; the server itself waits for a detector, for 10 s per request."""
EXAMPLES = """
ptylive call runs
ptylive call configure energy_eV=80e3
ptylive call save --json
"""


def call(
    command: Annotated[str, typer.Argument(help="control command, for example status or runs")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="arguments of the command")] = None,
    control: Control = CONTROL,
    keys: Keys = None,
    as_json: AsJson = False,
) -> None:
    """Send any command of the control protocol."""
    with ControlClient(control, timeout_s=2.0, keys=keys) as client:
        given = parse_assignments(arguments or ())
        client.call("status")
        try:
            reply = client.ask(command, given, timeout_s=PATIENCE_S)
        except ServerGoneError:  # it exists: the command may wait for a detector or for earlier commands
            text = f"{command!r} was not answered within {PATIENCE_S:g} s by the server at {control}"
            raise ServerGoneError(text, "it may still be carried out: see the server's log") from None
    answer({name: _short(value) for name, value in reply.items()}, as_json=as_json)


def _short(value: object) -> object:
    """Replace binary data by their length: pictures do not belong on a terminal."""
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return value
