"""The command line, which ``ptylive`` starts too; ``python -m ptylive`` for whoever has none on the path."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point: Ctrl-C while the program loads ends it as Ctrl-C later does."""
    try:
        from ptylive.server.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("ptylive: interrupted: nothing was written\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
