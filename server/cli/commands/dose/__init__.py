"""``ptylive dose``; a package because the folder of commands is full."""

from ptylive.server.cli.commands.dose.command import EXAMPLES, dose

__all__ = ["EXAMPLES", "dose"]
