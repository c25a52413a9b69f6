"""The half turn of a scan whose defocus is given and whose rotation is not."""

from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.calibrate import scan
from ptylive.engine.calibrate.rotation import RotationFit
from ptylive.engine.calibrate.sign import Agreement
from ptylive.schema import Origin, Quantity

WIDTH_A = 20.0
ATOMS, LATTICE, CHANCE = Agreement(0.5), Agreement(0.5, opposite=0.5), Agreement(0.05)
"""Agreements of the phase of the centre of mass with the dark field."""


class InFocusAt:
    """A weak phase object; ``c10_A`` is in focus under rotation 0, its opposite under the other half turn."""

    def __init__(self, c10_A):
        self.c10_A = c10_A

    def explained_energy(self, values):
        sign = 1.0 if np.cos(values[3]) > 0 else -1.0
        return float(np.exp(-(((sign * values[0] - self.c10_A) / WIDTH_A) ** 2)))


def rotation_after(monkeypatch, entrance_A, focus_A, sign=ATOMS):
    """Rotation and initial depth for a scan whose dark field indicates rotation 0."""
    best = SimpleNamespace(aberrations={"C10": -focus_A})  # of the turned half
    monkeypatch.setattr(scan, "fit_near", lambda criteria, search, start: best)
    curl = RotationFit(0.0, transposed=False, curl=0.05, curl_other=0.4, sign=sign)
    origin = Origin.ESTIMATED if curl.sign_trusted else Origin.UNDECIDED
    given = {"C10": Quantity(entrance_A, Origin.GIVEN), "rotation_deg": Quantity(0.0, origin, 1.0)}
    work = scan._Work(given, None)
    work._turn_to_defocus(InFocusAt(focus_A), None, curl)
    return work.value("rotation_deg", None), work.value("depth_A", 0.0)


@pytest.mark.parametrize("below", [True, False])
def test_a_depth_that_frequencies_do_not_bear_out_is_none(monkeypatch, below):
    """A graphene sheet given a depth of 26 ± 6 Å was refined with a probe as far out of focus: 0.948 became 0.896."""
    found = SimpleNamespace(aberrations={"C10": -50.0}, uncertainty_A=6.0, low=np.array([-50.0, 0.0, 0.0, 0.0]))
    monkeypatch.setattr(scan, "fit_near", lambda criteria, search, start: found)
    monkeypatch.setattr(scan, "is_below", lambda criteria, low, depth: below)
    work = scan._Work({"C10": Quantity(-80.0, Origin.GIVEN), "rotation_deg": Quantity(0.0, Origin.GIVEN)}, None)
    work._find_depth(None, SimpleNamespace(c12_A=None))
    assert work.value("depth_A", None) == (30.0 if below else 0.0)
    assert work.entries["depth_A"].origin is (Origin.ESTIMATED if below else Origin.DEFAULT)


@pytest.mark.parametrize("sign", [ATOMS, LATTICE])
def test_depth_explains_what_the_dark_field_says(monkeypatch, sign):
    """147 Å of SrTiO3, entrance at -37 Å; in focus at 25 Å, or under the other half turn at -25 Å, nearer to -37."""
    assert rotation_after(monkeypatch, -37.0, 25.0, sign) == (0.0, 62.0)


@pytest.mark.parametrize(
    ("entrance_A", "focus_A", "sign"),
    [
        (100.0, -130.0, ATOMS),  # in focus above the entrance, where there is no specimen
        (-150.0, 150.0, ATOMS),  # 600 Å thick
        (-37.0, 25.0, CHANCE),  # the dark field is undecided
    ],
)
def test_else_the_defocus_decides(monkeypatch, entrance_A, focus_A, sign):
    assert rotation_after(monkeypatch, entrance_A, focus_A, sign) == (180.0, 0.0)


def test_what_the_defocus_does_not_contradict_stays(monkeypatch):
    assert rotation_after(monkeypatch, -37.0, -30.0) == (0.0, 0.0)
