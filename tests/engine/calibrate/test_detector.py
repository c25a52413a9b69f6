"""Optics and detector from the mean pattern and what was given."""

import numpy as np
import pytest

from ptylive.engine.calibrate.detector import MOVED_BEAM_PX, calibrate_detector, given_quantities, with_given_values
from ptylive.schema import Calibration, Detector, Optics, Origin, Quantity, Scan, ScanHeader
from ptylive.schema.units import mrad_to_invA, wavelength_A

SHAPE = (48, 48)


def disc(center=(23.0, 24.0), radius=10.0):
    rows, columns = np.indices(SHAPE)
    return 1000.0 * np.clip(radius + 0.5 - np.hypot(rows - center[0], columns - center[1]), 0, 1)


def header(optics=None, detector=None, scan=None, **arrays):
    return ScanHeader(
        "u", "s", 6, Scan(**scan or {}), Optics.model_validate(optics or {}),
        Detector(shape=SHAPE, dtype="<u2", **detector or {}), arrays=arrays,
    )  # fmt: skip


KNOWN = {"energy_eV": 80e3, "convergence_semiangle_mrad": 20.0}


def test_centre_radius_and_pixel_are_found_from_the_disc():
    found = calibrate_detector(header(KNOWN), disc())
    np.testing.assert_allclose(found.get("beam_center_px"), (23.0, 24.0), atol=0.1)
    assert found.get("disc_radius_px") == pytest.approx(10.0, abs=0.1)
    assert found.origin("beam_center_px") is found.origin("detector_pixel_invA") is Origin.ESTIMATED
    pixel = mrad_to_invA(20.0, wavelength_A(80e3)) / found.get("disc_radius_px")
    assert found.get("detector_pixel_invA") == pytest.approx(pixel)
    assert found.entries["detector_pixel_invA"].uncertainty == pytest.approx(0.01 * pixel)
    assert (found.get("C10"), found.origin("C10")) == (0.0, Origin.DEFAULT)


@pytest.mark.parametrize("optics", [{}, {"energy_eV": 80e3}, {"convergence_semiangle_mrad": 20.0}])
def test_without_optics_the_pixel_is_not_known(optics):
    assert calibrate_detector(header(optics), disc()).get("detector_pixel_invA") is None


def test_without_a_disc_the_beam_is_assumed_in_the_middle():
    found = calibrate_detector(header(KNOWN), np.zeros(SHAPE))
    assert (found.get("beam_center_px"), found.origin("beam_center_px")) == ((23.5, 23.5), Origin.DEFAULT)
    assert (found.get("disc_radius_px"), found.origin("disc_radius_px")) == (12.0, Origin.DEFAULT)
    assert found.get("detector_pixel_invA") is None, "an assumed radius is no measure"


def test_what_was_given_is_not_estimated():
    given = {"beam_center_px": (20.0, 20.0), "pixel_mrad": 1.5, "transform": "transpose", "transform_given": True}
    found = calibrate_detector(header({**KNOWN, "C10": -50.0}, given, {"rotation_deg": 12.0}), disc())
    assert (found.get("beam_center_px"), found.get("C10"), found.get("rotation_deg")) == ((20.0, 20.0), -50.0, 12.0)
    assert found.get("detector_pixel_invA") == pytest.approx(mrad_to_invA(1.5, wavelength_A(80e3)))
    assert {found.origin(name) for name in ("beam_center_px", "C10", "detector_pixel_invA", "detector_transform")} == {
        Origin.GIVEN
    }


def test_an_angle_is_no_frequency_without_an_energy_and_a_frequency_wins():
    assert "detector_pixel_invA" not in given_quantities(header(detector={"pixel_mrad": 1.5}))
    both = given_quantities(header(KNOWN, {"pixel_mrad": 1.5, "pixel_invA": 0.02}))
    assert both["detector_pixel_invA"].value == 0.02 and "detector_pixel_mrad" not in both
    assert "detector_transform" not in given_quantities(header())


@pytest.mark.parametrize(
    ("moved_px", "center"), [(0.5 * MOVED_BEAM_PX, (23.5, 24.0)), (4 * MOVED_BEAM_PX, (23.0, 24.0))]
)
def test_a_vacuum_pattern_has_the_better_disc_unless_the_beam_moved(moved_px, center):
    """A specimen blurs and dents the disc on the mean pattern."""
    vacuum = disc((23.0 + moved_px, 24.0), 11.0)
    found = calibrate_detector(header(KNOWN, vacuum_pattern=vacuum), disc())
    np.testing.assert_allclose(found.get("beam_center_px"), center, atol=0.15)
    assert found.get("disc_radius_px") == pytest.approx(11.0, abs=0.15)


def test_earlier_estimates_stay_until_a_value_is_given():
    previous = Calibration(
        {
            "rotation_deg": Quantity(5.0, Origin.ESTIMATED),
            "C10": Quantity(30.0, Origin.ESTIMATED),
            "detector_pixel_mrad": Quantity(1.0, Origin.GIVEN),
            "rival_orientations": Quantity((1.0, 2.0, 3.0), Origin.ESTIMATED),
        }
    )
    found = with_given_values(header({**KNOWN, "C10": -50.0}), disc(), previous)
    assert (found.get("rotation_deg"), found.get("C10")) == (5.0, -50.0)
    assert found.get("detector_pixel_mrad") is None, "it is no longer given"
    assert found.rivals == ()
    assert with_given_values(header(KNOWN), disc(), previous).get("C10") == 30.0, "a default does not replace it"
