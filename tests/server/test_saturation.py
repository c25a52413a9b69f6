"""A saturated pixel counts as its largest value wherever frames are summed or modelled."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from ptylive.application import offline
from ptylive.engine.bases.compressor import Compressor
from ptylive.engine.bases.field import DetectorField
from ptylive.engine.bases.masks import MaskBasis
from ptylive.engine.imaging.virtual_detectors import DetectorBank, VirtualDetector
from ptylive.schema import Calibration, FrameBatch, Origin, Quantity
from ptylive.schema.pattern.readout import Readout
from ptylive.streamer.source import open_source

LIMIT = 40
COUNTS = np.random.default_rng(8).integers(0, 60, (3, 4, 16, 16)).astype("<u2")
LIMITED = np.minimum(COUNTS, LIMIT).reshape(12, 16, 16)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["data"] = COUNTS
        file.create_group("metadata").attrs.update(
            {"energy_eV": 80e3, "convergence_semiangle_mrad": 20.0, "scan_step_A": 0.5, "saturation_value": LIMIT}
        )
    return path


@pytest.mark.parametrize("streamed", [False, True])
def test_patterns_of_a_refinement(scan: Path, monkeypatch: pytest.MonkeyPatch, streamed: bool) -> None:
    monkeypatch.setattr(offline, "STREAMED_PIXELS", 0 if streamed else 10**9)
    with open_source(scan, {}) as source:
        known = Calibration({"beam_center_px": Quantity((7.5, 7.5), Origin.GIVEN)})
        patterns = np.asarray(offline.refinable(source, known).patterns[np.arange(12)])
    np.testing.assert_array_equal(patterns, LIMITED)


def test_virtual_detectors_count_saturated_pixels_at_their_limit(scan: Path) -> None:
    with open_source(scan, {}) as source:
        bank = DetectorBank(source.header)
        bank.use([VirtualDetector(name="all", center_px=(8, 8), outer_px=30)])
        bank.add(FrameBatch("u", np.arange(12), source.frames(np.arange(12))))
    (shown,) = bank.maps(12)
    np.testing.assert_allclose(np.asarray(shown.data).ravel(), LIMITED.reshape(12, -1).sum(1))


def test_coefficients_count_saturated_pixels_at_their_limit() -> None:
    masks = MaskBasis("binning", np.ones((1, 16, 16), np.float32), 1)
    field = DetectorField((7.5, 7.5), 20.0, np.ones((16, 16), bool))
    vectors = Compressor(masks, field, readout=Readout(LIMIT)).vectors(COUNTS.reshape(12, 16, 16))
    np.testing.assert_allclose(vectors[:, 0], LIMITED.reshape(12, -1).sum(1), rtol=1e-5)
