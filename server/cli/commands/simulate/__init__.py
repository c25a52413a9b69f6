"""``ptylive simulate``; a package because the folder of commands is full."""

from ptylive.server.cli.commands.simulate.command import EXAMPLES, simulate

__all__ = ["EXAMPLES", "simulate"]
