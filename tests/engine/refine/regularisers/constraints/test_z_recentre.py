"""Centring of the slices: PtyRAD's shift, and unchanged patterns when the object moves together with the probe."""

from dataclasses import replace

import numpy as np
import pytest
from layered_scans import PIXEL_A, Layered, atoms, side

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.regularisers.constraints.z_recentre import ZRecentre, shifted_shares
from ptylive.engine.refine.regularisers.potentials import potentials
from ptylive.engine.refine.regularisers.projections import projected
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset


def test_the_shift_is_that_of_ptyrad(ptyrad):
    recentre = ZRecentre(5.0, np.zeros((4, 4)), 80.0, 0.7, 10.0)
    assert recentre.shift(ptyrad["phase"], np) == pytest.approx(float(ptyrad["z_shift"]), rel=1e-5)


def test_most_slices_and_an_empty_object():
    phase = np.zeros((1, 7, 4, 4))
    assert ZRecentre(5.0, np.zeros((4, 4)), 50.0, 1.0, 10.0).shift(phase, np) == 0.0
    phase[:, 0] = 1
    assert ZRecentre(5.0, np.zeros((4, 4)), 50.0, 1.0, 10.0).shift(phase, np) == pytest.approx(3.0)
    assert ZRecentre(5.0, np.zeros((4, 4)), 50.0, 1.0, 1.5).shift(phase, np) == pytest.approx(1.5)


def test_slices_are_shared_by_their_overlap_after_the_shift():
    np.testing.assert_allclose(shifted_shares(3, 1.0), [[0, 0, 0], [1, 0, 0], [0, 1, 1]])
    np.testing.assert_allclose(shifted_shares(3, -0.25), [[1, 0.25, 0], [0, 0.75, 0.25], [0, 0, 0.75]])


def test_the_patterns_of_an_object_that_moves_with_its_probe_stay():
    """Two layers of seven, the first and second, move two slices deeper: every pattern is unchanged up to rounding."""
    points, rng = 3, np.random.default_rng(1)
    size = side(points)
    layers = np.zeros((7, size, size))
    layers[0], layers[1] = (atoms((size, size), rng.uniform(0, size, (5, 2)), 0.5) for _ in range(2))
    specimen = Layered(np.exp(1j * layers), 6.0, points, seed=1)
    values = {**specimen.given, "probe_modes": 1, "phase_only_obj": False, "window_px": 32}
    setup = prepare(specimen.scan(), Preset.from_mapping(values), None)
    layout = setup.layout
    planes = np.zeros(layout.object_shape)
    at = tuple(np.rint(-setup.grid.origin_A / PIXEL_A).astype(int))
    planes[:, at[0] : at[0] + size, at[1] : at[1] + size] = layers[
        :, : planes.shape[1] - at[0], : planes.shape[2] - at[1]
    ]
    vector = layout.start(planes)
    asked = Preset.from_mapping({**values, "obj_z_recenter": True, "obj_z_recenter_max_shift": 2.0}).regularisers
    moved = projected(vector, asked, layout, setup.regularisation, np)
    np.testing.assert_allclose(potentials(layout, moved, np)[0][0, 2:4], planes[:2], atol=1e-6)
    backend = GeneralMultislice(setup.multislice, np, "complex128", "reference")
    objective = Objective(backend, layout, setup.multislice.count)
    before, after = (float(objective.evaluate(each.astype(float)).loss) for each in (vector, moved))
    assert after == pytest.approx(before, rel=1e-5)  # parameters in single precision
    stripped = moved.copy()
    layout.probe_block(stripped)[...] = layout.probe_block(vector)
    assert float(objective.evaluate(stripped.astype(float)).loss) > 1.01 * before  # the probe has to move as well


def test_settings_reach_it(complex_object):
    asked = {"obj_z_recenter_scale": 0.5, "obj_z_recenter_thresh": 90.0, "obj_z_recenter_max_shift": 0.25}
    (made,) = complex_object.made(obj_z_recenter=True, **asked)
    assert (made.scale, made.percentile, made.most_slices, made.distance_A) == (0.5, 90.0, 0.25, 10.0)
    deep = np.zeros((1, 3, 4, 4))
    deep[:, 2] = 1
    assert made.shift(deep, np) == pytest.approx(-0.25)
    assert replace(made, most_slices=5.0).shift(deep, np) == pytest.approx(-0.5)


def test_it_wants_slices_and_the_whole_probe(complex_object, thin):
    assert thin.made(obj_z_recenter=True) == complex_object.made() == []
    asked = complex_object.preset(obj_z_recenter=True, probe_part="phase")
    setup = complex_object.setup
    probe_phase = prepare(setup.measured.dataset, asked, None)
    with pytest.raises(MetadataError, match="probe_part = both"):
        projected(probe_phase.start, asked.regularisers, probe_phase.layout, probe_phase.regularisation, np)
