"""Estimated time of a refinement from patterns timed on this machine; no test depends on how long it takes."""

from dataclasses import replace

import numpy as np
import pytest
from planning import experiment

from ptylive.engine.planning import run_time
from ptylive.engine.planning.figure import Verdict
from ptylive.engine.planning.plan import Plan
from ptylive.engine.planning.run_time import refinement_seconds, small_scan
from ptylive.engine.refine.problem.prepare import measure
from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset

THICK = {"thickness_A": 400.0}


@pytest.fixture
def asked(monkeypatch):
    """The problem that is timed; each pattern is said to take a second."""
    found = {}

    def seconds(patterns, part, preset, _context):
        found.update(patterns=patterns, part=part, preset=preset)
        return float(patterns)

    monkeypatch.setattr(run_time, "expected_seconds", seconds)
    return found


def test_a_few_patterns_have_window_optics_and_electrons_of_the_scan():
    made = experiment((48, 64), scan_shape=(200, 300), detector_pixel_mrad=1.6)
    part = small_scan(made)
    assert part.patterns.shape == (64, 48, 64)
    assert part.patterns.sum(axis=(1, 2)).mean() == pytest.approx(made.electrons_per_pattern, rel=0.02)
    np.testing.assert_allclose(part.positions_A[[1, 8]], made.cell_A.T[[1, 0]])
    measured = measure(part, Preset(refine_drift=False))
    assert measured.probe.semiangle_invA == pytest.approx(1e-3 * made.semiangle_mrad / made.wavelength_A)
    assert measured.probe.wavelength_A == pytest.approx(made.wavelength_A)


@pytest.mark.slow
def test_of_large_patterns_fewer_are_timed():
    assert len(small_scan(experiment((2048, 2048), detector_pixel_mrad=0.1)).patterns) == 9


def test_all_patterns_of_the_scan_count_in_as_many_slices_as_it_would_have(asked):
    assert refinement_seconds(experiment(scan_shape=(20, 30), **THICK), modes=3) == 600.0
    preset = asked["preset"]
    assert preset.object.num_slices == Plan.of(experiment(**THICK))["slices"].value > 1
    assert (preset.object.total_thickness_A, preset.probe.probe_modes) == (400.0, 3)
    refinement_seconds(experiment(thickness_A=None), modes=4)
    assert asked["preset"].object.num_slices == 1


def test_it_is_told_where_it_was_asked_for(asked):
    timed = replace(experiment(scan_shape=(20, 30)), timed=True)
    figure = Plan.of(timed)["refinement_s"]
    assert (figure.value, figure.text) == (600.0, "10 min on one core of this machine")
    unknown = Plan.of(
        replace(timed, header=replace(timed.header, scan=timed.header.scan.model_copy(update={"shape": None})))
    )
    assert "scan_shape" in unknown["refinement_s"].remedy and unknown["refinement_s"].verdict is Verdict.UNKNOWN


def test_what_does_not_fit_is_one_line(monkeypatch):
    monkeypatch.setattr("ptylive.engine.memory.available_bytes", lambda: 1e6)
    with pytest.raises(MetadataError, match="the patterns that are timed"):
        small_scan(experiment((2048, 2048), detector_pixel_mrad=0.1))


@pytest.mark.slow
def test_it_is_measured():
    made = experiment((32, 32), scan_shape=(10, 10), detector_pixel_mrad=4.0)
    assert 0 < refinement_seconds(made, modes=1) < refinement_seconds(replace(made, thickness_A=400.0), modes=4)
