"""``ptylive batch``; a package because the folder of commands is full."""

from ptylive.server.cli.commands.batch.command import EXAMPLES, batch

__all__ = ["EXAMPLES", "batch"]
