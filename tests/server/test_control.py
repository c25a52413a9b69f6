"""The control socket's commands: which scan they are for."""

from types import SimpleNamespace
from typing import Any

import pytest

from ptylive.schema import CommandError
from ptylive.server.control import ControlServer


class Commands:
    """One command, which says that it was called."""

    def command_save(self) -> dict[str, Any]:
        return {"saved": True}


def control(shown: Any) -> ControlServer:
    server = ControlServer.__new__(ControlServer)  # no socket: only what it does with a command
    server._session = SimpleNamespace(shown=shown, commands=(Commands(),))
    return server


def test_a_command_for_another_scan_is_refused() -> None:
    shown = SimpleNamespace(uid="scan-2", arm=SimpleNamespace(series="0143"))
    assert control(shown)._answer("save", {}) == {"saved": True}
    assert control(shown)._answer("save", {"if_shown": "scan-2"}) == {"saved": True}
    with pytest.raises(CommandError, match="scan 0143 is shown now"):
        control(shown)._answer("save", {"if_shown": "scan-1"})
    with pytest.raises(CommandError, match="no scan is shown now"):
        control(None)._answer("save", {"if_shown": "scan-1"})
