"""Pictures of trotters."""

import numpy as np

from ptylive.pictures.trotters import PHASE_LIMITS, trotter_views


def test_phases_are_shown_where_discs_overlap():
    before = np.array([[1.0, 2j, -1.0, 0.5]])
    after = np.array([[0, 2.0, 1j, 0]])
    area = np.array([[0, 1, 2, 3]])
    amplitude, recorded, compensated = trotter_views(before, after, area)
    assert amplitude.visited is None and amplitude.units == "relative"
    np.testing.assert_allclose(amplitude.data, [[1, 2, 1, 0.5]])
    assert recorded.visited.tolist() == [[False, True, True, True]]
    assert compensated.visited.tolist() == [[False, True, True, False]], "with all three no phase means anything"
    np.testing.assert_allclose(recorded.data, [[0, np.pi / 2, np.pi, 0]], rtol=1e-6)
    np.testing.assert_allclose(compensated.data, [[0, 0, np.pi / 2, 0]], rtol=1e-6)
    assert recorded.limits == compensated.limits == PHASE_LIMITS
