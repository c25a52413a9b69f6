"""``ptylive stop``."""

from __future__ import annotations

import time

from ptylive.schema import PtyliveError, ServerGoneError
from ptylive.server.cli.options import CONTROL, AsJson, Control, Keys
from ptylive.server.cli.output import answer
from ptylive.server.wire.client import ControlClient

STOP_TIMEOUT_S = 20.0

EXAMPLES = """
ptylive stop
ptylive stop --control tcp://127.0.0.1:9998
"""


def stop(control: Control = CONTROL, keys: Keys = None, as_json: AsJson = False) -> None:
    """Stop a running server; its recording is finished first (20 s at most)."""
    started = time.monotonic()
    with ControlClient(control, timeout_s=2.0, keys=keys) as client:
        client.call("shutdown")
        while time.monotonic() - started < STOP_TIMEOUT_S + 5:
            try:
                client.call("status", timeout_s=1.0)
            except ServerGoneError:
                answer({"stopped": True, "seconds": time.monotonic() - started}, as_json=as_json)
                return
            time.sleep(0.1)
    raise PtyliveError(f"the server at {control} did not stop", "see its terminal")
