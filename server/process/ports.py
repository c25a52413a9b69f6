"""Ports of a server, where one follows from another (docs/protocol.md)."""

CONTROL_PORT = 9998
EVENTS_OFFSET = -1
"""Events are published one port below control."""
