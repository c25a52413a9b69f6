"""``ptylive film``; a package because the folder of commands is full."""

from ptylive.server.cli.commands.film.command import EXAMPLES, film

__all__ = ["EXAMPLES", "film"]
