"""Tilted specimens, simulated with sheared columns through many thin slices, and found with four thick ones."""

from types import SimpleNamespace

import numpy as np
import pytest
from columns import THICKNESS_A, scan_of_columns

from ptylive.engine.refine import refine
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.tuning.tilt_search import expected_patterns, find_tilt
from ptylive.schema.preset import Preset

TILTS_MRAD = [(5.0, -3.0), (-3.0, 4.0), (0.0, 0.0)]
PRESET = Preset(num_slices=4, total_thickness_A=THICKNESS_A, probe_modes=1, update_tilts=True)


@pytest.mark.slow
@pytest.mark.parametrize("tilt_mrad", TILTS_MRAD, ids=str)
def test_the_tilt_of_the_specimen_is_found(tilt_mrad):
    result = refine(scan_of_columns(tilt_mrad), PRESET, backend="cpu")
    assert result.backend == "cpu"  # the shear is measured, so the compiled kernel suffices
    # half a mrad over 48 Å is 0.02 Å, a tenth of a pixel
    np.testing.assert_allclose(result.refined.tilts_mrad[0, 2:4], tilt_mrad, atol=0.5)
    assert not result.refined.tilts_mrad[0, [0, 1, 4, 5]].any()


def told(*tilt_mrad):
    """A result that contains only this inner tilt."""
    tilts = np.array([[0, 0, *tilt_mrad, 0, 0]], np.float32)
    return SimpleNamespace(refined=SimpleNamespace(tilts_mrad=tilts))


def test_what_the_method_finds_too_little_is_added():
    asked = []

    def once(preset, like):
        asked.append(like)
        return told(4.5, -2.7) if like is None else told(4.05, -2.43)

    found = find_tilt(PRESET, once)
    assert [like is None for like in asked] == [True, False]
    np.testing.assert_allclose(found.propagation.tilts_mrad[0], [0, 0, 4.95, -2.97, 0, 0], rtol=1e-6)  # 16 eps
    first = find_tilt(PRESET, lambda preset, like: told(4.5, -2.7) if like is None else None)
    np.testing.assert_allclose(first.propagation.tilts_mrad[0][2:4], [4.5, -2.7], rtol=1e-6)


@pytest.mark.slow
def test_a_result_gives_the_patterns_it_was_fitted_to():
    dataset = scan_of_columns()
    result = refine(dataset, PRESET.model_copy(update={"update_tilts": False}), backend="cpu")
    setup = prepare(dataset, PRESET, None)
    counts, expected = setup.multislice.patterns.astype(float), expected_patterns(setup, result)
    assert expected.shape == counts.shape
    # sums are fitted to two parts in a thousand; counts of 1e5 a pattern scatter about the fit: 0.996
    assert expected.sum() == pytest.approx(counts.sum(), rel=0.01)
    assert np.corrcoef(expected.ravel(), counts.ravel())[0, 1] > 0.99
    cut = prepare(dataset, PRESET.model_copy(update={"damping_cutoff_multislice": 0.9}), None)
    assert expected_patterns(cut, result) is None
