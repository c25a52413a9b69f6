"""Options several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from ptylive.server.client import DEFAULT_CONTROL

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="metadata or setting, repeatable")
]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object as the last line")]
Control = Annotated[str, typer.Option("--control", metavar="ADDRESS", help="control address of the server")]
CONTROL = DEFAULT_CONTROL
