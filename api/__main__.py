"""The command line, also started by ``ptylive``; use ``python -m ptylive`` if that is not on the path."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line: Ctrl-C while the program loads ends it in the same way as Ctrl-C later."""
    try:
        from ptylive.server.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("ptylive: interrupted: nothing was written\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
