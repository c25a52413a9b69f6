"""Two scans at once: the one still running is shown once the other has ended."""

import pytest
from running import server
from stream_tools import connected, make_frames, make_header, messages_of, send

from ptylive.schema.metadata import overlay
from ptylive.streamer.wire import ArmMessage


@pytest.mark.slow
def test_the_display_returns_to_the_scan_that_goes_on(tmp_path):
    optics = {"energy_eV": 80e3, "convergence_semiangle_mrad": 25.0, "scan_step_A": 0.4}
    first, second = overlay(make_header(), optics), overlay(make_header(), optics)
    frames = make_frames(first)
    with server(tmp_path) as running, connected(running.data) as socket:
        send(socket, ArmMessage(first), *messages_of(first, frames)[:4])
        running.wait_for(lambda s: s["uid"] == first.uid and s["frames"] == 20)
        send(socket, ArmMessage(second), *messages_of(second, frames))
        status = running.wait_for(lambda s: s["uid"] == first.uid and s["frames"] == 20 and ended(running, second.uid))
        assert status["state"] == "scanning"
        send(socket, *messages_of(first, frames)[4:6])
        running.wait_for(lambda s: s["uid"] == first.uid and s["frames"] == 30)
        running.wait_for(lambda s: covered(running) == 30)  # its maps are renewed again
        send(socket, *messages_of(first, frames)[6:])
        running.wait_for(lambda s: s["uid"] == first.uid and s["state"] == "complete")


def ended(running, uid):
    """Whether a scan is among the past scans, in its final state."""
    return any(one["uid"] == uid and one["state"] == "complete" for one in running.call("scans")["scans"])


def covered(running):
    """Scan points of the maps that a viewer currently receives."""
    maps = {one["name"]: one for one in running.call("snapshot")["maps"]}
    return sum(maps["coverage"]["data"]) if "coverage" in maps else 0
