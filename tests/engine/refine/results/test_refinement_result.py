"""Views of the object that a refinement result provides."""

import numpy as np
import pytest

from ptylive.engine.refine.results.refinement_result import LEAST_ABSORPTION, projected_amplitude


def test_amplitudes_of_slices_multiply_and_none_is_told_of_phase_alone() -> None:
    phase = np.linspace(-1, 1, 24).reshape(2, 3, 4)
    slices = np.exp(1j * phase).astype(np.complex64)
    assert projected_amplitude(slices) is None
    slices[0, 0, 0] *= 0.5
    slices[1, 0, 0] *= 0.5
    found = projected_amplitude(slices)
    assert found is not None
    assert found.dtype == np.float32
    assert found[0, 0] == pytest.approx(0.25, rel=1e-5)
    assert np.abs(np.delete(found.ravel(), 0) - 1).max() < LEAST_ABSORPTION
