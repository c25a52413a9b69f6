"""Options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ptylive.engine.backend.device import NAMES
from ptylive.schema import MetadataError
from ptylive.server.process.ports import DEFAULT_CONTROL
from ptylive.streamer.sockets.security import KEYS_VARIABLE

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="metadata or setting, repeatable")
]
Detectors = Annotated[
    list[str] | None,
    typer.Option(
        "--detector",
        metavar="NAME=WHAT",
        help="virtual detector, repeatable: disc:RADIUS, ring:INNER,OUTER (px or mrad; ROW,COLUMN first "
        "if not around the beam), above:SHARE or below:SHARE of the brightest pixel, lost, profiles:N or a mask.npy; "
        "map vd_NAME",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object as the last line")]
Control = Annotated[str, typer.Option("--control", metavar="ADDRESS", help="control address of the server")]
Keys = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        metavar="DIR",
        envvar=KEYS_VARIABLE,
        help="key folder, for a server that requires keys",
        readable=False,
    ),
]
Backend = Annotated[str, typer.Option("--backend", help="auto, cpu or gpu")]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="WHERE",
        help="refine on a Dask cluster: local:N, tcp://SCHEDULER:8786, slurm (pbs, …), or a TOML file",
    ),
]
WhenMissing = Annotated[
    str,
    typer.Option(
        "--when-cluster-missing",
        metavar="WAY",
        help="refuse (stop with a message), wait (for the cluster) or here (on this machine); also if lost midway",
    ),
]
CONTROL = DEFAULT_CONTROL


def checked_backend(name: str) -> str:
    """Return the name of a backend. Raises MetadataError for any other word."""
    if name not in NAMES:
        raise MetadataError(f"--backend {name!r} is unknown", "use auto, cpu or gpu")
    return name
