"""``ptylive demo``."""

from __future__ import annotations

import random
import socket
import sys
import tempfile
import time
import webbrowser
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from ptylive.schema import PtyliveError
from ptylive.server.cli.commands.refine_now import PATIENCE_S, patient_status, wait_for_refinement
from ptylive.server.cli.commands.serve import report_addresses, stop_on_signals
from ptylive.server.cli.output import bar, end_partial, say, when_interrupted
from ptylive.server.process.config import ServerConfig
from ptylive.server.process.exit_codes import ExitCode
from ptylive.server.process.ports import DASHBOARD_PORT
from ptylive.server.serve.supervisor import Supervisor
from ptylive.server.wire.client import ControlClient

DATA_SET = "mos2_svac_80kV_focus"
FRAMES_PER_S = 300.0
FINISH_TIMEOUT_S = 600.0
DEMO_TIMEOUT_S = 1800.0
"""Maximum time from the first frame to the end of the refinement; on most machines it takes a minute or two."""

EXAMPLES = """
ptylive demo
ptylive demo --no-browser --exit-when-done --output demo/
"""


def demo(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="port of the dashboard; 0: any free port")
    ] = DASHBOARD_PORT,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="don't open the dashboard in a browser")] = False,
    exit_when_done: Annotated[bool, typer.Option("--exit-when-done", help="stop after the refinement")] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="folder for recording and results", readable=False)
    ] = None,
) -> None:
    """Watch a bundled scan arrive, turn into maps and be refined, all on this machine."""
    stop_on_signals()
    with ExitStack() as stack:
        kept = f"{output} has what was recorded so far" if output else "nothing is kept without --output"
        stack.enter_context(when_interrupted(kept))
        folder = output or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ptylive-demo-")))
        data, control = free_addresses()
        config = ServerConfig(data=data, control=control, dashboard=f"127.0.0.1:{port}", record=str(folder.absolute()))
        supervisor = Supervisor(config, command_line=" ".join(sys.argv), say=say)
        stack.callback(supervisor.stop)
        supervisor.start()
        report_addresses(supervisor)
        sys.stdout.write(f"{supervisor.dashboard_url}\n")
        sys.stdout.flush()
        if not no_browser:
            webbrowser.open(supervisor.dashboard_url)
        with ControlClient(control, timeout_s=10.0) as client:
            check = Watchman(supervisor, DEMO_TIMEOUT_S)
            _scan(supervisor, client, check)
            outcome = _refine(client, check)
        if outcome["state"] != "done":
            end_partial(f"the refinement was {outcome['state']} after {outcome['epochs']} epochs")
        say(f"refined: loss {outcome['loss']:.5g} after {outcome['epochs']} epochs; results in {outcome['results']}")
        if not exit_when_done:
            say("the dashboard stays up; Ctrl-C ends the demo")
            try:
                raise typer.Exit(supervisor.watch())
            except KeyboardInterrupt:
                say("stopping")
        elif (status := supervisor.stop()) != ExitCode.DONE:
            raise typer.Exit(status)


class Watchman:
    """Check that ends the demo with a reason when its server has ended, or when it takes far too long."""

    def __init__(self, supervisor: Supervisor, timeout_s: float) -> None:
        self._supervisor, self._timeout_s = supervisor, timeout_s
        self._give_up = time.monotonic() + timeout_s

    def __call__(self) -> None:
        """Raise PtyliveError if there is nothing left to wait for."""
        if not self._supervisor.running:
            raise PtyliveError("the demo's server ended before the demo did", "see the lines above, then try again")
        if time.monotonic() > self._give_up:
            raise PtyliveError(
                f"the demo did not finish within {self._timeout_s:.0f} s", "is this machine busy? try again"
            )


def _scan(supervisor: Supervisor, client: ControlClient, check: Callable[[], None]) -> None:
    """Replay the bundled scan at a microscope's pace and wait for its results."""
    from ptylive.simulators.data import bundled
    from ptylive.simulators.replay import ReplaySettings, replay

    settings = ReplaySettings(to=supervisor.data_address, rate=FRAMES_PER_S)
    with bar("scanning", quiet=False) as shown:

        def tell(done: float, total: float | None = None) -> None:
            check()
            shown.update(done, total)

        try:
            report = replay(bundled(DATA_SET), settings, tell)
        except PtyliveError:
            check()  # if the server has ended, report that instead
            raise
    say(f"{report.frames} frames sent at {report.frames_per_s:.0f} frames/s")
    wait_for_results(client, check)


def wait_for_results(client: ControlClient, check: Callable[[], None] = lambda: None) -> None:
    """Wait until the current scan has its results. Raises PtyliveError if it takes too long, or as ``check``."""
    give_up, status = time.monotonic() + FINISH_TIMEOUT_S, patient_status(client, check)
    while time.monotonic() < give_up:
        status = patient_status(client, check)
        if status["state"] in ("complete", "incomplete", "aborted", "failed") and status["results"]:
            say(f"maps in {status['results']}")
            return
        time.sleep(0.2)
    raise PtyliveError("the scan did not finish", f"the server says: {status['state']} {status['message']}")


def _refine(client: ControlClient, check: Callable[[], None]) -> dict[str, Any]:
    client.call("refine", timeout_s=PATIENCE_S)
    return wait_for_refinement(client, quiet=False, check=check)


PORTS = range(20000, 32000)
"""Ports below those the system assigns: a client that keeps trying an assignable port may be given that very port and
connect to itself before the server has begun to listen."""


def free_addresses() -> tuple[str, str]:
    """Return unused loopback addresses: data, and control with the port below it free for events."""
    while True:
        control = random.choice(PORTS[2:])  # noqa: S311  (any port will do)
        wanted = (control - 2, control - 1, control)
        with ExitStack() as stack, suppress(OSError):
            for port in wanted:
                stack.enter_context(closing(socket.socket())).bind(("127.0.0.1", port))
            return f"tcp://127.0.0.1:{wanted[0]}", f"tcp://127.0.0.1:{control}"
