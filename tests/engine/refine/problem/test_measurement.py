"""Patterns displaced on the detector: the model is shifted to where they are."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from compressed_scans import compressed

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.run.run import refine
from ptylive.schema.preset import Preset

PLAIN = {"window_px": 24, "probe_modes": 1, "refine_drift": False}


def likeness(dataset: Dataset, specimen: Any) -> float:
    """Correlation of the refined phase with the specimen over the scanned area."""
    result = refine(dataset, Preset.from_mapping(PLAIN), backend="cpu")
    rows, columns = (
        np.arange(result.object.shape[2 + axis]) * result.object_sampling_A[axis] + result.origin_A[axis]
        for axis in (0, 1)
    )
    low, high = result.positions_A.min(0) + 2, result.positions_A.max(0) - 2
    inside = np.ix_((rows > low[0]) & (rows < high[0]), (columns > low[1]) & (columns < high[1]))
    found, true = np.angle(result.object[0, 0]), specimen.phase(rows[:, None], columns[None, :])
    return float(np.corrcoef(found[inside].ravel(), true[inside].ravel())[0, 1])


def test_the_model_is_moved_and_not_the_counts(simulated, wandering):
    """Over seeds: 0.993, 0.988, 0.993 in place; displaced 0.993, 0.992, 0.993, without offsets 0.953, 0.929, 0.947."""
    moved = wandering(0.5)
    in_place, told = (likeness(one.dataset, one.specimen) for one in (simulated, moved))
    assert told > in_place - 0.01
    assert likeness(replace(moved.dataset, offsets_px=None), moved.specimen) < in_place - 0.02


@pytest.mark.slow
def test_coefficients_may_wander_by_pixels(simulated, wandering):
    """Over seeds: 0.962, 0.947, 0.962 in place; displaced 0.963, 0.945, 0.963, without offsets 0.46 to 0.56."""
    moved = wandering(1.5)
    (still, _), (coefficients, _) = (compressed(one.dataset, "zernike:28+1") for one in (simulated, moved))
    in_place, told = (likeness(one, simulated.specimen) for one in (still, coefficients))
    assert told > in_place - 0.01
    assert likeness(replace(coefficients, offsets_px=None), moved.specimen) < 0.7


@pytest.mark.parametrize("upsampling", [1, 2])
def test_offsets_count_pixels_of_the_model(wandering, upsampling):
    preset, dataset = Preset.from_mapping({**PLAIN, "upsample_pattern": upsampling}), wandering(0.5).dataset
    measured = Measurement.of(dataset, preset.patterns, preset.propagation, single_slice=True)
    np.testing.assert_allclose(measured.offsets_px, upsampling * dataset.offsets_px)
    assert replace(measured, near_field=True).offsets_px is None, "a turned wave moves no image"
    assert (
        Measurement.of(
            replace(dataset, offsets_px=None), preset.patterns, preset.propagation, single_slice=True
        ).offsets_px
        is None
    )
