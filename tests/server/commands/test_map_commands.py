"""Settings of live maps, changed while a scan runs, after it has ended, and for scans to come."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from synthetic import WeakPhaseScan, batches

from ptylive.engine.live.engine import LiveEngine
from ptylive.schema import CommandError, MetadataError
from ptylive.server.commands.map_commands import MapCommands
from ptylive.server.session.scan_session import ScanSession


class Shown:
    """The scan that a server shows, and what it was asked to remake."""

    def __init__(self, scan=None, running=()):
        self.scan, self.again = scan, []
        self.commands = MapCommands({"ssb.epsilon": 0.5}, lambda: self.scan, lambda: running, self.again.append)

    def set(self, **values):
        return self.commands.command_map_settings({name.replace("__", "."): one for name, one in values.items()})


@pytest.fixture
def scan():
    made = WeakPhaseScan.make({"C10": -60.0}, n=16, strength=0.05)
    engine = LiveEngine(made.header(), methods=("wdd", "idpc"))
    for batch in batches(made.patterns):
        engine.add(batch)
    return ScanSession(made.header(), engine, made.header())


def test_they_are_kept_changed_and_taken_back():
    shown = Shown()
    assert shown.commands.command_map_settings() == {"settings": {"ssb.epsilon": 0.5}}
    assert shown.set(wdd__epsilon=0.1, tcbf__upsample=4) == {
        "settings": {"ssb.epsilon": 0.5, "wdd.epsilon": 0.1, "tcbf.upsample": 4}
    }
    assert shown.set(wdd__epsilon=None, ssb__epsilon=0.2)["settings"] == {"ssb.epsilon": 0.2, "tcbf.upsample": 4}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"wdd.epsilon": -1}, "not possible"),
        ({"wdd.nothing": 1}, "wdd has no setting 'nothing'"),
        ({"wdd.nothing": None}, "wdd has no setting 'nothing'"),
        ({"energy_eV": 8e4}, "not a map setting"),
        ([1], "must map settings"),
    ],
)
def test_what_cannot_be_changes_nothing(values, says):
    shown = Shown()
    with pytest.raises((CommandError, MetadataError), match=says):
        shown.commands.command_map_settings(values)
    assert shown.commands.settings == {"ssb.epsilon": 0.5}


def test_a_scan_that_runs_shows_them_in_its_next_maps(scan):
    shown = Shown(scan)
    shown.scan.engine.refresh()
    assert not scan.engine.has_news
    before = {one.name: one for one in scan.engine.refresh().maps}
    shown.set(wdd__epsilon=0.3, idpc__highpass_invA=0.2)
    assert scan.engine.has_news, "without a frame more"
    after = {one.name: one for one in scan.engine.refresh().maps}
    assert not scan.engine.has_news
    assert after["wdd_phase"].settings["epsilon"] == 0.3
    for name in ("wdd_phase", "idpc"):
        assert (after[name].data != before[name].data).any()
    assert shown.again == []


def test_a_scan_that_has_ended_is_made_again(scan):
    shown = Shown(scan)
    scan.ended = "complete"
    shown.set(wdd__epsilon=0.3)
    assert shown.again == [scan]
    assert scan.map_settings == {"ssb.epsilon": 0.5, "wdd.epsilon": 0.3}
    [phase] = [one for one in scan.engine.finish().maps if one.name == "wdd_phase"]
    assert phase.settings["epsilon"] == 0.3


def test_scans_that_are_being_received_follow_while_a_past_one_is_shown(scan):
    past = ScanSession(scan.header, None, scan.header, ended="complete")
    shown = Shown(past, (scan,))
    shown.set(wdd__epsilon=0.3)
    assert shown.again == [past]
    assert scan.engine.settings == past.map_settings == {"ssb.epsilon": 0.5, "wdd.epsilon": 0.3}
    opened = ScanSession(scan.header, None, scan.header)
    assert shown.commands.given_to(opened) is opened
    assert opened.map_settings == shown.commands.settings


def test_a_refresh_of_one_map_leaves_the_others_to_be_shown(scan):
    shown = Shown(scan)
    scan.engine.refresh()
    shown.set(idpc__highpass_invA=0.2)
    scan.engine.refresh(["wdd"])
    assert scan.engine.has_news
    scan.engine.refresh()
    assert not scan.engine.has_news


@pytest.mark.parametrize("background", [None, ThreadPoolExecutor(1)])
def test_a_number_that_does_not_suit_a_scan_costs_that_map_only(background):
    """For example, upsampling does not suit a scan along a list of positions."""
    made = WeakPhaseScan.make({"C10": -60.0}, n=16, strength=0.05)
    at = made.header().scan.positions_A(0.0)
    header = replace(made.header(), arrays={"positions_A": at + np.random.default_rng(0).normal(0, 0.05, at.shape)})
    engine = LiveEngine(header, methods=("tcbf", "idpc", "wdd"), background=background)
    engine.use_settings({"tcbf.upsample": 4})
    for batch in batches(made.patterns):
        engine.add(batch)
    for _ in range(200):
        rendering = engine.refresh()
        if "tcbf" in rendering.missing and "wdd_phase" in {one.name for one in rendering.maps}:
            break
        time.sleep(0.05)
    assert "tcbf.upsample=4 needs points on a regular grid" in rendering.missing["tcbf"]
    whole = engine.finish()
    assert "wdd_phase" in {one.name for one in whole.maps}
    assert "regular grid" in whole.missing["tcbf"]
    engine.use_settings({})
    assert "tcbf" in {one.name for one in engine.finish().maps}
