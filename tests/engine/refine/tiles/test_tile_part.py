"""A worker's part holds its patterns and rows, survives the transfer, and fits together again."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.backend.multislice.problem import Precision
from ptylive.engine.refine.parameters.parameter_vector import ObjectForm
from ptylive.engine.refine.parameters.terms import Damping
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.run.course import CoursePlan
from ptylive.engine.refine.tiles import tile_part
from ptylive.engine.refine.tiles.tile_part import TilePart, part_of, tiles_of
from ptylive.engine.refine.tiles.tile_vector import part_of_vector
from ptylive.schema import PtyliveError
from ptylive.schema.preset import Preset


def parts(problem, tiles, held=()):
    preset = Preset(window_px=24)
    plan = CoursePlan.of(problem.strategy, preset.solver, open_end=True)
    return [part_of(problem, tile, plan, preset.refined, held) for tile in tiles_of(problem, tiles)]


def test_a_part_keeps_its_precision(problem):
    double = replace(
        problem,
        multislice=replace(problem.multislice, precision=Precision.DOUBLE),
        layout=replace(problem.layout, precision=Precision.DOUBLE),
    )
    found = TilePart.of_bytes(parts(double, 2)[0].to_bytes())
    assert found.multislice.precision is found.layout.precision is Precision.DOUBLE


def test_a_part_keeps_the_beam_current_of_its_patterns(problem):
    current = np.linspace(0.9, 1.1, problem.multislice.count)
    changing = replace(problem, multislice=replace(problem.multislice, current=current))
    for part in parts(changing, 2):
        found = TilePart.of_bytes(part.to_bytes())
        np.testing.assert_array_equal(found.multislice.current, current[part.tile.patterns])


@pytest.mark.parametrize("held", [(), (np.array([3, 5]), np.array([7]))])
def test_a_part_comes_out_as_it_went_in(problem, held):
    for part in parts(problem, 3, held):
        found = TilePart.of_bytes(part.to_bytes())
        assert found.plan == part.plan
        assert replace(found.tile, patterns=None) == replace(part.tile, patterns=None)
        assert (found.tile.patterns == part.tile.patterns).all()
        assert [group.tolist() for group in found.held] == [group.tolist() for group in held]
        assert found.layout.object_shape == part.layout.object_shape == found.multislice.object_shape
        assert (found.layout.object_form, found.layout.non_negative) == (
            part.layout.object_form,
            part.layout.non_negative,
        )
        assert (found.layout.probe.start == part.layout.probe.start).all()
        for name in ("patterns", "weights", "corners", "shifts_px", "propagators"):
            assert (getattr(found.multislice, name) == getattr(part.multislice, name)).all(), name
        assert found.multislice.data_term == part.multislice.data_term
        assert (found.start == part.start).all()
        assert (found.count, found.curvature_scale) == (144, part.curvature_scale)
        assert (found.move_object, found.move_probe) == (True, True)
        assert found.scan_rows.tolist() == problem.multislice.corners[:, 0].tolist()


def test_windows_lie_where_they_did(problem):
    for part in parts(problem, 3):
        whole = problem.multislice.corners[part.tile.patterns]
        assert (part.multislice.corners[:, 0] + part.tile.rows[0] == whole[:, 0]).all()
        assert (part.multislice.corners[:, 1] == whole[:, 1]).all()
        assert part.multislice.corners[:, 0].min() >= 0
        assert part.multislice.corners[:, 0].max() + 24 <= part.layout.object_shape[1]
        assert (part.multislice.patterns == problem.multislice.patterns[part.tile.patterns]).all()


def test_quantities_of_patterns_come_out_as_they_went_in(simulated):
    settings = {"update_probe_pos": True, "position_prior_A": 0.1, "update_aberrations": True}
    whole = prepare(simulated.dataset, Preset(window_px=24, update_beam_current=True, **settings), None)
    for part in parts(whole, 3):
        found, patterns = TilePart.of_bytes(part.to_bytes()), part.tile.patterns
        assert [block.name for block in found.layout.blocks] == [block.name for block in whole.layout.blocks]
        for block, of_all in zip(found.layout.blocks, whole.layout.blocks, strict=True):
            taken = patterns if block.per_pattern else slice(None)
            assert (block.start == of_all.start[taken]).all()
            assert (block.curvature == of_all.curvature[taken]).all()
            assert block.lowest == of_all.lowest
        (prior,) = whole.terms
        assert (found.prior.nominal == prior.nominal[patterns]).all()
        assert found.prior.curvature == prior.curvature
        assert (found.layout.probe.phase_per_A == whole.layout.probe.phase_per_A).all()
        assert (found.start == part_of_vector(whole.layout, whole.start, part.tile)).all()


def test_a_damping_is_cut_with_the_object(problem):
    layout = replace(problem.layout, object_form=ObjectForm.DAMPED)
    curvature = np.random.default_rng(0).random(layout.object_size // 2).astype(np.float32)
    start = np.concatenate([np.zeros(layout.object_size, np.float32), problem.start[-layout.probe_size :]])
    damped = replace(problem, layout=layout, terms=(Damping(curvature),), start=start)
    rows, columns = layout.object_shape[1:]
    for part in parts(damped, 2):
        found = TilePart.of_bytes(part.to_bytes())
        expected = curvature.reshape(rows, columns)[slice(*part.tile.rows)]
        assert (found.damping == expected.ravel()).all()


def test_a_part_that_memory_does_not_hold_is_refused_before_it_is_made(problem, monkeypatch):
    data = parts(problem, 1)[0].to_bytes()
    monkeypatch.setattr(tile_part, "unpacked", pytest.fail)

    def refuse(wanted, what, remedy):
        assert wanted > len(data)
        raise PtyliveError(what, remedy)

    monkeypatch.setattr(tile_part, "check_fits", refuse)
    with pytest.raises(PtyliveError) as refused:
        TilePart.of_bytes(data)
    assert refused.value.hint == "use more workers"
