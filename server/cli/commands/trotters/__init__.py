"""``ptylive trotters``; a package because the folder of commands is full."""

from ptylive.server.cli.commands.trotters.command import EXAMPLES, trotters

__all__ = ["EXAMPLES", "trotters"]
