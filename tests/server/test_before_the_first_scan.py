"""Commands to a server to which nothing has been sent yet."""

import pytest
from served_here import server_here

from ptylive.engine.live.engine import LiveEngine
from ptylive.schema import CommandError, Detector, Scan, ScanHeader
from ptylive.schema.metadata import overlay
from ptylive.server.session.scan_session import ScanSession


@pytest.fixture(scope="module")
def idle(tmp_path_factory):
    with server_here(tmp_path_factory.mktemp("idle"), {}, {}) as running:
        yield running


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("refine", "no scan to refine"),
        ("save", "nothing to save"),
        ("refine_stop", "no refinement is running"),
        ("refine_resume", "no refinement to resume"),
        ("trotter", "no scan yet"),
        ("undo", "nothing to undo"),
        ("check", "no scan yet"),
        ("dance", "unknown command 'dance'"),
    ],
)
def test_what_makes_no_sense_yet_is_refused(idle, command, words):
    with pytest.raises(CommandError, match=words):
        idle.call(command)


def test_there_are_no_maps_and_nothing_was_received(idle):
    assert idle.call("snapshot")["maps"] == []
    assert idle.call("received", uid="nobody")["ranges"] == []


def test_an_armed_scan_shows_what_its_header_gives(idle):
    """Regression: energy, semi-angle, step and defocus were "–" on the page until the first frames had been summed."""
    header = overlay(
        ScanHeader("a", "grain", 16, scan=Scan(shape=(4, 4)), detector=Detector(shape=(8, 8))),
        {"energy_eV": 80e3, "convergence_semiangle_mrad": 25.0, "scan_step_A": 0.4, "defocus_A": 50.0},
    )
    idle.session.show(ScanSession(header, LiveEngine(header), header))
    try:
        shown, checks = idle.call("status")["calibration"], idle.call("check")["checks"]
    finally:
        idle.session.show(None)
    assert {name: entry["value"] for name, entry in shown.items()} == {
        "energy_eV": 80e3,
        "convergence_semiangle_mrad": 25.0,
        "scan_step_A": [0.4, 0.4],
        "C10": -50.0,
    }
    assert {entry["origin"] for entry in shown.values()} == {"given"}
    assert {check["name"]: check["text"] for check in checks}["defocus"] == "given"
