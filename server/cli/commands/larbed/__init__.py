"""``ptylive larbed``; a package because the folder of commands is full."""

from ptylive.server.cli.commands.larbed.command import EXAMPLES, larbed

__all__ = ["EXAMPLES", "larbed"]
