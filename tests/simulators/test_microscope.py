"""A microscope with its aberrations as state: corrections take effect late, in part, and only where possible."""

import math

import numpy as np
import pytest

from ptylive.schema import MetadataError
from ptylive.schema.metadata import to_attributes
from ptylive.schema.simulation.settings import SimulationSettings
from ptylive.simulators import microscope as simulated
from ptylive.simulators.microscope import SimulatedMicroscope

SMALL = {
    "specimen": "vacuum",
    "scan_shape": (3, 4),
    "detector_shape": (32, 32),
    "reach": 1,
    "rotation_deg": 12.0,
    "dwell_time_us": 5e4,
}


def test_a_correction_is_carried_out_in_part_and_after_its_delay():
    made = SimulatedMicroscope({"C10": -300.0, "C12b": 80.0}, SMALL, gain=0.9, delay_s=2.0)
    made.correct({"C10": 300.0, "C12b": -80.0})
    made.wait(1.9)
    assert (made.aberrations["C10"], made.aberrations["C12b"]) == (-300.0, 80.0)
    made.correct({"C10": 10.0})
    made.wait(0.1)
    assert made.aberrations["C10"] == pytest.approx(-30.0)
    assert made.aberrations["C12b"] == pytest.approx(8.0)
    made.wait(2.0)
    assert made.aberrations["C10"] == pytest.approx(-21.0)
    assert made.aberrations["C30"] == 0.0


def test_without_a_delay_it_is_there_at_once():
    made = SimulatedMicroscope({"C10": -300.0}, SMALL)
    made.correct({"C10": 300.0})
    assert made.aberrations["C10"] == 0.0


def test_time_passes_while_it_scans():
    made = SimulatedMicroscope({}, SMALL, delay_s=0.5)
    made.correct({"C10": 10.0})
    made.scan()
    assert made.clock_s == pytest.approx(12 * 0.05)
    assert made.aberrations["C10"] == 0.0, "the scan was made before"
    made.scan()
    assert made.aberrations["C10"] == 10.0


def test_a_scan_tells_what_a_microscope_knows_and_has_noise_of_its_own():
    made = SimulatedMicroscope({"C10": -50.0}, SMALL)
    (one, told), (two, _) = made.scan(), made.scan()
    assert one.shape == (3, 4, 32, 32)
    assert not np.array_equal(one, two)
    assert told["rotation_deg"] == 12.0
    assert told["detector_pixel_mrad"] == pytest.approx(4 * 25.0 / 32)
    assert set(told) == {*simulated.SENT_VALUES, "detector_pixel_mrad"}, "no aberrations: they are to be found"
    assert np.array_equal(SimulatedMicroscope({"C10": -50.0}, SMALL).scan().patterns, one)


def test_scans_are_made_with_the_aberrations_of_now():
    state = {"C10": -145.0, "C12a": 30.0, "C12b": -40.0, "C21b": 700.0, "C30": 1e4}
    made = SimulatedMicroscope(state, SMALL)
    made.correct({"C10": 45.0})
    assert made.settings_now().aberrations == pytest.approx({**state, "C10": -100.0})
    assert isinstance(made.settings_now(), SimulationSettings)


def test_what_is_told_is_understood_by_the_front_door():
    import ptylive

    patterns, told = SimulatedMicroscope({}, SMALL).scan()
    with ptylive.open_scan(patterns, **told).access.open() as source:
        known = to_attributes(source.header)
    assert known["rotation_deg"] == 12.0
    assert known["energy_eV"] == 80e3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SimulatedMicroscope({"C99": 1.0}), "no corrector for 'C99'"),
        (lambda: SimulatedMicroscope({"C10": math.nan}), "is impossible"),
        (lambda: SimulatedMicroscope({}, gain=math.inf), "gain"),
        (lambda: SimulatedMicroscope({}, delay_s=-1.0), "delay_s"),
        (lambda: SimulatedMicroscope({}, {"defocus_A": 3.0}), "defocus_A is controlled by the microscope"),
        (lambda: SimulatedMicroscope({}, {"model": {"seed": 3}}), "seed is controlled by the microscope"),
        (lambda: SimulatedMicroscope({}, {"energie": 3.0}), "unknown setting"),
        (lambda: SimulatedMicroscope({}, {**SMALL, "flyback_frames": 2}).scan(), "flyback"),
        (lambda: SimulatedMicroscope({}, SMALL).correct({"C10": 1e30}), "C10 = 1e.30 Å is impossible"),
        (lambda: SimulatedMicroscope({}, SMALL).wait(-1.0), "wait"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(make, words):
    with pytest.raises(MetadataError, match=words):
        make()


def test_corrections_that_wait_are_bounded(monkeypatch):
    monkeypatch.setattr(simulated, "MOST_WAITING", 3)
    made = SimulatedMicroscope({}, SMALL, delay_s=1.0)
    for _ in range(3):
        made.correct({"C10": 1.0})
    with pytest.raises(MetadataError, match="already waiting"):
        made.correct({"C10": 1.0})
