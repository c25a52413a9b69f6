"""The reference loop with a simulated microscope, from random starts."""

import importlib.util
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.advice import Verdict
from ptylive.schema.advice.limits import quarter_pi_limit_A
from ptylive.schema.units import wavelength_A
from ptylive.simulators.microscope import SimulatedMicroscope

PATH = Path(__file__).resolve().parents[3] / "docs" / "examples" / "focus_loop.py"
SEED = int(os.environ.get("PTYLIVE_FOCUS_SEED", "1"))
DEFOCUS_A, ASTIGMATISM_A = 300.0, 80.0
WITHIN_A = (10.0, 5.0)
"""Target for defocus and astigmatism, in three scans of 1000 electrons per pattern."""
SMALL = {
    "specimen": "monolayer",
    "material": None,
    "coverage": None,
    "energy_eV": 80e3,
    "convergence_semiangle_mrad": 25.0,
    "scan_shape": (32, 32),
    "detector_pixel_mrad": None,
}
"""A scan of seconds; at its energy and semi-angle 16.7 Å shift the phase by pi/4, and less does not matter."""


@pytest.fixture(scope="module")
def loop():
    spec = importlib.util.spec_from_file_location("focus_loop", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["focus_loop"] = module  # where dataclasses look up its types
    spec.loader.exec_module(module)
    return module


def random_start(loop, number, **settings):
    """A microscope out of focus, and the delay of its corrections, s; prints the seed."""
    rng = np.random.default_rng([SEED, number])
    print(f"seed {SEED}, start {number}")
    angle = rng.uniform(0, 2 * math.pi)
    state = {
        "C10": DEFOCUS_A * rng.choice([-1, 1]),
        "C12a": ASTIGMATISM_A * math.cos(angle),
        "C12b": ASTIGMATISM_A * math.sin(angle),
    }
    delay_s = rng.uniform(0.0, 20.0)
    made = SimulatedMicroscope(
        state, {**loop.SCAN, **settings}, gain=rng.uniform(0.85, 1.0), delay_s=delay_s, seed=1000 * (number + 1)
    )
    return made, delay_s


def left(microscope):
    """Defocus and astigmatism, Å."""
    state = microscope.aberrations
    return abs(state["C10"]), math.hypot(state["C12a"], state["C12b"])


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_from_a_random_start_it_converges_in_three_scans(loop, number):
    microscope, delay_s = random_start(loop, number)
    outcome = loop.close_loop(microscope, most_scans=3, settle_s=delay_s)
    print(outcome.words, left(microscope), *(step.line for step in outcome.steps), sep="\n")
    assert microscope.scans <= 3
    assert all(one <= within for one, within in zip(left(microscope), WITHIN_A, strict=True)), outcome


@pytest.mark.slow
@pytest.mark.parametrize("number", range(2))
def test_a_small_scan_comes_to_where_what_is_left_does_not_matter(loop, number):
    microscope, delay_s = random_start(loop, number, **SMALL)
    outcome = loop.close_loop(microscope, most_scans=3, settle_s=delay_s)
    limits = (quarter_pi_limit_A(name, wavelength_A(80e3), 25.0) for name in ("C10", "C12"))
    assert all(one <= limit for one, limit in zip(left(microscope), limits, strict=True)), outcome


@pytest.mark.slow
def test_a_specimen_without_signal_ends_with_cannot_tell(loop):
    microscope, delay_s = random_start(loop, 0, **{**SMALL, "specimen": "vacuum", "scan_shape": (24, 24)})
    before = dict(microscope.aberrations)
    outcome = loop.close_loop(microscope, settle_s=delay_s)
    assert outcome.words == str(Verdict.CANNOT_TELL)
    assert (outcome.corrections, microscope.scans) == (0, 1)
    assert microscope.aberrations == before


class Script:
    """A microscope whose scans are empty, for loops that are told which values to read from them."""

    def __init__(self):
        self.done = []

    def scan(self):
        return np.zeros((2, 2, 4, 4), np.uint16), {}

    def correct(self, changes):
        self.done.append(dict(changes))

    def wait(self, seconds):
        self.done.append(seconds)


def test_it_corrects_waits_and_stops_by_itself(loop, monkeypatch):
    said = iter([(-300.0, 10.0), (-25.0, 10.0), (-8.0, 10.0), (-99.0, 1.0)])

    def reconstruct(_methods):
        value, doubt = next(said)
        values = {"C10": value, "C12a": 0.0, "C12b": 0.0}
        found = {name: Quantity(one, Origin.ESTIMATED, doubt) for name, one in values.items()}
        return SimpleNamespace(calibration=Calibration(found))

    monkeypatch.setattr(loop.ptylive, "open_scan", lambda *_a, **_k: SimpleNamespace(reconstruct=reconstruct))
    script = Script()
    outcome = loop.close_loop(script, most_scans=5, settle_s=2.0)
    assert script.done == [{"C10": 300.0}, 2.0, {"C10": 25.0}, 2.0]
    assert (outcome.words, outcome.corrections, len(outcome.steps)) == ("nothing to correct", 2, 3)
    assert loop.close_loop(Script(), most_scans=1).words == "corrected after each of 1 scans"
