"""Values that were given and later withdrawn, and a calibration read back from its file."""

from ptylive.schema import Calibration, Origin, Quantity, ScanHeader
from ptylive.schema.calibration import RIVALS, RivalOrientation
from ptylive.schema.metadata import not_overridden, overlay
from ptylive.schema.scan import Scan


def test_none_takes_back_what_was_said() -> None:
    said = {"rotation_deg": 12.0, "defocus_A": 100.0, "C30": 1e7, "detector_transform": "transpose"}
    header = overlay(ScanHeader(uid="", series="", frames=0, scan=Scan()), said)
    assert header.optics.aberrations == {"C10": -100.0, "C30": 1e7}
    back = overlay(header, {"rotation_deg": None, "C10": None, "detector_transform": None})
    assert back.scan.rotation_deg is None
    assert back.optics.aberrations == {"C30": 1e7}
    assert not back.detector.transform_given
    assert back.detector.transform == "none"
    assert overlay(header, {"defocus_A": None}).optics.aberrations == {"C30": 1e7}


def test_a_calibration_survives_its_attributes() -> None:
    calibration = Calibration(
        {
            "rotation_deg": Quantity(-15.2, Origin.ESTIMATED, 0.4),
            "beam_center_px": Quantity((31.5, 32.0), Origin.GIVEN),
            "detector_transform": Quantity("transpose", Origin.UNDECIDED),
        }
    )
    assert Calibration.from_attributes(calibration.to_attributes()).entries == calibration.entries
    assert Calibration.from_attributes({"stranger": 1.0}).entries == {}


def test_rival_orientations_are_read_from_their_numbers_if_these_are_whole() -> None:
    numbers = (1.0, 40.0, -80.0, 0.0, 100.0, 30.0)
    calibration = Calibration({RIVALS: Quantity(numbers, Origin.ESTIMATED), "C10": Quantity(5.0, Origin.ESTIMATED)})
    stored = Calibration.from_attributes(calibration.to_attributes())
    assert stored.rivals == (RivalOrientation(True, 40.0, -80.0), RivalOrientation(False, 100.0, 30.0))
    assert stored.without_rivals().rivals == ()
    assert stored.without_rivals().get("C10") == 5.0
    for damaged in (numbers[:5], ("?", "?", "?"), "?", (1.0, float("nan"), 3.0)):
        assert Calibration({RIVALS: Quantity(damaged, Origin.ESTIMATED)}).rivals == ()


def test_what_lies_beneath_is_of_no_quantity_that_is_given() -> None:
    below = {
        "C10": 1.0,
        "C12a": 2.0,
        "C30": 3.0,
        "detector_pixel_invA": 0.1,
        "scan_step_A": (1.0, 1.0),
        "energy_eV": 8e4,
    }
    over = {"optics.defocus_A": None, "astigmatism_A": 5.0, "detector_pixel_mrad": 1.0, "field_of_view_A": 9.0}
    assert not_overridden(below, {**over, "dark_reference": "d.npy"}) == {"C30": 3.0, "energy_eV": 8e4}
    assert not_overridden({"detector.dark_reference": "a.npy"}, {"dark_reference": "b.npy"}) == {}
    assert not_overridden(below, {}) == below
