"""``ptylive plan``; a package because the folder of commands is full."""

from ptylive.server.cli.commands.plan.command import EXAMPLES, plan

__all__ = ["EXAMPLES", "plan"]
