"""Given beam currents and background: in the model from the first step, and held fixed."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine import refine
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset

VALUES = {"window_px": 24, "probe_modes": 1, "algorithm": "lsq_sqrt", "phase_only_obj": True, "refine_drift": False}


def uneven(simulated):
    """The scan with uneven beam currents, each scaling a pattern's counts, and a flat background; also the currents."""
    rng = np.random.default_rng(7)
    current = rng.uniform(0.5, 1.5, simulated.dataset.patterns.shape[0])
    patterns = np.asarray(simulated.dataset.patterns) * current[:, None, None] + 3.0
    return replace(simulated.dataset, patterns=patterns.astype(np.float32)), current


def given(tmp_path, **arrays):
    """Settings that name files with the arrays."""
    settings = {}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
        settings[name] = str(tmp_path / f"{name}.npy")
    return settings


def test_given_counts_explain_uneven_patterns(simulated, tmp_path):
    """They stay fixed and are in the result; the loss is that of an even scan, less than half of that without them."""
    dataset, current = uneven(simulated)
    files = given(tmp_path, start_beam_current=current, start_background=np.full((24, 24), 3.0))
    run = {"epoch_max": 8, "sweeps": 8}
    told = refine(dataset, Preset.from_mapping({**VALUES, **run, **files}), backend="cpu")
    untold = refine(dataset, Preset.from_mapping({**VALUES, **run}), backend="cpu")
    assert told.loss[-1] < 0.5 * untold.loss[-1]
    np.testing.assert_allclose(told.refined.beam_current, current / current.mean(), rtol=1e-5)
    np.testing.assert_allclose(told.refined.background, 3.0, rtol=1e-5)


def test_currents_follow_the_scan_point(simulated, tmp_path):
    """A part of the scan uses the currents of its points, with mean 1; a background takes its counts from the probe."""
    dataset, current = uneven(simulated)
    few = dataset.part(np.arange(5, 45))
    files = given(tmp_path, start_beam_current=current, start_background=np.full((24, 24), 3.0))
    settings = {**VALUES, **files, "update_beam_current": True, "update_static_background": True}
    problem = prepare(few, Preset.from_mapping(settings), None)
    blocks = problem.layout.other_blocks(problem.start)
    np.testing.assert_allclose(blocks[BlockName.CURRENT], current[5:45] / current[5:45].mean(), rtol=1e-6)
    assert np.unique(blocks[BlockName.BACKGROUND]).tolist() == [3.0]
    light = (np.abs(problem.layout.to_complex(problem.start)[1]) ** 2).sum()
    assert light == pytest.approx(problem.statistics.counts_per_pattern - 3.0 * 24**2, rel=1e-5)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"start_beam_current": np.ones(7)}, "holds 7 numbers"),
        ({"start_beam_current": np.zeros(144)}, "not currents"),
        ({"start_background": -np.ones((24, 24))}, "not counts"),
        ({"start_background": np.ones((25, 25))}, "has shape"),
        ({"start_background": np.full((24, 24), 1e6)}, r"has 5.76e\+08 counts"),
    ],
)
def test_what_they_cannot_be_is_said(simulated, tmp_path, arrays, said):
    settings = {**VALUES, "update_beam_current": True, "update_static_background": True, **given(tmp_path, **arrays)}
    with pytest.raises(MetadataError, match=said):
        prepare(simulated.dataset, Preset.from_mapping(settings), None)


def test_a_file_that_is_none(simulated):
    for name in ("start_beam_current", "start_background"):
        with pytest.raises(MetadataError, match=name):
            refine(simulated.dataset, Preset.from_mapping({**VALUES, name: "none.npy"}), backend="cpu")
