"""Slopes of a refined scan's loss in strains of its positions and object."""

import numpy as np
import pytest

from ptylive.engine.refine.data.drift import Drift, without_drift
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.run.again.scan_strains import ScanStrains
from ptylive.engine.refine.run.again.strained_scan import NOISE, SHOWN, UNSURE, Slopes, StrainedScan
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.schema.preset import Preset

PRESET = Preset(
    num_slices=1, probe_modes=1, source_size_A=0.0, focal_spread_A=0.0, refine_drift=False, non_negative_phase=False
)
DRIFT = Drift((0.6, -0.4), (0.5, 0.5), 60.0, 0.0, True, "drift Å along slow and fast axis: corrected", 1.5)


def with_object(problem, specimen, back):
    """The start of a problem with the true phase at ``back`` (2, 2) times each place, about the middle of the scan."""
    rows, columns = problem.grid.shape
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    places = np.stack([y, x], -1) * problem.grid.pixel_A + problem.grid.origin_A
    centre = problem.positions_A.mean(axis=0)
    places = centre + (places - centre) @ back.T
    vector = problem.start.copy()
    problem.layout.object_block(vector)[...] = specimen.phase(places[..., 0], places[..., 1]).ravel()
    return vector


def scan_of(simulated, back=None, dataset=None):
    problem = prepare(simulated.dataset if dataset is None else dataset, PRESET, None)
    vector = with_object(problem, simulated.specimen, np.eye(2) if back is None else back)
    return StrainedScan(problem, vector, PRESET, TrialContext("cpu"))


def frame_of(simulated):
    return ScanStrains(Lattice.of(simulated.dataset), turns=False)


def matrix_of(simulated):
    """What multiplies nominal positions about their middle when the drift is removed."""
    lattice = Lattice.of(simulated.dataset)
    strain = np.zeros((2, 2))
    strain[:, 0] = np.asarray(DRIFT.drift_A) / lattice.lengths_A[0]
    return np.eye(2) + lattice.axes @ strain @ np.linalg.inv(lattice.axes)


@pytest.fixture(scope="module")
def nominal(moving):
    """Positions with their drift left in, and the true object strained like them, as a refinement would make it."""
    return scan_of(moving, matrix_of(moving))


@pytest.fixture(scope="module")
def strains(moving):
    return frame_of(moving).strains


def test_slopes_lead_towards_the_drift_along_both_axes(nominal, strains):
    slopes = nominal.slopes(strains)
    deviations = slopes.falls / np.sqrt(np.diag(slopes.covariance))
    assert deviations[0] > 3 and deviations[1] < -3
    assert slopes.chi_squared > 20


def test_a_slope_is_per_unit_of_its_strain_and_changes_its_sign_with_it(nominal, strains):
    once, other = nominal.slopes(strains[:1]), nominal.slopes([-2 * strains[0]])
    assert other.falls == pytest.approx(-2 * once.falls, rel=1e-4)
    assert other.covariance == pytest.approx(4 * once.covariance, rel=1e-4)


def test_a_curvature_is_that_of_a_parabola_and_positive_at_a_minimum(nominal, strains):
    (once,), (twice,) = nominal.curvatures(strains[:1]), nominal.curvatures([2 * strains[0]])
    assert once > 0 and twice == pytest.approx(4 * once, rel=1e-3)


def test_little_slope_is_left_once_the_drift_has_been_taken_out(moving, nominal, strains):
    """With so few counts the true object is not exactly at the minimum."""
    still = scan_of(moving, dataset=without_drift(moving.dataset, DRIFT)).slopes(strains)
    assert np.hypot(*still.falls) < 0.4 * np.hypot(*nominal.slopes(strains).falls)


def test_a_scan_that_is_stretched_evenly_makes_its_slopes_less_certain(moving, strains):
    stretched = scan_of(moving, 1.01 * np.eye(2), without_drift(moving.dataset, DRIFT))
    plain = stretched.slopes(strains)
    doubted = stretched.with_even(plain)
    assert plain.doubt == 1 and doubted.even > 3
    assert doubted.doubt == pytest.approx(np.hypot(1, UNSURE * doubted.even))
    np.testing.assert_array_equal(doubted.falls, plain.falls)


def test_the_object_is_moved_with_the_positions(moving):
    """For the strained scan, the object becomes the true one again once the positions do."""
    matrix = matrix_of(moving)
    scan = scan_of(moving, matrix)
    found = prepare(without_drift(moving.dataset, DRIFT), PRESET, None)
    moved = found.layout.object_block(scan.on(found, matrix)).reshape(found.grid.shape)
    true = found.layout.object_block(with_object(found, moving.specimen, np.eye(2))).reshape(found.grid.shape)
    inside = np.s_[8:-8, 8:-8]
    assert np.abs(moved - true)[inside].max() < 0.02
    unmoved = found.layout.object_block(scan.on(found, np.eye(2))).reshape(found.grid.shape)
    assert np.abs(unmoved - true)[inside].max() > 0.05


def test_bounds_hold_on_the_moved_object(moving):
    problem = prepare(moving.dataset, PRESET.model_copy(update={"non_negative_phase": True}), None)
    vector = with_object(problem, moving.specimen, np.eye(2))
    preset = PRESET.model_copy(update={"non_negative_phase": True})
    moved = StrainedScan(problem, vector, preset, TrialContext("cpu")).on(problem, np.eye(2) * 1.01)
    assert problem.layout.object_block(moved).min() >= 0


def test_a_refined_thickness_stays(moving):
    thick = {"num_slices": 2, "total_thickness_A": 20.0, "update_thickness": True, "phase_only_obj": True}
    preset = PRESET.model_copy(update=thick)
    problem = prepare(moving.dataset, preset, None)
    vector = problem.start.copy()
    problem.layout.other_blocks(vector)[BlockName.THICKNESS][...] = 26.0
    scan = StrainedScan(problem, vector, preset, TrialContext("cpu"))
    assert problem.layout.other_blocks(scan.on(problem, np.eye(2)))[BlockName.THICKNESS] == 26.0


def test_slopes_of_several_strains_and_their_scatter_between_groups():
    rng = np.random.default_rng(0)
    falls = np.array([[1.0], [-2.0]]) + rng.multivariate_normal([0, 0], [[4, 1], [1, 1]], 2000).T
    slopes = Slopes.of(falls)
    np.testing.assert_allclose(slopes.falls, falls.sum(axis=1))
    np.testing.assert_allclose(slopes.covariance / 2000, [[4, 1], [1, 1]], atol=0.3)
    assert Slopes(np.array([3.0, 4.0]), np.diag([9.0, 4.0])).chi_squared == pytest.approx(5.0)
    assert Slopes(np.array([3.0, 4.0]), np.diag([9.0, 4.0]), 1 / UNSURE).along(np.array([2.0, -0.5])) == (
        pytest.approx(4.0),
        pytest.approx(np.sqrt(2 * (36 + 1))),
    )


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("even", [0.0, 1 / UNSURE])
def test_slopes_are_beyond_doubt_or_may_be_noise_by_their_number(number, even):
    """What the model lacks makes them less certain."""

    def slopes(chi_squared):
        return Slopes(np.sqrt(np.full(number, chi_squared / number)), np.eye(number), even)

    shown = number * SHOWN * (2.0 if even else 1.0)
    assert slopes(1.01 * shown).are_beyond_doubt and not slopes(0.99 * shown).are_beyond_doubt
    assert slopes(0.99 * number * NOISE).may_be_noise and not slopes(1.01 * number * NOISE).may_be_noise
