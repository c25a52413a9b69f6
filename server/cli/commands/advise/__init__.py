"""``ptylive advise``; a package because the folder of commands is full."""

from ptylive.server.cli.commands.advise.command import EXAMPLES, advise

__all__ = ["EXAMPLES", "advise"]
