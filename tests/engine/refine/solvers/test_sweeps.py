"""Self-assessment of sweeps: which are undone, how long the steps are, when they end. No optics: losses are prescribed.

Steps are in single precision, so they are compared to 1e-6.
"""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.refine.solvers.objective import Evaluation
from ptylive.engine.refine.solvers.sweeps import FLAT, LEAST_SWEEPS, MOST_HALVINGS, STEEPEST, Sweeps, SweepState
from ptylive.engine.refine.tiles.cutting import cut

PATTERNS = 6


class ParameterLayout:
    """One slice of two parameters, two of the probe, one for each of two other quantities."""

    object_shape = (1, 1, 2)

    blocks = (
        SimpleNamespace(name="each", per_pattern=True, curvature=np.ones(1)),
        SimpleNamespace(name="shared", per_pattern=False, curvature=np.ones(1)),
    )

    @staticmethod
    def object_block(vector):
        return vector[:2]

    @staticmethod
    def probe_block(vector):
        return vector[2:4]

    @staticmethod
    def other_blocks(vector):
        return {"each": vector[4:5], "shared": vector[5:6]}


@dataclass(frozen=True)
class Told:
    """An objective with prescribed losses per pattern, one for each evaluation; gradient and curvature are 1."""

    of_batches: list = field(default_factory=list)
    held_losses: list = field(default_factory=list)
    ends: list = field(default_factory=list)
    """Losses at the ends of sweeps, starting with that of the start; 1 where none is given."""
    patterns: int = PATTERNS
    chosen: object = None
    move_object: bool = True
    move_probe: bool = True
    move_others: bool = True
    asked: list = field(default_factory=list)
    judged: list = field(default_factory=list)
    xp = np
    layout = ParameterLayout()

    def moving(self, *, move_object, move_others):
        return replace(self, move_object=move_object, move_others=move_others)

    def recorder(self, patterns):
        return None

    def is_finite(self, vector):
        return bool(np.isfinite(vector).all())

    def evaluate(self, vector, indices):
        self.asked.append(sorted(indices.tolist()))
        return Evaluation(len(indices) * self.of_batches.pop(0), np.ones_like(vector))

    def losses(self, vector, groups):
        self.judged.extend(sorted(group.tolist()) for group in groups)
        return [len(group) * self.held_losses.pop(0) for group in groups]

    def peak_curvature(self, vector, indices):
        return np.float64(1)

    def probe_curvature(self, patterns):
        return np.float32(1)

    def project(self, vector):
        return vector


class ToldSweeps(Sweeps):
    """Sweeps whose ends are assessed by prescribed losses."""

    def _judged(self, vector):
        return self.objective.ends.pop(0) if self.objective.ends else 1.0


def sweeps(told, **changes):
    return replace(ToldSweeps(told, 20, 0, PATTERNS, 1.0, 1.0, seed=0), **changes)


START = np.zeros(6, np.float32)


def test_a_sweep_that_ends_worse_is_undone_with_half_the_steps():
    solver = sweeps(Told([4.0, 3.0, 3.5, 2.0]))
    first = solver.step(solver.init(START))
    second = solver.step(first)
    undone = solver.step(second)
    assert (undone.losses, undone.halvings, undone.batch) == ((4.0, 3.0), 1, 0)
    np.testing.assert_array_equal(undone.vector, second.vector)
    again = solver.step(undone)
    assert again.losses == (4.0, 3.0, 2.0)
    np.testing.assert_allclose(again.vector - second.vector, 0.5 * (second.vector - first.vector), rtol=1e-6)


def test_a_rise_no_larger_than_the_moving_of_the_parameters_is_kept():
    solver = sweeps(Told([4.0, 4.001]))
    assert solver.step(solver.step(solver.init(START))).losses == (4.0, 4.001)


@pytest.mark.parametrize(("end", "kept"), [(0.9, 1), (1.004, 1), (1.006, 0), (float("nan"), 0)])
def test_the_first_sweep_is_judged_by_its_end(end, kept):
    """The mean over a sweep that began high does not show where the sweep ended."""
    solver = sweeps(Told([4.0], ends=[1.0, end]))
    state = solver.step(solver.init(START))
    assert (state.sweep, state.halvings) == (kept, 1 - kept)


def test_later_ends_are_compared_with_the_lowest():
    solver = sweeps(Told([4.0, 3.0, 2.0], ends=[1.0, 0.5, 0.502, 0.504]))
    state = solver.init(START)
    for _ in range(3):
        state = solver.step(state)
    assert (state.sweep, state.lowest, state.halvings) == (2, 0.5, 1)


def test_ends_are_judged_by_the_same_patterns():
    told = Told(held_losses=[1.0] * 2)
    solver = Sweeps(told, 20, 0, PATTERNS, 1.0, 1.0, seed=0, patterns=np.array([1, 2, 4]))
    assert solver._judged(START) == solver._judged(START) == 3.0
    assert told.judged == [[1, 2, 4]] * 2


@pytest.mark.parametrize("loss", [np.float32("nan"), np.float32("inf")])
def test_a_sweep_without_a_finite_loss_is_undone_also_where_its_batches_were_not_waited_for(loss):
    solver = sweeps(Told([loss] * 99))  # as returned by a device, not floats
    state = solver.step(solver.init(START))
    assert (state.losses, state.halvings) == ((), 1)
    np.testing.assert_array_equal(state.vector, START)
    for _ in range(MOST_HALVINGS):
        assert not solver.finished(state)
        state = solver.step(state)
    assert solver.finished(state)


def held(*losses, sweep=LEAST_SWEEPS, batch=0):
    return SweepState(START, sweep=sweep, batch=batch, held_losses=losses)


def test_sweeps_end_when_what_is_held_out_has_stopped_falling():
    solver = sweeps(Told(), held_out=np.array([0]))
    falls, flat = (1.0, 1.0 - 2 * FLAT), (1.0, 1.0 - 0.5 * FLAT)
    assert solver.finished(held(*flat))
    assert not solver.finished(held(*falls))
    assert not solver.finished(held(*flat, sweep=LEAST_SWEEPS - 1))
    assert not solver.finished(held(*flat, batch=1))
    assert not sweeps(Told()).finished(held(*flat))


def test_the_held_out_loss_is_that_after_each_sweep():
    solver = sweeps(Told([4.0, 3.0], [5.0, 4.5]), patterns=np.arange(1, PATTERNS), held_out=np.array([0]))
    state = solver.step(solver.step(solver.init(START)))
    assert state.held_losses == (5.0, 4.5)


def test_patterns_left_out_for_judging_are_never_swept_over():
    kept, chosen = np.array([0, 1, 2, 3]), np.array([2, 3, 4])
    told = Told([1.0, 1.0, 1.0], chosen=chosen)
    solver = sweeps(told, patterns=kept)
    solver.step(solver.init(START))
    assert told.asked == [[2, 3]]
    assert sweeps(told).swept is chosen
    assert sweeps(replace(told, chosen=None), patterns=kept).swept is kept
    nothing_in_common = sweeps(replace(told, chosen=np.array([5])), patterns=kept)
    assert nothing_in_common.swept.tolist() == [5]


def test_a_batch_moves_what_is_common_to_all_patterns_by_its_share():
    """Each batch has a third of the gradient and of the curvature: a step as long as with all patterns at once."""
    solver = sweeps(Told([1.0]), batch_size=2)
    assert solver.batches == 3
    moved = START - solver.step(replace(solver.init(START), sweep=1)).vector
    np.testing.assert_allclose(moved, [1, 1, 1, 1, 1, 3], rtol=1e-6)


@pytest.mark.parametrize(("steep", "share"), [(0.0, 1.0), (STEEPEST, 1.0), (4 * STEEPEST, 0.25)])
def test_steps_that_would_overshoot_are_shortened_by_as_much(steep, share):
    solver = sweeps(Told([1.0]))
    moved = START - solver.step(replace(solver.init(START), steepness=steep)).vector
    np.testing.assert_allclose(moved[:4], share, rtol=1e-6)


def test_where_the_probe_is_held_the_rest_moves():
    solver = sweeps(Told([4.0], move_probe=False))
    moved = solver.step(solver.init(START)).vector
    assert (moved[:2] != 0).all() and (moved[4:] != 0).all()


def batches_of(solver, sweep=0):
    """Patterns of every batch of a sweep."""
    state = replace(solver.init(START), sweep=sweep)
    return [solver._batch(replace(state, batch=batch)) for batch in range(solver.batches)]


@pytest.mark.parametrize("count", [64, 61])
@pytest.mark.parametrize("left_out", [0, 5])
def test_every_pattern_is_in_one_batch_and_batches_are_as_large(count, left_out):
    swept = np.sort(np.random.default_rng(1).permutation(count)[left_out:])
    rows = np.random.default_rng(2).integers(0, 90, count)
    solver = sweeps(Told(patterns=count), batch_size=8, rows=rows, patterns=swept if left_out else None)
    found = batches_of(solver)
    assert np.sort(np.concatenate(found)).tolist() == swept.tolist()
    assert {len(one) for one in found} <= {len(swept) // solver.batches, -(-len(swept) // solver.batches)}
    again = batches_of(solver, sweep=1)
    assert [sorted(one) for one in found] != [sorted(one) for one in again]


@pytest.mark.parametrize("tiles", [2, 3, 4, 5])
@pytest.mark.parametrize("turned", [False, True])
def test_batches_fall_on_tiles_evenly_however_many_there_are(tiles, turned):
    """This includes a scan whose rows run across those of the object."""
    row, column = (axis.ravel() for axis in np.indices((32, 32)))
    rows = 3 * (column if turned else row)
    solver = sweeps(Told(patterns=1024), batch_size=32, rows=rows)
    cut_here = cut(rows, 16, 200, tiles)
    for batch in batches_of(solver):
        shares = [len(tile.numbers(batch)) for tile in cut_here]
        # the edge of a tile may lie within a stripe, one at either end
        assert max(shares) - 32 / tiles < (2 if 32 % tiles else 1e-9), shares


def test_without_rows_patterns_lie_as_they_are_numbered():
    for batch in batches_of(sweeps(Told(patterns=64), batch_size=8)):
        assert sorted(batch // 8) == list(range(8))


def test_a_sweep_that_an_earlier_version_kept_halfway_begins_anew():
    """Its batches were drawn differently: patterns that it has seen would be seen again."""
    solver = sweeps(Told([4.0, 3.0]), batch_size=PATTERNS)
    old = SweepState(START + 1, sweep=1, batch=1, running_loss=9.0, start=START, losses=(5.0,), lowest=1.0)
    fresh = SweepState(START, sweep=1, losses=(5.0,), lowest=1.0, striped=True)
    found = solver._with_stripes(old)
    assert found.vector is old.start
    assert replace(found, vector=None) == replace(fresh, vector=None)  # Python 3.13 compares the same array with itself
    assert solver._with_stripes(fresh) is fresh
    ended = solver.step(old)
    assert (ended.sweep, ended.losses) == (2, (5.0, 4.0))
    begun = SweepState(START + 1, sweep=1, losses=(5.0,))
    assert solver._with_stripes(begun).vector is begun.vector
