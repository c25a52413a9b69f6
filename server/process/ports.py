"""Where a server listens unless other addresses are given (docs/protocol.md)."""

from ptylive.streamer.wire import limits

DEFAULT_DATA = limits.DEFAULT_DATA
"""Where frames are received."""
CONTROL_PORT = 9998
"""Port of commands."""
DEFAULT_CONTROL = f"tcp://127.0.0.1:{CONTROL_PORT}"
DASHBOARD_PORT = 5006
"""Port of the page: the usual one of Bokeh's servers."""
EVENTS_OFFSET = -1
"""Events are published one port below control."""
