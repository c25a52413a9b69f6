"""Gain of a refined scan's loss by the strain of a drift."""

import numpy as np
import pytest

from ptylive.engine.refine.data.drift import Drift, without_drift
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.run.again.strain_score import StrainedScan, StrainScore, without_even
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.schema.preset import Preset

PRESET = Preset(
    num_slices=1, probe_modes=1, source_size_A=0.0, focal_spread_A=0.0, refine_drift=False, non_negative_phase=False
)
DRIFT_A = (0.6, -0.4)


def drift(drift_A=DRIFT_A):
    return Drift(
        drift_A, (0.5, 0.5), 60.0, 0.0, True, "drift Å along slow and fast axis: not significant, not corrected", 1.5
    )


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
    return StrainedScan(problem, vector, PRESET, TrialContext("cpu"), Lattice.of(problem.measured.dataset))


@pytest.fixture(scope="module")
def nominal(moving):
    """Positions with their drift left in, and the true object strained like them, as a refinement would make it."""
    matrix = scan_of(moving).drifting(drift())
    return scan_of(moving, matrix)


def test_a_drift_that_was_there_gains_beyond_doubt_and_its_opposite_loses_as_much(nominal):
    seen, opposite = nominal.score(drift()), nominal.score(drift((0.6 * -1, 0.4)))
    assert seen.deviations > 3 and seen.gain > 10 * seen.deviation
    assert opposite.deviations == pytest.approx(-seen.deviations, rel=1e-6)


def test_a_turn_counts_where_the_rotation_was_stated_only(nominal, monkeypatch):
    """A drift along the fast axis is a shear; half of it is a rotation, which maps include in the scan rotation."""
    asked = []
    monkeypatch.setattr(nominal, "falls", lambda strain: asked.append(strain) or np.arange(4.0))
    across = drift((0.0, 0.5))
    nominal.score(across)
    nominal.score(across, turned=False)
    as_it_is, _, symmetric, _ = asked
    assert abs(as_it_is[0, 1] - as_it_is[1, 0]) > 0.5 * np.abs(as_it_is).max()
    np.testing.assert_allclose(symmetric, (as_it_is + as_it_is.T) / 2)


def test_little_is_gained_once_it_has_been_taken_out(moving, nominal):
    """With so few counts the true object is not exactly at the minimum."""
    still = scan_of(moving, dataset=without_drift(moving.dataset, drift())).score(drift())
    assert abs(still.gain) < 0.4 * nominal.score(drift()).gain


def test_the_object_is_moved_with_the_positions(moving):
    """For the strained scan, the object becomes the true one again once the positions do."""
    scan = scan_of(moving, scan_of(moving).drifting(drift()))
    matrix = scan.drifting(drift())
    found = prepare(without_drift(moving.dataset, drift()), PRESET, None)
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
    moved = StrainedScan(problem, vector, preset, TrialContext("cpu"), Lattice.of(problem.measured.dataset)).on(
        problem, np.eye(2) * 1.01
    )
    assert problem.layout.object_block(moved).min() >= 0


def test_a_refined_thickness_stays(moving):
    thick = {"num_slices": 2, "total_thickness_A": 20.0, "update_thickness": True, "phase_only_obj": True}
    preset = PRESET.model_copy(update=thick)
    problem = prepare(moving.dataset, preset, None)
    vector = problem.start.copy()
    problem.layout.other_blocks(vector)[BlockName.THICKNESS][...] = 26.0
    scan = StrainedScan(problem, vector, preset, TrialContext("cpu"), Lattice.of(problem.measured.dataset))
    assert problem.layout.other_blocks(scan.on(problem, np.eye(2)))[BlockName.THICKNESS] == 26.0


def test_a_strain_without_its_even_stretch():
    left = without_even(np.array([[0.03, 0.01], [-0.02, 0.01]]))
    np.testing.assert_allclose(left, [[0.01, 0.01], [-0.02, -0.01]])


def test_what_leaks_from_an_even_stretch_is_taken_off_and_a_part_of_it_is_uncertain():
    rng = np.random.default_rng(0)
    even, own = rng.normal(100, 10, 64), rng.normal(0, 1, 64)
    seen = StrainScore.of(0.4 * even + own, even)
    assert abs(seen.gain) < 0.05 * 0.4 * even.sum()
    assert seen.deviation < 1.2 * np.sqrt(64)
    assert abs(seen.deviations) < 0.5
    assert StrainScore(5.0, 1.0, 0.0).deviations == 5.0
    assert StrainScore(5.0, 0.0, 20.0).deviations == 2.0
    assert StrainScore(0.0, 0.0, 0.0).deviations == 0.0


@pytest.mark.parametrize(("share", "taken"), [(0.15, False), (0.6, True)])
def test_a_correlation_that_may_be_chance_takes_nothing_off(share, taken):
    turn = 2 * np.pi * np.arange(64) / 64
    even = 100 + 10 * np.cos(turn)
    seen = StrainScore.of(1 + share * np.cos(turn) + np.sin(turn), even)
    assert seen.gain == pytest.approx(64 - (64 * 100 * share / 10 if taken else 0))
