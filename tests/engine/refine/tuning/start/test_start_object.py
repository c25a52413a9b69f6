"""Refinements that start from the object of a file."""

import h5py
import numpy as np
import pytest
from earlier_scans import FIXTURES
from earlier_scans import simulated as simulated_scan
from stored_runs import write_results

import ptylive
from ptylive.engine.exports.pypty import pypty_object
from ptylive.engine.refine import refine
from ptylive.engine.refine.data.object_resampling import on_pixels
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.tuning.start.start_object import with_start
from ptylive.engine.results import Run, add_refinement, describe_run
from ptylive.engine.stored_run import StoredRun
from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset

VALUES = {"window_px": 32, "probe_modes": 1, "algorithm": "lsq_sqrt", "phase_only_obj": True}


def test_going_on_from_a_file(simulated, tmp_path):
    """The first epoch from an earlier object, a result or PyPty's array, has a lower loss than from an empty one."""
    dataset, first = simulated.dataset, Preset.from_mapping({**VALUES, "epoch_max": 6, "sweeps": 6})
    result = refine(dataset, first, backend="cpu")
    path = tmp_path / "results.h5"
    add_refinement(path, Run("run1", first, result), dataset.calibration, describe_run("test", "cpu"))
    np.save(tmp_path / "co.npy", pypty_object(StoredRun.read(path)))
    for name in (path, tmp_path / "co.npy"):
        more = {**VALUES, "epoch_max": 1, "sweeps": 1, "start_object": str(name)}
        again = refine(dataset, Preset.from_mapping(more), backend="cpu")
        # nearer to where the first ended than to where it began
        assert again.loss[0] < 0.5 * (result.loss[0] + result.loss[-1])


def test_an_object_of_other_slices_and_modes_is_brought_over(simulated, tmp_path):
    """All 3 slices of both modes are combined in one phase, in place; vacuum surrounds them."""
    run = write_results(tmp_path / "results.h5")
    preset = Preset.from_mapping({**VALUES, "start_object": str(tmp_path / "results.h5"), "non_negative_phase": False})
    plain = prepare(simulated.dataset, preset, None)
    problem = with_start(plain, preset.start, None)
    transmission = problem.layout.to_complex(problem.start)[0]
    assert transmission.shape[:2] == (1, 1)
    first_px = (np.asarray(problem.grid.origin_A) - run.origin_A) / run.pixel_A
    together = run.object.prod(axis=1, keepdims=True).mean(axis=0, keepdims=True)
    expected = on_pixels(together, (run.pixel_A, problem.grid.pixel_A), tuple(first_px), problem.grid.shape)
    np.testing.assert_allclose(transmission, expected / abs(expected), atol=1e-5)  # single precision
    assert (transmission == 1).any()
    assert "started from an earlier refinement" in problem.strategy.reason


def test_unfitting_objects_are_refused(simulated, tmp_path):
    np.save(tmp_path / "flat.npy", np.ones((4, 4)))
    for name, said in (("flat.npy", "has shape"), ("none.npy", "start_object")):
        preset = Preset.from_mapping({**VALUES, "epoch_max": 1, "start_object": str(tmp_path / name)})
        with pytest.raises(MetadataError, match=said):
            refine(simulated.dataset, preset, backend="cpu")


def test_going_on_from_results_of_other_programs(tmp_path):
    """With object, probe and positions of each, the loss after one sweep is at most a tenth of that from nothing.

    The scan is that of tests/earlier_scans.py; the files were saved by PtyRAD, py4DSTEM and phaser.
    """
    path = simulated_scan(tmp_path / "scan.h5")
    values = {"num_slices": 1, "probe_modes": 2, "sweeps": 1, "epoch_max": 1, "algorithm": "lsq_sqrt"}
    values |= {"start_from_map": False, "scan_defocus": False, "refine_drift": False}
    losses = {}
    for name in ("", "ptyrad.hdf5", "py4dstem_transposed.h5", "phaser.h5"):
        given = str(FIXTURES / name)
        start = {"start_object": given, "start_probe": given, "start_positions": given} if name else {}
        scan = ptylive.open_scan(path, rotation_deg=-15, C10=-60)
        losses[name] = float(scan.refine(**values, **start).result.loss[0])
    assert max(loss for name, loss in losses.items() if name) < 0.1 * losses[""], losses


def test_an_object_of_other_units_is_refused(simulated, tmp_path):
    write_results(tmp_path / "results.h5")
    with h5py.File(tmp_path / "results.h5", "r+") as file:
        file["refinements/run1/object"].attrs["sampling_A"] = [25.0, 25.0]
        file["refinements/run1/positions_A"][...] *= 100
    preset = Preset.from_mapping({**VALUES, "start_object": str(tmp_path / "results.h5")})
    with pytest.raises(MetadataError, match="has pixels of 25 Å"):
        with_start(prepare(simulated.dataset, preset, None), preset.start, None)
