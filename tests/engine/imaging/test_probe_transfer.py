"""The transfer function of the probe, compared with the sum over the aperture that defines it."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import fft

from ptylive.engine.bases import BinnedPixels
from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.probe_transfer import probe_transfer
from ptylive.engine.probe import Probe

PIXEL_INVA = 0.06
DIRECT = 160
"""Samples of the direct sum along each axis."""


def conditions_of(aberrations, rotation_deg) -> ImagingConditions:
    """A scan that is neither square nor equally spaced, and a disc of six pixels in radius."""
    probe = Probe.of(0.0251, 25.1 * 6 * PIXEL_INVA, PIXEL_INVA, aberrations)
    grid = DetectorGrid.of((32, 32), (16, 16), "none", PIXEL_INVA)
    basis = BinnedPixels.of(grid, probe.semiangle_invA, np.zeros((32, 32), bool), 60)
    return ImagingConditions(probe, grid, basis, (13, 10), (0.7, 0.9), rotation_deg)


def direct_sum(conditions: ImagingConditions, upsample: float) -> np.ndarray:
    """H(Q) = sum_k P*(k) P(k - Q) / sum_k |P(k)|^2, frequency by frequency."""
    probe = conditions.probe
    reach = probe.semiangle_invA + probe.edge_invA
    axis = np.linspace(-reach, reach, DIRECT)
    row, col = np.meshgrid(axis, axis, indexing="ij")
    wave, q = probe.wave(row, col), conditions.frequencies(upsample)
    sums = [(wave.conj() * probe.wave(row - q_row, col - q_col)).sum() for q_row, q_col in q]
    return (np.array(sums) / (np.abs(wave) ** 2).sum()).reshape(conditions.scan_grid(upsample).size)


@pytest.mark.parametrize(
    ("aberrations", "rotation_deg", "upsample"),
    [
        ({}, 0.0, 1),
        ({"C10": -60.0, "C12a": 15.0, "C12b": 20.0}, 35.0, 2),
        ({"C10": 40.0, "C21a": 900.0, "C21b": -500.0}, -110.0, 1),  # odd: the sign of Q shows
    ],
)
def test_it_is_the_autocorrelation_of_the_aperture(aberrations, rotation_deg, upsample):
    conditions = conditions_of(aberrations, rotation_deg)
    found, expected = probe_transfer(conditions, upsample), direct_sum(conditions, upsample)
    # both sums sample an edge one pixel wide, which is linear, in about two and thirty steps
    assert np.abs(found - expected).max() < 3e-3
    assert found[0, 0] == pytest.approx(1.0, abs=1e-5)


def test_frequencies_that_no_two_points_of_the_aperture_span_are_zero():
    conditions = conditions_of({"C10": -60.0}, 20.0)
    transfer = probe_transfer(conditions, 4)
    q = conditions.frequencies(4).reshape(*transfer.shape, 2)
    beyond = np.hypot(q[..., 0], q[..., 1]) > 2 * (conditions.probe.semiangle_invA + conditions.probe.edge_invA)
    assert beyond.any()
    assert np.abs(transfer[beyond]).max() < 1e-5


def test_long_scans_are_computed_in_blocks(monkeypatch):
    conditions = conditions_of({"C10": 40.0, "C21a": 900.0}, 35.0)
    whole = probe_transfer(conditions, 2)
    monkeypatch.setattr("ptylive.engine.imaging.probe_transfer.BLOCK", 7)
    assert np.abs(probe_transfer(conditions, 2) - whole).max() < 1e-6  # the same sums, in single precision


def test_a_disc_of_very_many_pixels_is_sampled_no_oftener_than_memory_allows(monkeypatch):
    monkeypatch.setattr("ptylive.engine.imaging.probe_transfer.MOST_SAMPLES", 20)
    sizes = []
    monkeypatch.setattr(
        "ptylive.engine.imaging.probe_transfer.fft",
        SimpleNamespace(
            next_fast_len=fft.next_fast_len, ifft2=lambda plane: sizes.append(plane.shape) or fft.ifft2(plane)
        ),
    )
    transfer = probe_transfer(conditions_of({}, 0.0))
    assert sizes == [(20, 20)]
    assert transfer[0, 0] == pytest.approx(1.0, abs=1e-5)
