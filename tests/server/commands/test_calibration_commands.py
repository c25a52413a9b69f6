"""The sources of a scan's values: its header, those given for it, and those that were pinned."""

from typing import Any

import pytest

from ptylive.schema import CommandError, Detector, MetadataError, Scan, ScanHeader
from ptylive.schema.metadata import overlay
from ptylive.server.commands.calibration_commands import CalibrationCommands
from ptylive.server.session.scan_session import ScanSession

HEADER = {"energy_eV": 300e3, "convergence_semiangle_mrad": 20.0, "defocus_A": 500.0, "rotation_deg": 12.0}


class Stage:
    """Scans that arrive one after the other."""

    def __init__(self, overrides: dict[str, Any] | None = None) -> None:
        self.scan: ScanSession | None = None
        self.commands = CalibrationCommands({}, overrides or {}, lambda: self.scan, lambda _scan: None)

    def arrives(self, uid: str, **said: Any) -> ScanHeader:
        source = overlay(ScanHeader(uid, uid, 16, Scan(shape=(4, 4))), {**HEADER, **said})
        self.scan = ScanSession(self.commands.prepare(source), None, source)
        return self.scan.header

    @property
    def header(self) -> ScanHeader:
        assert self.scan is not None
        return self.scan.header


def test_a_value_belongs_to_the_scan_it_was_given_for() -> None:
    stage = Stage()
    stage.arrives("one")
    stage.commands.command_configure({"energy_eV": "80 keV", "scan.step_A": "0.1 nm", "C10": -30.0})
    assert (stage.header.optics.energy_eV, stage.header.scan.step_A) == (80e3, (1.0, 1.0))
    later = stage.arrives("two", defocus_A=700.0)
    assert (later.optics.energy_eV, later.scan.step_A) == (300e3, None)
    assert later.optics.aberrations["C10"] == -700.0


def test_what_was_estimated_of_one_scan_is_what_the_header_says_of_the_next() -> None:
    stage = Stage()
    stage.arrives("one", scan_step_A=0.5)
    assert stage.commands.command_calibrate(["rotation_deg", "C10"])["not_estimated"] == {}
    assert stage.header.scan.rotation_deg is None
    assert "C10" not in stage.header.optics.aberrations
    later = stage.arrives("two")
    assert (later.scan.rotation_deg, later.optics.aberrations["C10"]) == (12.0, -500.0)


def test_what_cannot_be_estimated_is_said_and_what_was_given_stays() -> None:
    """Regression: without a scan, or without the values it takes, the command reported success."""
    stage = Stage()
    with pytest.raises(CommandError, match="there is no scan to estimate anything from"):
        stage.commands.command_calibrate()
    stage.arrives("one", beam_center_px=(1.0, 2.0))
    with pytest.raises(CommandError, match="defocus could not be estimated: it needs scan_step_A"):
        stage.commands.command_calibrate(["C10"])
    assert stage.header.optics.aberrations["C10"] == -500.0
    told = stage.commands.command_calibrate()
    why = "it needs scan_step_A"
    assert told["not_estimated"] == {"rotation_deg": why, "detector_transform": why}
    assert (stage.header.scan.rotation_deg, stage.header.detector.beam_center_px) == (12.0, None)
    assert stage.scan is not None and stage.scan.estimating is not None
    assert stage.scan.estimating[0] == ("beam_center_px",)


def test_pinned_values_stay_until_they_are_released() -> None:
    stage = Stage()
    stage.arrives("one")
    told = stage.commands.command_configure({"energy_eV": "80 keV", "C10": -30.0}, pin=True)
    assert told["pinned"] == {"energy_eV": 80e3, "C10": -30.0}
    assert stage.arrives("two", defocus_A=700.0).optics.aberrations["C10"] == -30.0
    assert stage.commands.command_release(["defocus_A"])["pinned"] == {"energy_eV": 80e3}
    assert stage.header.optics.aberrations["C10"] == -30.0  # still the value for this scan
    later = stage.arrives("three")
    assert (later.optics.energy_eV, later.optics.aberrations["C10"]) == (80e3, -500.0)
    assert stage.commands.command_release()["pinned"] == {}
    assert stage.arrives("four").optics.energy_eV == 300e3
    with pytest.raises(CommandError, match="none of these values is pinned"):
        stage.commands.command_release()


def test_a_pinned_value_replaces_the_one_given_for_the_scan() -> None:
    stage = Stage()
    stage.arrives("one")
    stage.commands.command_configure({"defocus_A": 10.0})
    stage.commands.command_configure({"C10": -20.0}, pin=True)
    assert stage.header.optics.aberrations["C10"] == -20.0
    stage.commands.command_configure({"defocus_A": 40.0})
    assert stage.header.optics.aberrations["C10"] == -40.0
    assert stage.commands.pinned == {"C10": -20.0}


def test_the_configuration_is_pinned_and_can_be_released() -> None:
    stage = Stage({"optics.energy_eV": 60e3})
    assert stage.arrives("one").optics.energy_eV == 60e3
    stage.commands.command_release(["energy_eV"])
    assert stage.arrives("two").optics.energy_eV == 300e3


def test_values_before_the_first_scan_are_pinned() -> None:
    stage = Stage()
    assert stage.commands.command_configure({"energy_eV": 80e3})["pinned"] == {"energy_eV": 80e3}
    assert stage.arrives("one").optics.energy_eV == 80e3


def test_undo_goes_back_on_the_same_scan_only() -> None:
    stage = Stage()
    stage.arrives("one")
    stage.commands.command_configure({"energy_eV": 80e3})
    stage.commands.command_configure({"energy_eV": 60e3})
    stage.commands.command_undo()
    assert stage.header.optics.energy_eV == 80e3
    stage.arrives("two")
    with pytest.raises(CommandError, match="nothing to undo"):
        stage.commands.command_undo()
    stage.commands.command_configure({"energy_eV": 60e3}, pin=True)
    stage.arrives("three")
    assert stage.commands.command_undo()["pinned"] == {}
    assert stage.header.optics.energy_eV == 300e3


@pytest.mark.parametrize(
    "values", [{"energy_eV": 80}, {"energy_eV": -1}, {"energie": 1}, {"scan_step_A": "0,1 nm"}, {"scan_shape": [0, 1]}]
)
@pytest.mark.parametrize("pin", [False, True])
def test_refused_values_change_nothing(values: dict[str, Any], pin: bool) -> None:
    stage = Stage()
    before = stage.arrives("one")
    with pytest.raises(MetadataError):
        stage.commands.command_configure(values, pin=pin)
    assert (stage.header, stage.commands.pinned) == (before, {})


def test_a_past_scan_has_only_what_is_given_for_it() -> None:
    from ptylive.schema import Calibration

    stage = Stage({"energy_eV": 60e3})
    source = overlay(ScanHeader("past", "past", 16, Scan(shape=(4, 4))), HEADER)
    stage.scan = ScanSession(source, None, source, ended="complete", stored=Calibration())
    stage.commands.command_configure({"rotation_deg": 5.0})
    assert (stage.header.optics.energy_eV, stage.header.scan.rotation_deg) == (300e3, 5.0)


def test_step_field_of_view_and_matrix_are_one_quantity_and_the_last_counts() -> None:
    stage = Stage()
    stage.arrives("one", scan_step_A=1.0)
    turned = [0.0, 0.5, -0.5, 0.0]
    stage.commands.command_configure({"scan_matrix": turned})
    assert (stage.header.scan.step_A, stage.header.scan.matrix) == (None, ((0.0, 0.5), (-0.5, 0.0)))
    stage.commands.command_configure({"scan_step_A": 0.3})
    assert (stage.header.scan.step_A, stage.header.scan.matrix) == ((0.3, 0.3), None)
    stage.commands.command_configure({"scan_matrix": turned}, pin=True)
    stage.commands.command_configure({"field_of_view_A": 2.0})
    assert (stage.header.scan.step_A, stage.header.scan.matrix) == ((0.5, 0.5), None)
    assert stage.arrives("two", scan_step_A=1.0).scan.matrix == ((0.0, 0.5), (-0.5, 0.0)), "it is pinned"


def test_a_header_that_says_otherwise_than_a_pin_is_heard() -> None:
    stage = Stage()
    stage.arrives("one")
    stage.commands.command_configure({"energy_eV": "80 keV", "defocus_A": 30.0}, pin=True)
    stage.arrives("two", energy_eV=80e3, defocus_A=700.0)
    assert stage.commands.contradicted(stage.scan) == {"C10": -700.0}
    stage.commands.command_configure({"C10": -700.0})
    assert stage.commands.contradicted(stage.scan) == {}, "taken for this scan"
    assert "C10" in stage.commands.contradicted(_next(stage)), "the pin stays"
    assert stage.commands.contradicted(None) == {}


def _next(stage: Stage) -> ScanSession | None:
    stage.arrives("three", energy_eV=80e3, defocus_A=700.0)
    return stage.scan


def test_who_gave_a_value_is_told() -> None:
    stage = Stage()
    assert stage.commands.given(None) == {}
    stage.arrives("one", scan_step_A=0.5)
    wanted = dict.fromkeys(("energy_eV", "convergence_semiangle_mrad", "C10", "rotation_deg", "scan_step_A"), "sent")
    assert stage.commands.given(stage.scan) == wanted
    stage.commands.command_configure({"defocus_A": 30.0, "detector_pixel_mrad": 1.0})
    stage.commands.command_configure({"energy_eV": "80 keV"}, pin=True)
    typed = dict.fromkeys(("C10", "detector_pixel_invA", "energy_eV"), "typed")
    assert stage.commands.given(stage.scan) == {**wanted, **typed}
    stage.commands.command_calibrate(["C10"])
    assert stage.commands.given(stage.scan)["C10"] == "sent", "nothing is typed any longer"
    configured = CalibrationCommands({"scan_step_A": 2.0}, {}, lambda: stage.scan, lambda _scan: None)
    stage.scan = ScanSession(stage.header, None, ScanHeader("x", "x", 16, Scan(shape=(4, 4))))
    assert configured.given(stage.scan) == {"scan_step_A": "configured"}


def test_reset_goes_back_to_what_was_sent_and_undo_to_what_was_typed() -> None:
    stage = Stage()
    with pytest.raises(CommandError, match="there is no scan"):
        stage.commands.command_reset()
    stage.arrives("one", scan_step_A=(0.5, 0.6))
    stage.commands.command_configure({"scan_step_A": 2.0, "energy_eV": "80 keV"}, pin=True)
    stage.commands.command_configure({"C10": -30.0, "depth_A": 20.0})
    stage.commands.command_reset()
    assert (stage.header.scan.step_A, stage.header.optics.energy_eV) == ((0.5, 0.6), 300e3)
    assert (stage.header.optics.aberrations["C10"], stage.header.optics.depth_A) == (-500.0, None)
    assert stage.commands.pinned == {"scan_step_A": 2.0, "energy_eV": 80e3}, "pins stay for the scans to come"
    stage.commands.command_undo()
    assert (stage.header.optics.aberrations["C10"], stage.header.optics.energy_eV) == (-30.0, 80e3)


@pytest.mark.parametrize(
    ("said", "dropped"),
    [
        ({}, False),
        ({"defocus_A": 900.0}, False),
        ({"energy_eV": 80e3}, False),
        ({"energy_eV": 60e3}, True),
        ({"pixels": (16, 16)}, True),
    ],
)
def test_another_detector_or_energy_drops_pins_with_a_sentence(said: dict[str, Any], dropped: bool) -> None:
    """80 kV was typed where the header said 300: a header with either value belongs to the same microscope."""
    told: list[str] = []
    scan: list[ScanSession] = []
    commands = CalibrationCommands(
        {},
        {"rotation_deg": 5.0},
        lambda: scan[-1] if scan else None,
        lambda _s: None,
        lambda _, line: told.append(line),
    )

    def arrives(pixels: tuple[int, int] = (8, 8), **values: Any) -> ScanHeader:
        detector = Detector(shape=pixels)
        source = overlay(ScanHeader("u", "u", 16, Scan(shape=(4, 4)), detector=detector), {**HEADER, **values})
        scan.append(ScanSession(commands.arriving(source), None, source))
        return scan[-1].header

    arrives()
    commands.command_configure({"energy_eV": "80 keV", "C10": -30.0}, pin=True)
    assert arrives().optics.energy_eV == 80e3
    header = arrives(**said)
    assert header.scan.rotation_deg == 5.0, "what the configuration says stays"
    assert (header.optics.aberrations["C10"] == -30.0) is not dropped
    assert commands.pinned == ({"rotation_deg": 5.0} | ({} if dropped else {"energy_eV": 80e3, "C10": -30.0}))
    assert len(told) == dropped
    if dropped:
        assert "energy_eV, C10 no longer pinned; undo pins them again" in told[0]
        commands.command_undo()
        assert commands.pinned == {"rotation_deg": 5.0, "energy_eV": 80e3, "C10": -30.0}
