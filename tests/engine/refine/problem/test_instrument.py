"""Imperfections of the instrument as settings ask for them: found where they are refined, refused where they cannot be."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine import refine
from ptylive.engine.refine.problem.instrument import FIRST_PSF_PX
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset

PLAIN = {"window_px": 24, "probe_modes": 1}


def prepared(dataset, **values):
    return prepare(dataset, Preset.from_mapping({**PLAIN, **values}), None)


def smeared(dataset, sigma_px, seed):
    """Every electron counted some pixels away, and by how much along an axis (standard deviation)."""
    rng, counts = np.random.default_rng(seed), dataset.patterns[:].copy()
    size = counts.shape[-1]
    counts[:, dataset.bad_pixels] = 0
    hit = np.repeat(np.indices(counts.shape).reshape(3, -1), counts.ravel(), axis=1)
    moves = np.rint(rng.normal(scale=sigma_px, size=(2, hit.shape[1]))).astype(int)
    found = np.zeros_like(counts)
    np.add.at(found, (hit[0], *((hit[1:] + moves) % size)), 1)
    found[:, dataset.bad_pixels] = 65535
    return replace(dataset, patterns=found), float(moves.std())


def test_the_width_of_a_point_spread_is_found(simulated):
    """Started from half a pixel, under the true probe; without it the loss is higher."""
    scan, true_px = smeared(simulated.dataset, 0.8, seed=5)
    wanted = {**PLAIN, "epoch_max": 16, "sweeps": 8, "algorithm": "ml", "loss_floor": 0.01, "update_probe": False}
    without = refine(scan, Preset.from_mapping(wanted), backend="cpu")
    found = refine(scan, Preset.from_mapping({**wanted, "update_detector_psf": True}), backend="cpu")
    assert "point spread" in found.backend
    # some 600 000 electrons are moved: they know it to 0.1 %; places are rounded to pixels, which is no Gaussian quite
    assert found.refined.detector_psf_px == pytest.approx(true_px, rel=0.05)
    assert found.loss[-1] < without.loss[-1]
    assert without.refined.detector_psf_px is None


def test_what_is_off_leaves_the_plain_model(simulated):
    problem = prepared(simulated.dataset)
    assert problem.multislice.model is None
    assert problem.forward.instrument.point_spread() is None


def test_a_measured_spread_lies_where_the_file_has_it(simulated, tmp_path):
    image = np.zeros((3, 5))
    image[1, 2], image[2, 2], image[1, 4] = 6, 3, 1
    np.save(tmp_path / "spread.npy", image)
    spread = prepared(simulated.dataset, detector_psf=str(tmp_path / "spread.npy")).multislice.model.spread
    assert spread.variance_px2 == 0
    expected = np.zeros((24, 24), np.float32)
    expected[0, 0], expected[1, 0], expected[0, 2] = 0.6, 0.3, 0.1
    np.testing.assert_allclose(spread.image, expected, atol=1e-7)  # single precision


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (np.ones((25, 3)), "detector_psf"),
        (np.ones(5), "detector_psf"),
        (np.zeros((3, 3)), "is no point spread"),
        (-np.eye(3), "is no point spread"),
        (np.full((3, 3), np.nan), "is no point spread"),
        (np.ones((3, 3), complex), "holds c"),
    ],
)
def test_files_that_are_no_point_spread_are_refused(simulated, tmp_path, values, line):
    np.save(tmp_path / "spread.npy", values)
    with pytest.raises(MetadataError, match=line):
        prepared(simulated.dataset, detector_psf=str(tmp_path / "spread.npy"))


def test_a_file_that_is_not_there_is_named(simulated, tmp_path):
    with pytest.raises(MetadataError, match="detector_psf .*none.npy"):
        prepared(simulated.dataset, detector_psf=str(tmp_path / "none.npy"))


def test_a_width_is_refined_from_the_given_one(simulated):
    assert prepared(simulated.dataset, update_detector_psf=True).forward.instrument.first_psf_px == FIRST_PSF_PX
    given = prepared(simulated.dataset, update_detector_psf=True, detector_psf_px=1.5)
    assert given.multislice.model.spread.variance_px2 == pytest.approx(2.25)
