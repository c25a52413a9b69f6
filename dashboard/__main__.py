"""``python -m ptylive.dashboard``: run the dashboard as a separate process."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from ptylive.schema import PtyliveError
from ptylive.schema.plain_errors import say_unraisable_in_a_line
from ptylive.server.process.ports import DASHBOARD_PORT, DEFAULT_CONTROL


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the dashboard; return 0 when it was stopped on request, 1 when it could not start."""
    say_unraisable_in_a_line("ptylive dashboard")
    parser = argparse.ArgumentParser(prog="ptylive.dashboard", description="Live maps and refinement in a browser.")
    parser.add_argument("--control", default=DEFAULT_CONTROL, help="control address of the server (%(default)s)")
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=DASHBOARD_PORT, help="port to listen on, 0 for any free one (%(default)s)"
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME[:PORT]",
        help="additional host name under which browsers may open it",
    )
    parser.add_argument("--prefix", default="", metavar="PATH", help="path under which a proxy serves the dashboard")
    parser.add_argument("--viewers-fetch", action="store_true", help="let viewers download scans and exports")
    parser.add_argument(
        "--exit-with-parent",
        type=int,
        metavar="PID",
        help="end when this process, the parent, has ended (or had ended before this process started)",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("bokeh.server.views.ws").setLevel(logging.ERROR)  # otherwise it warns whenever a page is closed
    from ptylive.dashboard.access import Access
    from ptylive.dashboard.app import Dashboard, serve

    def make_dashboard() -> Dashboard:
        endpoints = (options.control, options.address, options.port)
        dashboard = Dashboard(*endpoints, access, options.allow_host, options.prefix)
        dashboard.viewers_fetch = options.viewers_fetch
        return dashboard

    try:
        access = Access.from_environment()
        serve(make_dashboard, options.exit_with_parent)
    except PtyliveError as error:
        sys.stderr.write(f"ptylive.dashboard: {error.line()}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
