"""``ptylive align``; a package because the folder of commands is full."""

from ptylive.server.cli.commands.align.command import EXAMPLES, align

__all__ = ["EXAMPLES", "align"]
