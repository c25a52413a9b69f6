"""``ptylive batch``; a package, for the folder of commands is full."""

from ptylive.server.cli.commands.batch.command import EXAMPLES, batch

__all__ = ["EXAMPLES", "batch"]
