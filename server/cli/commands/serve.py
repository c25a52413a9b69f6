"""``ptylive serve``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from ptylive.server.cli.options import Settings
from ptylive.server.cli.output import say, when_interrupted
from ptylive.server.cli.values import parse_assignments
from ptylive.server.process.config_file import load_config
from ptylive.server.process.operators import TOKENS_VARIABLE
from ptylive.server.serve.supervisor import Supervisor

EXAMPLES = """
ptylive serve --record ~/scans
ptylive serve --config microscope.toml
ptylive serve --protocol dectris-v2 --data tcp://detector:31001 --set scan.shape=256,256
ptylive serve --watch /data/empad --set scan.step_A=0.4
ptylive serve --protocol merlin --data tcp://merlin:6342 --set scan.shape=256,256 --set scan.step_A=0.4
ptylive serve --protocol tpx3 --data tcp://timepix:8283 --set scan.step_A=0.4 --set energy_eV=200e3
ptylive serve --detector haadf=lost --detector bright=above:0.5
ptylive serve --set dark_reference=dark.h5 --set gain_reference=gain.npy --set wdd.epsilon=0.02
"""


def serve(
    config: Annotated[Path | None, typer.Option(help="configuration file, TOML", readable=False)] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="where frames arrive: address to bind, or of the detector to connect to"),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="protocol of the sender: native, dectris-v1, dectris-v2, merlin, tpx3, tpx3-raw")
    ] = None,
    control_host: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="control port of a Merlin detector, to read its settings and to arm it"),
    ] = None,
    basis: Annotated[
        str | None,
        typer.Option(help="record coefficients (zernike:45+1); in addition to frames: --set server.keep_frames=true"),
    ] = None,
    control: Annotated[str | None, typer.Option(metavar="ADDRESS", help="where commands are received")] = None,
    metrics: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="where Prometheus finds metrics")] = None,
    dashboard: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="where the dashboard is served")] = None,
    headless: Annotated[bool, typer.Option("--headless", help="no dashboard; print the log here")] = False,
    record: Annotated[str | None, typer.Option(metavar="DIR", help="recording folder")] = None,
    no_record: Annotated[bool, typer.Option("--no-record", help="record nothing")] = False,
    watch: Annotated[
        str | None, typer.Option(metavar="DIR", help="load scans that other programs write into this folder")
    ] = None,
    files: Annotated[
        str | None, typer.Option(metavar="DIR", help="folder whose scan files may be opened from the dashboard")
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option("--detector", metavar="NAME=WHAT", help="virtual detector for every scan, as in reconstruct"),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys", metavar="DIR", help="key folder: encrypt, and accept known clients only", readable=False
        ),
    ] = None,
    token: Annotated[
        bool, typer.Option("--token", help="the dashboard requires a token: operator or read-only")
    ] = False,
    operator: Annotated[
        list[str] | None,
        typer.Option(
            "--operator", metavar="NAME", help="give this operator a personal token; the log names who did what"
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", metavar="NAME[:PORT]", help="additional host name of the dashboard, for example of a proxy"
        ),
    ] = None,
    prefix: Annotated[
        str | None, typer.Option("--prefix", metavar="PATH", help="path under which a proxy serves the dashboard")
    ] = None,
    settings: Settings = None,
) -> None:
    """Receive frames, show live maps, record, refine."""
    from ptylive.application.detector_texts import named

    options: dict[str, Any] = {
        "data": data,
        "protocol": protocol,
        "detector_api": None if control_host is None else f"tcp://{control_host.removeprefix('tcp://')}",
        "basis": basis,
        "control": control,
        "metrics": metrics,
        "dashboard": dashboard,
        "record": record,
        "watch": watch,
        "files": files,
        "prefix": prefix,
        "virtual_detectors": named(detector) if detector else None,
        "security": None if keys is None else {"keys": str(keys)},
    }
    assignments = {
        **({"security.token": True} if token or os.environ.get(TOKENS_VARIABLE) else {}),
        **({"security.names": tuple(allow_host)} if allow_host else {}),
        **({"security.token": True, "security.operators": tuple(operator)} if operator else {}),
        **parse_assignments(settings or ()),
    }
    loaded = load_config(config, options, assignments)
    overrides = {name: None for name, is_off in (("dashboard", headless), ("record", no_record)) if is_off}
    supervisor = Supervisor(loaded.model_copy(update=overrides), command_line=" ".join(sys.argv), say=say)
    stop_on_signals()
    try:
        supervisor.start()
        report_addresses(supervisor)
        status = supervisor.watch()
    except KeyboardInterrupt:
        say("stopping; the recording is finished first")
        with when_interrupted("frames not yet recorded are in the journal; the next start recovers them"):
            status = supervisor.stop()
    raise typer.Exit(status)


def report_addresses(supervisor: Supervisor) -> None:
    """Print the addresses and folders in use."""
    say(f"frames at {supervisor.data_address}, commands at {supervisor.config.control}")
    folder = supervisor.config.recording_folder
    say("nothing is recorded" if folder is None else f"recordings in {folder}")
    if supervisor.dashboard_url:
        say(f"dashboard at {supervisor.dashboard_url}")
        for role, address in supervisor.logins.items():
            say(f"  {role}: {address}")


def stop_on_signals() -> None:
    """Treat a termination signal like Ctrl-C."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
