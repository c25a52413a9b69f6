"""A scan of a script: its start map is made once, and a preset file may describe it."""

from functools import partial

import numpy as np
import pytest

from ptylive.application.presets import PresetFile
from ptylive.application.scan_access import ScanAccess, map_named
from ptylive.schema.preset.start import StartSettings
from ptylive.streamer.source import open_array

OPTICS = {"energy_eV": 80e3, "convergence_semiangle_mrad": 20.0, "scan_step_A": 0.5, "detector_pixel_mrad": 5.0}


@pytest.fixture
def access():
    patterns = np.random.default_rng(2).poisson(4.0, (4, 5, 16, 16)).astype(np.uint16)
    return ScanAccess(partial(open_array, patterns, values=OPTICS), OPTICS)


def test_the_map_of_a_start_is_made_once_for_each_of_its_settings(access):
    first = access.start(StartSettings(start_map="idpc"))
    assert access.start(StartSettings(start_map="idpc")) is first
    assert access.start(StartSettings(start_map="idpc", map_settings={"idpc.highpass_invA": 0.05})) is not first
    assert map_named(first, "idpc").data.shape == (4, 5)
    assert map_named(first, "bf") is None


def test_the_reason_for_a_missing_start_map_is_logged(access, caplog):
    bare = ScanAccess(partial(access.open, values={}))
    assert map_named(bare.start(StartSettings(start_map="obf")), "obf") is None
    assert "obf was not made, so the object starts empty: needs scan_step_A" in caplog.text


def test_a_preset_file_describes_a_scan_and_what_was_given_counts_more(access):
    assert access.described_by(PresetFile({})) is access
    described = access.described_by(PresetFile({}, {"dwell_time_us": 7.0, "energy_eV": 60e3}))
    with described.open() as source:
        assert (source.header.scan.dwell_time_us, source.header.optics.energy_eV) == (7.0, 80e3)
