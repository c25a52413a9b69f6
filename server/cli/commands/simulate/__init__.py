"""``ptylive simulate``; a package, for the folder of commands is full."""

from ptylive.server.cli.commands.simulate.command import EXAMPLES, simulate

__all__ = ["EXAMPLES", "simulate"]
