"""Values that were given and are taken back, and a calibration read from its file again."""

from ptylive.schema import Calibration, Origin, Quantity, ScanHeader
from ptylive.schema.metadata import overlay
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
