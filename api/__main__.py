"""``python -m ptylive``: the command line, for whoever has no ``ptylive`` on the path."""

from ptylive.server.cli.main import main

if __name__ == "__main__":
    main()
