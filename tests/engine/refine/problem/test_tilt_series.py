"""Several scans at different tilts: derivatives, recovered values, refusals, and an unchanged single scan."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from quick_first import quick_first
from tilted_scans import TiltedScans

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.refine import refine
from ptylive.engine.refine.data.drift import Drift
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.engine.results import Run, add_refinement, read_runs
from ptylive.schema import Calibration, MetadataError, PtyliveError
from ptylive.schema.preset import Preset

TILTS = ((0.0, 0.0), (20.0, -8.0), (-15.0, 12.0))
THICK = {"num_slices": 3, "total_thickness_A": 60.0, "probe_modes": 1, "window_px": 32}


def scattered(points=4, counts=1e5, seed=2):
    rng = np.random.default_rng(seed)
    places = rng.uniform((-4, -4, 0), (points + 4, points + 4, 60), (60, 3))
    return TiltedScans(places, np.full(60, 0.35), 60.0, points=points, counts=counts)


def preset(**values):
    return Preset.from_mapping({**THICK, "scan_tilts_mrad": TILTS, **values})


@pytest.mark.parametrize(
    "values",
    [
        {"update_scans": ["shifts", "tilts", "currents"]},
        {"update_scans": ["tilts"], "update_slice_distances": True},
        {"update_scans": ["shifts", "currents"], "update_aberrations": True},
        {"aberration_marker": "scans", "update_aberrations": True, "refined_aberrations": ["C10"]},
        {"probe_marker": "scans"},
        {"update_scans": ["shifts", "tilts", "currents"], "update_probe_pos": True, "update_beam_current": True},
    ],
    ids=["all", "tilts", "shifts", "defocus of each", "probe of each", "beside those of patterns"],
)
def test_gradient_of_the_objective(values):
    """Along each block of the vector in double precision, as the optimisers see it."""
    together = scattered(points=2).together(TILTS)
    setup = prepare(together, preset(loss_offset=0.1, **values), None)
    layout, rng = setup.layout, np.random.default_rng(0)
    backend = GeneralMultislice(setup.multislice, np, "complex128", "double")
    objective = Objective(backend, layout, setup.multislice.count)
    vector, scale = setup.start.astype(np.float64), np.full(layout.size, 0.05)
    scale[layout.object_size : layout.object_size + layout.probe_size] *= np.abs(layout.probe_block(vector)).max()
    for block in layout.blocks:
        layout.other_blocks(scale)[block.name][...] = 0.05 if block.name in ("beam_current", "shifts_px") else 0.2
    vector += scale * rng.random(vector.size)
    gradient = objective.evaluate(vector).gradient
    ends = np.cumsum([layout.object_size, layout.probe_size, *(b.start.size for b in layout.blocks)])
    assert len(ends) > 2
    for part in np.split(np.arange(vector.size), ends[:-1]):
        direction = np.zeros(vector.size)
        direction[part] = scale[part] * rng.normal(size=len(part))
        at = [objective.evaluate(vector + k * 3e-3 * direction).loss for k in (-2, -1, 1, 2)]
        expected = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * 3e-3)
        assert gradient @ direction == pytest.approx(expected, rel=1e-6)  # truncation: the fourth power of 3e-3


def found(dataset, **values):
    settings = {"epoch_max": 30, "refine_drift": False, **values}
    return refine(dataset, preset(**settings), backend="cpu")


def test_currents_are_found():
    currents = [1.0, 1.2, 0.9]
    result = found(scattered(points=6).together(TILTS, currents=currents), epoch_max=15)
    np.testing.assert_allclose(result.refined.scans.currents, currents, rtol=0.01)  # counted with 4e6 electrons


def test_shifts_go_back_where_the_object_is_known():
    """Only the shifts follow the loss's gradient; the object is at its true place, as a free one would absorb some."""
    specimen, shifts_A = scattered(points=6), np.array([[0.0, 0.0], [0.3, 0.2], [-0.2, 0.3]])
    settings = preset(refine_drift=False, update_scans=["shifts"], sweeps=1)
    true = specimen.together(TILTS)
    setup = prepare(replace(true, positions_A=true.positions_A - shifts_A[true.scan_of]), settings, None)
    known = WarmStart.of(refine(true, preset(refine_drift=False, epoch_max=15, update_scans=[]), backend="cpu"))
    setup = known.applied(replace(setup, strategy=replace(setup.strategy, start_from_map=False)))
    backend = open_backend("cpu", setup.multislice)
    objective = Objective(backend, setup.layout, setup.multislice.count, move_object=False, move_probe=False)
    vector = setup.start.copy()
    curvature = np.concatenate([np.ravel(block.curvature) for block in setup.layout.blocks])
    for _ in range(20):
        vector[-len(curvature) :] -= 0.5 * objective.evaluate(vector).gradient[-len(curvature) :] / curvature
    told = setup.layout.other_blocks(vector)[BlockName.SCANS][:, :2]
    assert told[0].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(told, shifts_A, atol=0.02)  # the object comes from 108 noisy patterns


@pytest.mark.parametrize(("tilt",), quick_first([((9.0, 14.0),), ((20.0, 0.0),), ((0.0, -20.0),)]))
def test_the_model_is_that_of_sheared_atoms(tilt):
    """True slices under the tilt give the patterns of displaced atoms; under the opposite tilt they do not."""
    specimen = scattered(points=3)
    together, count = specimen.together([(0.0, 0.0), tilt]), round(specimen.thickness_A / specimen.slice_A)
    slices = {"num_slices": count, "slice_distances_A": [specimen.slice_A], "total_thickness_A": None}
    losses = {}
    for sign in (1, -1):
        asked = preset(scan_tilts_mrad=[(0, 0), [sign * one for one in tilt]], phase_only_obj=True, **slices)
        setup = prepare(together, asked, None)
        vector = setup.start.copy()
        rows, columns = (
            np.arange(n) * setup.grid.pixel_A + setup.grid.origin_A[i] for i, n in enumerate(setup.grid.shape)
        )
        setup.layout.object_block(vector)[...] = specimen.slices(rows, columns).ravel()
        at, backend = setup.layout.physical(vector, np), open_backend("cpu", setup.multislice)
        losses[sign] = [
            float(backend.loss_and_gradient(at.object, at.probe, np.flatnonzero(together.scan_of == scan)).loss)
            for scan in (0, 1)
        ]
    straight, tilted = losses[1]
    assert tilted < 1.5 * straight  # the middle of the slices lies 2 Å before that of the specimen
    assert losses[-1][1] > 5 * straight


@pytest.mark.slow
def test_signs_are_those_of_sheared_atoms():
    """The simulation moves atoms whereas the model shears space: the opposite sign fits worse, and so does no tilt."""
    together = scattered(points=8).together(TILTS)
    opposite = [(-row, -column) for row, column in TILTS]
    exchanged = [(column, row) for row, column in TILTS]
    right, *wrong = (found(together, scan_tilts_mrad=t).loss[-1] for t in (TILTS, opposite, exchanged, [(0, 0)] * 3))
    assert all(right < 0.95 * other for other in wrong)  # 119, against 140 and more


def test_one_scan_is_as_ever():
    """The problem contains nothing of a series, whatever update_scans says."""
    scan = scattered().scan()
    problem = prepare(scan, Preset.from_mapping({**THICK, "update_scans": ["tilts"]}), None)
    assert problem.multislice.model is None and problem.layout.scans is None and not problem.layout.blocks
    assert problem.forward.series is None


def test_the_results_hold_tilts_shifts_and_currents(tmp_path):
    result = found(scattered(points=3).together(TILTS), epoch_max=2, sweeps=1)
    path = add_refinement(tmp_path / "r.h5", Run("r", preset(), result), Calibration(), {}).path
    with h5py.File(path) as file:
        group = file["refinements/r/tilt_series"]
        assert list(group.attrs["scans"]) == ["scan0.h5", "scan1.h5", "scan2.h5"]
        np.testing.assert_allclose(group["tilts_mrad"], TILTS)
        assert group["shifts_A"].shape == (3, 2) and group["beam_current"].shape == (3,)
        assert group["patterns"][()].tolist() == [9, 9, 9]
        assert "drift_A" not in group, "nobody asked for it"


def test_the_results_hold_the_drift_of_each_scan(tmp_path):
    """The first scan's drift was removed, the second's left alone, and the third shows no lattice."""
    drifts = [Drift((3.0, -1.0), (0.3, 0.2), 0.0, 0.0, applied, "") for applied in (True, False)]
    result = replace(found(scattered(points=3).together(TILTS), epoch_max=1, sweeps=1), scan_drifts=(*drifts, None))
    path = add_refinement(tmp_path / "r.h5", Run("r", preset(), result), Calibration(), {}).path
    first, second, third = read_runs(path)["r"]["scans"]
    assert (first["name"], first["tilt_mrad"], first["patterns"]) == ("scan0.h5", list(TILTS[0]), 9)
    assert (first["drift_A"], first["drift_uncertainty_A"], first["drift_applied"]) == ([3.0, -1.0], [0.3, 0.2], True)
    assert second["drift_applied"] is False
    assert third["drift_A"] is third["drift_uncertainty_A"] is third["drift_applied"] is None


def test_a_run_of_one_scan_tells_of_no_others(tmp_path):
    settings = Preset.from_mapping({**THICK, "epoch_max": 1, "sweeps": 1})
    result = refine(scattered(points=3).scan(), settings, backend="cpu")
    path = add_refinement(tmp_path / "r.h5", Run("r", preset(), result), Calibration(), {}).path
    assert read_runs(path)["r"]["scans"] == []


def test_a_stage_goes_on_with_what_the_one_before_found():
    stages = [{"name": "first", "epoch_max": 3}, {"name": "second", "epoch_max": 3, "update_scans": ["tilts"]}]
    together = scattered(points=4).together(TILTS)
    result = found(together, stages=stages, update_scans=["tilts", "shifts"], sweeps=2)
    assert json.loads(result.stages[1].settings)["scan_tilts_mrad"][1] != list(TILTS[1])
    assert result.refined.scans.tilts_mrad[0].tolist() == list(TILTS[0])


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"scan_tilts_mrad": None}, "scan_tilts_mrad is not given"),
        ({"scan_tilts_mrad": TILTS[:2]}, "lists 2"),
        ({"scan_tilts_mrad": [[0, 0], [0.02, 0], [-0.02, 0]]}, "only 0.02 mrad"),
        ({"num_slices": 1, "total_thickness_A": None}, "num_slices=1"),
        ({"tilts_mrad": [[0, 0, 1, 0, 0, 0]]}, "tilts_mrad cannot be used"),
        ({"tilt_mode": 2}, "tilt_mode"),
        ({"update_tilts": True}, "update_tilts"),
        ({"field_order": 1}, "field_order"),
        ({"method": "dgp"}, "method=dgp"),
        ({"optimizer": "epie"}, "update_scans"),
    ],
)
def test_what_does_not_go_together_is_named(values, named):
    with pytest.raises(PtyliveError, match=named):
        refine(scattered(points=2).together(TILTS), preset(**values), backend="cpu")


def test_one_scan_with_tilts_of_several_is_refused():
    with pytest.raises(MetadataError, match="lists 3 scans, there is one"):
        refine(scattered(points=2).scan(), preset(), backend="cpu")
