"""What the data of a scan do not give is told quantity by quantity, with the reason."""

from dataclasses import replace
from typing import Any

import pytest

from ptylive.engine.live.unestimated import TITLES, in_words, why_impossible, why_unestimated
from ptylive.schema import Calibration, Optics, Origin, Quantity, Scan, ScanHeader
from ptylive.server.commands.calibration_commands import SPELLINGS

HEADER = ScanHeader(
    "u", "s", 400, Scan(shape=(20, 20), step_A=0.5), Optics(energy_eV=80e3, convergence_semiangle_mrad=20.0)
)
BARE = replace(HEADER, scan=Scan(shape=(20, 20)), optics=Optics())


def fitted(**entries: tuple[Any, Origin] | tuple[Any, Origin, float]) -> Calibration:
    return Calibration({name: Quantity(*entry) for name, entry in entries.items()})


def test_every_quantity_that_can_be_estimated_has_a_name() -> None:
    assert set(TITLES) == set(SPELLINGS)


def test_values_that_are_missing_are_named() -> None:
    assert why_impossible(TITLES, HEADER, Calibration()) == {}
    found = why_impossible(TITLES, BARE, Calibration())
    assert found["C10"] == "it needs energy_eV and convergence_semiangle_mrad and scan_step_A"
    assert found["rotation_deg"] == "it needs scan_step_A"
    assert "beam_center_px" not in found and "descan_px" not in found
    known = fitted(energy_eV=(8e4, Origin.GIVEN), convergence_semiangle_mrad=(20.0, Origin.GIVEN))
    assert "detector_pixel_invA" not in why_impossible(TITLES, BARE, known)


@pytest.mark.parametrize(
    ("name", "entries", "words"),
    [
        ("C10", {}, "varies no more than its noise"),
        ("C10", {"C10": (100.0, Origin.UNDECIDED, 5.0)}, "known up to half a turn"),
        ("rotation_deg", {"rotation_deg": (0.0, Origin.UNDECIDED)}, "varies no more than its noise"),
        ("rotation_deg", {"rotation_deg": (3.0, Origin.UNDECIDED, 0.4)}, "known up to half a turn"),
        ("detector_transform", {"detector_transform": ("none", Origin.DEFAULT)}, "do not decide"),
        ("beam_center_px", {"beam_center_px": ((3.0, 3.0), Origin.DEFAULT)}, "shows no bright disc"),
        ("detector_pixel_invA", {}, "shows no bright disc"),
        ("descan_px", {}, "none is assumed"),
        ("depth_A", {"depth_A": (0.0, Origin.DEFAULT)}, "none is given"),
        ("depth_A", {"C10": (3.0, Origin.GIVEN), "depth_A": (0.0, Origin.DEFAULT)}, "not clearly inside"),
    ],
)
def test_what_the_data_do_not_show_is_told(name: str, entries: dict[str, Any], words: str) -> None:
    (why,) = why_unestimated([name], HEADER, fitted(**entries), 400).values()
    assert words in why
    assert in_words({name: why}).startswith(f"{TITLES[name]} could not be estimated: ")


def test_what_was_estimated_is_not_told_and_few_points_are() -> None:
    found = fitted(C10=(1.0, Origin.ESTIMATED), C12a=(1.0, Origin.GIVEN), C12b=(2.0, Origin.ESTIMATED))
    assert why_unestimated(["C10", "C12"], HEADER, found, 400) == {}
    assert why_unestimated(["rotation_deg"], HEADER, Calibration(), 9) == {
        "rotation_deg": "it needs 64 scan points, 9 have arrived"
    }
    assert why_unestimated(["C10"], BARE, Calibration(), 9)["C10"].startswith("it needs energy_eV")
