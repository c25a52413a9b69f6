"""A drift that the lattice shows, judged by patterns held out."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine.data.drift import Drift, without_drift
from ptylive.engine.refine.problem.prepare import measure
from ptylive.engine.refine.tuning.drift_check import with_checked_drift
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.parameter_search import Tuned
from ptylive.schema.preset import Preset

DRIFT_A = (3.2, -1.6)
PRESET = Preset(num_slices=1, probe_modes=1)


def found(*, deviations, applied, drift_A=DRIFT_A):
    words = "applied" if applied else "left alone"
    return Drift(drift_A, (0.5, 0.5), 60.0, 0.0, applied, f"drift Å along slow and fast axis: {words}", deviations)


def checked(dataset, drift, preset=PRESET):
    """What comes of a measurement with this drift, and its data set."""
    given = without_drift(dataset, drift) if drift.applied else dataset
    measured = replace(measure(given, preset.model_copy(update={"refine_drift": False})), drift=drift)
    return with_checked_drift(measured, Tuned(dataset, preset), TrialContext("cpu"))


@pytest.fixture(scope="module")
def moving(drifted):
    return drifted(DRIFT_A, 5)


@pytest.fixture(scope="module")
def still(drifted):
    return drifted((0.0, 0.0), 5)


def test_a_drift_that_the_lattice_is_not_sure_of_is_taken_where_patterns_are(moving):
    measured = checked(moving, found(deviations=1.5, applied=False))
    assert measured.drift.applied
    assert "applied, by which patterns held out are predicted better" in measured.drift.reason
    np.testing.assert_allclose(measured.dataset.positions_A, without_drift(moving, measured.drift).positions_A)


def test_a_drift_that_is_not_there_is_left_alone_however_sure_the_lattice_is(still):
    measured = checked(still, found(deviations=5.0, applied=True))
    assert not measured.drift.applied
    assert measured.drift.reason.count("left alone") == 1
    np.testing.assert_array_equal(measured.dataset.positions_A, still.positions_A)


@pytest.mark.parametrize(
    ("drift", "asked"),
    [
        (found(deviations=5.0, applied=True), {"refine_drift": True}),
        (found(deviations=0.9, applied=False), {}),
        (found(deviations=0.0, applied=False), {}),
    ],
)
def test_what_was_asked_for_or_says_nothing_is_not_tried(still, drift, asked):
    measured = checked(still, drift, PRESET.model_copy(update=asked))
    assert measured.drift is drift
