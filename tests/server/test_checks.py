"""Findings before a refinement: what is fine, what is doubtful, what is hopeless, and what cannot be known."""

from dataclasses import replace
from typing import Any

import pytest

from ptylive.schema import Arm, Calibration, Origin, Quantity
from ptylive.schema.detector import Detector
from ptylive.schema.metadata import overlay
from ptylive.schema.preset import Preset
from ptylive.schema.scan import Scan
from ptylive.server.checks import Checked

OPTICS = {"energy_eV": 80e3, "convergence_semiangle_mrad": 25.0}


def checked(step_A: float = 0.4, available: int = 10**10, preset: dict[str, Any] | None = None, **values: Any) -> dict:
    arm = overlay(Arm(uid="", series="", frames=0, scan=Scan()), {"scan_step_A": step_A, "scan_shape": (64, 64)})
    arm = overlay(arm, OPTICS)
    arm = Arm(**{**vars(arm), "detector": arm.detector.model_copy(update={"shape": (128, 128)})})
    values = {**OPTICS, "detector_pixel_invA": 0.05, "C10": -50.0, "rotation_deg": 3.0, **values}
    entries = {name: Quantity(value, Origin.GIVEN) for name, value in values.items() if value is not None}
    looked = Checked(arm, Calibration(entries), Preset.from_mapping(preset or {}), 4096, available)
    return {check.name: check for check in looked.all()}


def test_full_pixels_are_said() -> None:
    arm = Arm("", "", 0, scan=Scan(), detector=Detector(shape=(8, 8), saturation_value=4095))
    looked = Checked(arm, Calibration(), Preset(), 4096, 10**10)
    assert looked.saturation().text == "no pixel reached 4095 counts"
    found = replace(looked, saturated=3).saturation()
    assert (found.state, found.text) == ("warn", "pixels of 3 frames are full (4095 counts)")
    assert checked()["saturation"].state == "unknown"


@pytest.mark.parametrize(("step", "state"), [(0.4, "ok"), (2.7, "warn"), (10.0, "bad")])
def test_overlap(step: float, state: str) -> None:
    assert checked(step)["overlap"].state == state


@pytest.mark.parametrize(("c10", "state"), [(-50.0, "ok"), (-300.0, "warn"), (2000.0, "bad")])
def test_the_window_holds_the_probe(c10: float, state: str) -> None:
    assert checked(C10=c10)["sampling"].state == state


def test_what_is_not_known_is_said() -> None:
    found = checked(detector_pixel_invA=None, C10=None, rotation_deg=None, energy_eV=None)
    assert found["sampling"].state == found["overlap"].state == "unknown"
    assert found["defocus"].text == "not known: 0 is assumed"
    assert found["rotation"].state == "warn"


def test_memory_and_time() -> None:
    assert checked()["memory"].state == "ok"
    assert checked(available=10**8)["memory"].state == "bad"
    long = {"num_slices": 40, "total_thickness_A": 200, "epoch_max": 500, "probe_modes": 8}
    assert checked(preset=long)["time"].state == "warn"
    assert checked()["time"].text.endswith("on the processor")
