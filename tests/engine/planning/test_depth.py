"""Depth: compared with the wave on the axis, and with what refinements choose."""

import math

import numpy as np
import pytest
from planning import LAMBDA_A, experiment

from ptylive.engine.planning.depth import FULL_WIDTH, depth_of_field_A, ptychographic_depth_A, slices_for_plan
from ptylive.engine.planning.figure import Verdict
from ptylive.engine.planning.plan import Plan
from ptylive.engine.probe import Probe
from ptylive.engine.refine.tuning.depth.depth_trials import SLICES_PER_DEPTH


def test_the_depth_of_field_is_the_width_of_the_probe_s_own_intensity_on_the_axis():
    """abTEM 1.0.11 gives 161.9 Å (steps of 4 Å, 512 pixels), compared with 161.6 Å here."""
    k = np.sqrt((np.arange(4000) + 0.5) / 4000) * 21.4e-3 / LAMBDA_A  # rings of equal area
    half_A = depth_of_field_A(LAMBDA_A, 21.4) / 2
    on_axis = [
        abs(Probe.of(LAMBDA_A, 21.4, 1e-6, {"C10": z}).wave(k, 0 * k).mean()) ** 2 for z in (0.0, half_A, -half_A)
    ]
    # FULL_WIDTH has four digits: off by 2e-4, times the slope there
    assert on_axis[1] / on_axis[0] == pytest.approx(0.5, abs=4e-4)
    assert on_axis[2] == pytest.approx(on_axis[1])
    assert depth_of_field_A(LAMBDA_A, 21.4) == pytest.approx(161.9, abs=4.0)


def test_the_full_width_is_that_of_a_squared_sinc():
    u = FULL_WIDTH / 4
    assert (math.sin(math.pi * u) / (math.pi * u)) ** 2 == pytest.approx(0.5, abs=4e-4)


def test_the_detector_s_limit_is_where_ewald_s_sphere_leaves_its_plane():
    edge = 102.4e-3
    sagitta = (1 - math.sqrt(1 - edge**2)) / LAMBDA_A  # on a sphere of radius 1 / lambda
    found = ptychographic_depth_A(LAMBDA_A, 102.4)
    assert found == pytest.approx(1 / (2 * sagitta), rel=edge**2)  # small angles: the next term of the root
    assert ptychographic_depth_A(LAMBDA_A, 0.0) == math.inf


@pytest.mark.parametrize(("thickness_A", "slices"), [(None, 1), (20.0, 1), (30.0, 2), (91.2, 4), (200.0, 7)])
def test_slices_are_those_that_a_refinement_takes(thickness_A, slices):
    """The depth of focus is 91.18 Å: three slices in each, and a single one below a quarter of it."""
    assert slices_for_plan(experiment(thickness_A=thickness_A)) == slices
    assert SLICES_PER_DEPTH == 3


def test_verdicts_on_the_thickness():
    assert Plan.of(experiment())["slices"].text == "7 of 28.6 Å"
    assert Plan.of(experiment(thickness_A=2500.0))["slices"].verdict is Verdict.QUESTIONED
    many = Plan.of(experiment(thickness_A=1e5, convergence_semiangle_mrad=60.0))["slices"]
    assert (many.verdict, "at most" in many.remedy) == (Verdict.BAD, True)
    assert Plan.of(experiment(thickness_A=None))["slices"].remedy == "give thickness_A"
