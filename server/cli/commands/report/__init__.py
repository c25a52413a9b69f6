"""``ptylive report``; a package because the folder of commands is full."""

from ptylive.server.cli.commands.report.command import EXAMPLES, report

__all__ = ["EXAMPLES", "report"]
