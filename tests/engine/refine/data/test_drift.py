"""Drift from the overlap geometry: found where present, left alone where absent."""

from dataclasses import replace

import numpy as np
import pytest
from shared_data import shared_data

from ptylive.engine.backend.multislice.fast_sizes import padded_size
from ptylive.engine.refine.data.drift import Drift, _why_not, acquisition_time, find_drift, without_drift
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.data.overlap_fit import Strain
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.engine.refine.data.start_probe import nominal_probe


def fitted(dataset, **asked):
    window = ScanWindow.of(dataset, padded_size(max(dataset.patterns.shape[1:])))
    return find_drift(dataset, window, nominal_probe(dataset.calibration, window, single_slice=True), **asked)


@pytest.mark.parametrize("pattern", ["raster", "snake"])
def test_time_runs_evenly_with_gaps_left_out(pattern, scanned):
    dataset = scanned(pattern)
    time = acquisition_time(dataset)
    np.testing.assert_allclose(time, (np.arange(480) + 0.5) / 480)
    kept = np.delete(np.arange(480), [3, 30, 31, 200])
    fewer = replace(dataset, point=dataset.point[kept], positions_A=dataset.positions_A[kept])
    np.testing.assert_allclose(acquisition_time(fewer), time[kept])


def test_drift_is_applied_along_the_axes_of_the_scan(scanned):
    dataset = scanned()
    moved = without_drift(dataset, Drift((2.0, 0.0), (0.1, 0.1), 0.0, 0.0, True, ""))
    away = moved.positions_A - dataset.positions_A
    np.testing.assert_allclose(away.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(away[-1] - away[0], 2 * 479 / 480 * Lattice.of(dataset).axes[:, 0])


@pytest.mark.parametrize(
    ("drift_A", "is_maximum", "words"),
    [
        ((0.1, 0.1), True, "not significant"),
        ((0.1, 0.1), False, "not found reliably"),
        ((99.0, 1.0), True, "too large to be true"),
    ],
)
def test_a_drift_that_is_not_corrected_is_not_always_insignificant(drift_A, is_maximum, words, scanned):
    strain = Strain(np.zeros(4), np.eye(4), 0.0, 0.0, is_maximum, np.zeros(6), np.eye(6), np.zeros(6))
    assert _why_not(np.array(drift_A), strain, Lattice.of(scanned())) == words


@pytest.mark.slow
@pytest.mark.data
def test_drift_of_a_noisy_scan_is_found_within_its_uncertainty(read_dataset):
    """ws2_messy: (0.8, -0.5) Å in the file, at so low a dose that the drift is not certain."""
    drift = fitted(read_dataset(shared_data("ws2_messy_60kV_lowdose")))
    assert not drift.applied
    away = (np.array(drift.drift_A) - (0.8, -0.5)) / drift.uncertainty_A
    assert np.abs(away).max() < 3  # in deviations
    assert max(drift.uncertainty_A) < 0.7  # an uninformative one would suit any drift
    assert fitted(read_dataset(shared_data("ws2_messy_60kV_lowdose")), certain=False).applied


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "tiny_mos2_80kV_focus",
        pytest.param("mos2_edge_80kV_defocus", marks=pytest.mark.slow),
        pytest.param("mos2_svac_80kV_focus", marks=pytest.mark.slow),
    ],
)
def test_scans_without_drift_are_left_alone(read_dataset, name):
    drift = fitted(read_dataset(shared_data(name)))
    assert not drift.applied
    assert "not corrected" in drift.reason
