"""Slopes of a refined scan's loss in strains of its positions and object."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine.data.drift import Drift, without_drift
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.prepare import lay_out, prepare
from ptylive.engine.refine.run.again.scan_strains import ScanStrains
from ptylive.engine.refine.run.again.strained_scan import (
    EVEN,
    FEW_GROUPS,
    NOISE,
    SHOWN,
    UNSURE,
    Direction,
    Slopes,
    StrainedScan,
)
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

PRESET = Preset(
    num_slices=1, probe_modes=1, source_size_A=0.0, focal_spread_A=0.0, refine_drift=False, non_negative_phase=False
)
STILL = EVEN.times(0)
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
    return frame_of(moving).directions


def test_slopes_lead_towards_the_drift_along_both_axes(nominal, strains):
    slopes = nominal.slopes(strains)
    deviations = slopes.falls / np.sqrt(np.diag(slopes.covariance))
    assert deviations[0] > 3 and deviations[1] < -3
    assert slopes.chi_squared > 20


def test_a_slope_is_per_unit_of_its_strain_and_changes_its_sign_with_it(nominal, strains):
    once, other = nominal.slopes(strains[:1]), nominal.slopes([strains[0].times(-2)])
    assert other.falls == pytest.approx(-2 * once.falls, rel=1e-4)
    assert other.covariance == pytest.approx(4 * once.covariance, rel=1e-4)


def test_a_curvature_is_that_of_a_parabola_and_positive_at_a_minimum(nominal, strains):
    (once,), (twice,) = nominal.curvatures(strains[:1]), nominal.curvatures([strains[0].times(2)])
    assert once > 0 and twice == pytest.approx(4 * once, rel=1e-3)


def test_no_loss_is_computed_twice(moving, strains, monkeypatch):
    scan, evaluated = scan_of(moving), []
    evaluate = StrainedScan._evaluated
    monkeypatch.setattr(
        StrainedScan, "_evaluated", lambda self, each: (evaluated.append(each), evaluate(self, each))[1]
    )
    scan.with_even(scan.slopes(strains), strains)
    scan.curvatures(strains)
    assert len(evaluated) == 2 * len(strains) + 2 + 1, "both sides of every strain and of an even stretch, and none"


def test_little_slope_is_left_once_the_drift_has_been_taken_out(moving, nominal, strains):
    """With so few counts the true object is not exactly at the minimum."""
    still = scan_of(moving, dataset=without_drift(moving.dataset, DRIFT)).slopes(strains)
    assert np.hypot(*still.falls) < 0.4 * np.hypot(*nominal.slopes(strains).falls)


def test_a_scan_that_is_stretched_evenly_makes_its_slopes_less_certain(moving, strains):
    stretched = scan_of(moving, 1.01 * np.eye(2), without_drift(moving.dataset, DRIFT))
    plain = stretched.slopes(strains)
    doubted = stretched.with_even(plain, strains)
    assert plain.doubt == 1 and doubted.even > 3
    assert doubted.doubt == pytest.approx(np.hypot(1, UNSURE * doubted.even))
    np.testing.assert_array_equal(doubted.falls, plain.falls)


def test_the_object_is_moved_with_the_positions(moving):
    """For the strained scan, the object becomes the true one again once the positions do."""
    matrix = matrix_of(moving)
    scan = scan_of(moving, matrix)
    found = prepare(without_drift(moving.dataset, DRIFT), PRESET, None)
    moved = found.layout.object_block(scan.on(found, Direction(matrix - np.eye(2)))).reshape(found.grid.shape)
    true = found.layout.object_block(with_object(found, moving.specimen, np.eye(2))).reshape(found.grid.shape)
    inside = np.s_[8:-8, 8:-8]
    assert np.abs(moved - true)[inside].max() < 0.02
    unmoved = found.layout.object_block(scan.on(found, STILL)).reshape(found.grid.shape)
    assert np.abs(unmoved - true)[inside].max() > 0.05


def test_bounds_hold_on_the_moved_object(moving):
    problem = prepare(moving.dataset, PRESET.model_copy(update={"non_negative_phase": True}), None)
    vector = with_object(problem, moving.specimen, np.eye(2))
    preset = PRESET.model_copy(update={"non_negative_phase": True})
    moved = StrainedScan(problem, vector, preset, TrialContext("cpu")).on(problem, EVEN.times(0.01))
    assert problem.layout.object_block(moved).min() >= 0


def test_an_aberration_changes_the_probe_and_nothing_else(moving):
    problem = prepare(moving.dataset, PRESET, None)
    vector = with_object(problem, moving.specimen, np.eye(2))
    changes_A = {"C10": 9.0, "C12b": -4.0}
    found = StrainedScan(problem, vector, PRESET, TrialContext("cpu")).on(
        problem, Direction(np.zeros((2, 2)), changes_A)
    )
    measured = replace(problem.measured, probe=problem.measured.probe.with_added(changes_A))
    other = lay_out(measured, problem.strategy, PRESET, None)
    expected = other.layout.probe_block(other.start)
    np.testing.assert_allclose(problem.layout.probe_block(found), expected, atol=1e-5 * np.abs(expected).max())
    assert np.abs(problem.layout.probe_block(vector) - expected).max() > 0.1 * np.abs(expected).max()
    inside = np.s_[8:-8, 8:-8]
    for_object = [problem.layout.object_block(each).reshape(problem.grid.shape)[inside] for each in (found, vector)]
    np.testing.assert_allclose(*for_object, atol=1e-5)


def test_a_wrong_defocus_has_a_slope_towards_the_true_one(moving):
    dataset = without_drift(moving.dataset, DRIFT)
    wrong = replace(dataset, calibration=dataset.calibration.having(C10=off(dataset, 12.0)))
    true, wrong = scan_of(moving, dataset=dataset), scan_of(moving, dataset=wrong)
    defocus = [Direction.of_optics("C10")]
    towards = wrong.slopes(defocus)
    assert towards.optics == 1 and towards.falls[0] < -5 * np.sqrt(towards.covariance[0, 0])
    assert abs(true.slopes(defocus).falls[0]) < 0.3 * abs(towards.falls[0])
    assert wrong.slopes([defocus[0].times(-3)]).falls == pytest.approx(-3 * towards.falls, rel=1e-4)
    assert wrong.curvatures(defocus)[0] > 0


def test_a_strain_that_astigmatism_explains_as_well_shows_nothing():
    """Slopes in proportion to what both have in common are those of the aberration alone."""
    covariance = np.array([[4.0, 0.0, 1.6], [0.0, 1.0, 0.0], [1.6, 0.0, 1.0]])
    explained = Slopes(np.array([16.0, 0.0, 10.0]), covariance, optics=1)
    assert explained.strains == 2
    assert explained.chi_squared == pytest.approx(0.0)
    np.testing.assert_allclose(explained.beyond_optics.covariance, np.diag([4.0 - 1.6**2, 1.0]))
    hidden = Slopes(np.array([2.0, 0.0, -5.0]), covariance, optics=1)
    assert hidden.chi_squared == pytest.approx(10.0**2 / (4.0 - 1.6**2)), "each hides the other"
    assert hidden.chi_squared > Slopes(hidden.falls[:2], covariance[:2, :2]).chi_squared
    fall, deviation = hidden.along(np.array([0.5, 0.0, 7.0]))
    assert (fall, deviation) == pytest.approx((5.0, 0.5 * np.sqrt(4.0 - 1.6**2)))
    assert np.isnan(Slopes(np.array([np.nan, 0.0, 1.0]), covariance, optics=1).chi_squared)


def test_large_slopes_of_optics_show_no_strain_by_chance():
    """What optics and strains have in common is known as well as groups show it; a wrong defocus multiplies the error.

    No strain: the slopes of one aberration, 32 standard deviations from zero, go through the origin with those of two
    strains. Their chi-squared then follows Hotelling's law of 126 degrees of freedom, mean 2.03.
    """
    rng, found = np.random.default_rng(5), []
    for _ in range(300):
        scatter = rng.normal(size=(3, 128))
        of_optics = scatter[2] + 32 / np.sqrt(128)
        found.append(Slopes.of(np.stack([scatter[0] + of_optics, scatter[1], of_optics]), optics=1).chi_squared)
    assert np.mean(found) == pytest.approx(2.03, abs=4 * np.std(found) / np.sqrt(len(found)))
    assert np.mean(np.array(found) > 15) < 0.01


def test_a_strain_that_optics_explain_up_to_rounding_shows_nothing():
    """What is left of its variance may be below 0, of which a root would end a run that has finished."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        strain, other = rng.normal(size=(2, 128))
        slopes = Slopes.of(np.array([strain, other, 7.3 * strain + 1e-8 * other]), optics=1)
        _, deviation = slopes.along(np.array([1.0, 0.0, 0.0]))
        assert 0 <= deviation < 1e-4
        assert slopes.chi_squared >= 0


def test_doubt_is_of_what_an_even_stretch_gains_beyond_the_optics(moving, strains):
    """A wrong defocus looks like an even stretch unless it is a parameter of its own."""
    dataset = without_drift(moving.dataset, DRIFT)
    scan = scan_of(moving, dataset=replace(dataset, calibration=dataset.calibration.having(C10=off(dataset, 12.0))))
    plain = scan.slopes(strains)
    alone = scan.with_even(plain, strains).even
    assert scan.with_even(plain, [*strains, Direction.of_optics("C10")]).even < 0.5 * alone


def off(dataset, by_A):
    """A defocus that is wrong."""
    return Quantity(dataset.calibration.aberrations["C10"] + by_A, Origin.GIVEN)


def test_a_refined_thickness_stays(moving):
    thick = {"num_slices": 2, "total_thickness_A": 20.0, "update_thickness": True, "phase_only_obj": True}
    preset = PRESET.model_copy(update=thick)
    problem = prepare(moving.dataset, preset, None)
    vector = problem.start.copy()
    problem.layout.other_blocks(vector)[BlockName.THICKNESS][...] = 26.0
    scan = StrainedScan(problem, vector, preset, TrialContext("cpu"))
    assert problem.layout.other_blocks(scan.on(problem, STILL))[BlockName.THICKNESS] == 26.0


def test_scatter_is_that_of_single_patterns_unless_each_group_needs_a_gradient(moving, strains, monkeypatch):
    patterns = len(moving.dataset.patterns)
    single = scan_of(moving).slopes(strains)
    assert single.groups == patterns > FEW_GROUPS
    monkeypatch.setattr(Objective, "has_pattern_losses", False)
    few = scan_of(moving).slopes(strains)
    assert few.groups == FEW_GROUPS
    np.testing.assert_allclose(few.falls, single.falls, rtol=1e-3)
    np.testing.assert_allclose(np.diag(few.covariance), np.diag(single.covariance), rtol=0.5)  # sd 13 % by 128 groups


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
