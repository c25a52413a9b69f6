"""``ptylive tune``."""

from ptylive.server.cli.commands.tune.command import EXAMPLES, tune

__all__ = ["EXAMPLES", "tune"]
