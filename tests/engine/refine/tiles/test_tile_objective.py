"""A tile's loss, gradient, sums and curvatures equal those of the whole, in double precision."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine.parameters.parameter_vector import ObjectForm
from ptylive.engine.refine.parameters.terms import Damping
from ptylive.engine.refine.solvers.objective import Objective


def whole_of(problem, **changes):
    backend = GeneralMultislice(problem.multislice, np, "complex128", "reference")
    return Objective(backend, problem.layout, problem.multislice.count, **changes)


def somewhere(problem):
    rng = np.random.default_rng(0)
    start = problem.start.astype(np.float64)
    start[: problem.layout.object_size] = 0.3 * rng.random(problem.layout.object_size)
    return start


def at_tiles(cut, problem, tiles, ask, **changes):
    """The tiles' objectives, and what each returns."""
    objectives = cut.up(problem, tiles, **changes)
    return objectives, cut.together([lambda one=one: ask(one) for one in objectives])


@pytest.mark.parametrize("tiles", [1, 2, 4])
@pytest.mark.parametrize("indices", [None, np.arange(0, 144, 7), np.array([0, 1, 2])])
def test_loss_and_gradient_are_those_of_the_whole(problem, cut, tiles, indices):
    layout, vector = problem.layout, somewhere(problem)
    expected = whole_of(problem).evaluate(vector, indices)

    def ask(one):
        return one.evaluate(cut.part(layout, vector, one.tile), indices)

    objectives, found = at_tiles(cut, problem, tiles, ask)
    for one, result in zip(objectives, found, strict=True):
        assert result.loss == pytest.approx(float(expected.loss), rel=1e-12)
        mine = cut.part(layout, expected.gradient, one.tile)
        # double precision: sums in another order
        assert np.abs(result.gradient - mine).max() <= 1e-9 * np.abs(mine).max()


@pytest.mark.parametrize("tiles", [1, 2, 4])
def test_losses_of_groups_are_those_of_the_whole(problem, cut, tiles):
    layout, vector, groups = problem.layout, somewhere(problem), [np.array([3]), np.arange(0, 144, 7)]
    expected = whole_of(problem).losses(vector, groups)
    _, found = at_tiles(cut, problem, tiles, lambda one: one.losses(cut.part(layout, vector, one.tile), groups))
    for losses in found:
        assert losses == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("tiles", [1, 3])
def test_a_pull_counts_once_at_every_row(problem, cut, tiles):
    layout, vector = replace(problem.layout, object_form=ObjectForm.DAMPED), None
    damped = replace(problem, layout=layout)
    rng = np.random.default_rng(1)
    vector = np.concatenate([0.3 * rng.random(layout.object_size), problem.start[problem.layout.object_size :]])
    curvature = rng.random(layout.object_size // 2).astype(np.float32)
    reference, anchor = rng.random(layout.object_size), rng.random(layout.object_size)
    whole = whole_of(damped, terms=(Damping(curvature),)).anchored(reference, 1 / anchor, 0.5)
    tail = np.zeros(layout.probe_size)

    def ask(one, indices):
        rows = [cut.part(layout, np.concatenate([each, tail]), one.tile) for each in (reference, anchor)]
        size = one.layout.object_size
        twice = np.concatenate([curvature, curvature, tail])
        damping = Damping(cut.part(layout, twice, one.tile)[: size // 2])
        pulled = replace(one, terms=(damping,)).anchored(rows[0][:size], 1 / rows[1][:size], 0.5)
        return pulled.evaluate(cut.part(layout, vector, one.tile), indices)

    for indices in (None, np.arange(50)):
        expected = whole.evaluate(vector, indices)
        objectives, found = at_tiles(cut, damped, tiles, lambda one, indices=indices: ask(one, indices))
        for one, result in zip(objectives, found, strict=True):
            assert result.loss == pytest.approx(float(expected.loss), rel=1e-10)
            mine = cut.part(layout, expected.gradient, one.tile)
            assert np.abs(result.gradient - mine).max() <= 1e-6 * np.abs(mine).max()  # a pull in single precision


@pytest.mark.parametrize("tiles", [1, 3])
@pytest.mark.parametrize("indices", [None, np.arange(0, 144, 7)])
def test_other_quantities_have_the_gradient_of_the_whole(with_others, cut, tiles, indices):
    """Quantities of each pattern are with its tile, as is their prior; those shared by all are summed."""
    layout, vector = with_others.layout, somewhere(with_others)
    vector[layout.object_size + layout.probe_size :] += 0.1 * np.random.default_rng(5).random(
        layout.size - layout.object_size - layout.probe_size
    )
    (prior,) = with_others.terms
    expected = whole_of(with_others, terms=(prior,)).evaluate(vector, indices)

    def ask(one):
        mine = replace(prior, nominal=prior.nominal[one.tile.patterns])
        there = cut.part(layout, vector, one.tile)
        moving = replace(one, terms=(mine,))
        still = moving.moving(move_object=True, move_others=False).evaluate(there.copy(), indices)
        return moving.evaluate(there, indices), still.gradient[one.layout.object_size + one.layout.probe_size :]

    objectives, found = at_tiles(cut, with_others, tiles, ask)
    for one, (result, fixed) in zip(objectives, found, strict=True):
        assert result.loss == pytest.approx(float(expected.loss), rel=1e-10)
        mine = cut.part(layout, expected.gradient, one.tile)
        for part, _ in one.layout.quantities():
            # double precision: sums in another order; the nominal positions are in single precision on both sides
            assert np.abs(result.gradient[part] - mine[part]).max() <= 1e-9 * np.abs(mine[part]).max()
        assert not fixed.any()


@pytest.mark.parametrize("tiles", [1, 2, 4])
@pytest.mark.parametrize("others", [False, True])
def test_sums_and_curvatures_are_those_of_the_whole(problem, with_others, cut, tiles, others):
    problem = with_others if others else problem
    layout, vector, whole = problem.layout, somewhere(problem), whole_of(problem)
    other = np.random.default_rng(2).normal(size=vector.size)
    batch, chosen = np.arange(3, 144, 5), np.arange(0, 144, 2)
    expected = (
        float(whole.dot(vector, other)),
        float(whole.peak_curvature(vector, batch)),
        whole.of_patterns(chosen).inverse_curvature(vector, 0.2),
    )

    def ask(one):
        mine, theirs = cut.part(layout, vector, one.tile), cut.part(layout, other, one.tile)
        before = float(one.peak_curvature(mine, batch))
        one.evaluate(mine, batch)
        messages = one.exchange.sent_bytes
        after = float(one.peak_curvature(mine, batch))
        assert one.exchange.sent_bytes == messages  # came with the loss
        curvature = one.of_patterns(chosen).inverse_curvature(mine, 0.2)
        return one.dot(mine, theirs), before, after, curvature, one.of_patterns(chosen).count

    objectives, found = at_tiles(cut, problem, tiles, ask)
    for one, (dot, before, after, curvature, count) in zip(objectives, found, strict=True):
        assert dot == pytest.approx(expected[0], rel=1e-10)
        # illuminations are in single precision
        assert before == pytest.approx(expected[1], rel=1e-5)
        assert after == pytest.approx(expected[1], rel=1e-5)
        np.testing.assert_allclose(curvature, cut.part(layout, expected[2], one.tile), rtol=1e-5)
        assert count == len(chosen)


def test_all_see_what_is_no_number_at_one(problem, cut):
    layout = problem.layout

    def ask(one):
        mine = cut.part(layout, somewhere(problem), one.tile)
        before = one.is_finite(mine)
        if one.tile.number == 2:
            mine[0] = np.nan
        return before, one.is_finite(mine)

    assert at_tiles(cut, problem, 3, ask)[1] == [(True, False)] * 3


def test_what_does_not_move_has_no_gradient(problem, cut):
    layout = problem.layout

    def ask(one):
        still = one.moving(move_object=False, move_others=False)
        assert not still.move_object
        gradient = still.evaluate(cut.part(layout, somewhere(problem), one.tile), np.arange(30)).gradient
        return np.abs(gradient[: one.layout.object_size]).max(), np.abs(gradient[one.layout.object_size :]).max()

    for of_object, of_probe in at_tiles(cut, problem, 2, ask)[1]:
        assert of_object == 0
        assert of_probe > 0
