"""Values set by users outlive the process in which they were set."""

import json
from types import SimpleNamespace

import pytest

from ptylive.schema import PtyliveError, Scan, ScanHeader
from ptylive.server.commands.calibration_commands import MOST_KEPT, CalibrationCommands
from ptylive.server.commands.map_commands import MapCommands
from ptylive.server.serve import user_state
from ptylive.server.session.scan_session import ScanSession

DISC = {"name": "mine", "outer_px": 9.0}


def header(uid="a"):
    return ScanHeader(uid, uid, 64, Scan.model_validate({"shape": (8, 8), "step_A": 0.5, "rotation_deg": 1.0}))


class Made:
    """The stateful parts of a session, and what its receiver was told."""

    def __init__(self):
        self.scan, self.recording_wanted, self.detectors = None, True, []
        self.calibration = CalibrationCommands({}, {"energy_eV": 80e3}, lambda: self.scan, lambda _scan: None)
        self.maps = MapCommands({}, lambda: None, list, lambda _scan: None)
        self.analysis = SimpleNamespace(command_detectors=self.detectors_are)

    def detectors_are(self, detectors=None):
        self.detectors = self.detectors if detectors is None else detectors
        return {"detectors": self.detectors}

    def command_record(self, on):
        self.recording_wanted = on

    def shows(self, uid):
        self.scan = ScanSession(self.calibration.prepare(header(uid)), None, header(uid))
        self.calibration.take_up(self.scan)
        return self.scan


@pytest.fixture
def before():
    made = Made()
    made.shows("a")
    made.calibration.command_configure({"rotation_deg": 30.0})
    made.calibration.command_configure({"energy_eV": 60e3}, pin=True)
    made.maps.command_map_settings({"wdd.epsilon": 0.02})
    made.detectors_are([DISC])
    made.command_record(False)
    return made


def restored(before):
    after = Made()
    user_state.restore(after, json.loads(json.dumps(user_state.collected(before))))
    return after


def test_everything_is_there_again(before):
    after = restored(before)
    assert user_state.collected(after) == user_state.collected(before)
    assert after.calibration.pinned == {"energy_eV": 60e3}
    assert (after.recording_wanted, after.detectors, after.maps.settings) == (False, [DISC], {"wdd.epsilon": 0.02})


def test_a_scan_that_is_taken_up_again_has_its_own_values(before):
    after = restored(before)
    scan = after.shows("a")
    assert (scan.header.scan.rotation_deg, scan.header.optics.energy_eV) == (30.0, 60e3)
    assert scan.values == {"rotation_deg": 30.0}
    assert after.shows("b").header.scan.rotation_deg == 1.0, "it is another one"
    after.shows("a")
    after.calibration.command_calibrate(["rotation_deg"])
    assert after.scan.header.scan.rotation_deg is None
    assert restored(after).shows("a").header.scan.rotation_deg is None, "taken back is a value too"


def test_values_that_were_taken_back_are_forgotten(before):
    before.calibration.command_undo()
    before.calibration.command_undo()
    assert user_state.collected(before)["own"] == {}
    assert restored(before).shows("a").header.scan.rotation_deg == 1.0


def test_only_the_last_scans_are_remembered(before):
    for number in range(MOST_KEPT):
        before.shows(f"scan {number}")
        before.calibration.command_configure({"rotation_deg": float(number)})
    own = user_state.collected(before)["own"]
    assert len(own) == MOST_KEPT
    assert "a" not in own


def test_values_of_a_past_scan_that_was_opened_are_its_own_affair(before):
    past = before.shows("b")
    past.stored = past.calibration
    before.calibration.command_configure({"rotation_deg": 70.0})
    assert "b" not in user_state.collected(before)["own"]


def test_the_first_start_has_nothing_to_restore():
    after = Made()
    user_state.restore(after, {})
    assert after.calibration.pinned == {"energy_eV": 80e3}


@pytest.mark.parametrize("values", [{"detector_transform": b"none"}, {"detector_transform": ["none", b"x"]}])
def test_what_could_not_be_told_is_not_taken(before, values):
    """Bytes arrive by msgpack and pass as text: sending them on would end the receiving process."""
    with pytest.raises(PtyliveError):
        before.calibration.command_configure(values, pin=True)
    json.dumps(user_state.collected(before))
