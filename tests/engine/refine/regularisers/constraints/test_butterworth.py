"""Low and high pass: py4DSTEM's formula, applied to the refined quantities."""

import numpy as np
import pytest

from ptylive.schema import MetadataError


def py4dstem(values, pixel, low, high, order):
    """Like _object_butterworth_constraint of py4DSTEM 0.14, for any number of leading axes."""
    q = np.hypot(*np.meshgrid(*(np.fft.fftfreq(size, pixel) for size in values.shape[-2:]), indexing="ij"))
    envelope = np.ones_like(q)
    if high:
        envelope *= 1 - 1 / (1 + (q / high) ** (2 * order))
    if low:
        envelope *= 1 / (1 + (q / low) ** (2 * order))
    mean = values.mean(axis=(-2, -1), keepdims=True)
    return np.fft.ifft2(np.fft.fft2(values - mean) * envelope) + mean


@pytest.mark.parametrize(("low", "high", "order"), [(0.6, 0.0, 2), (0.0, 0.2, 4), (0.8, 0.1, 3)])
def test_the_filter_is_that_of_py4dstem(bumpy, low, high, order):
    phase, absorption = bumpy.potentials(bumpy.vector)
    asked = {"q_lowpass_invA": low, "q_highpass_invA": high, "butterworth_order": order}
    found = bumpy.after(**asked)
    given = (bumpy.setup.grid.pixel_A, low, high, order)
    if bumpy.settings.get("phase_only_obj") is False:
        expected = py4dstem(np.exp(1j * phase - absorption), *given)
        np.testing.assert_allclose(
            np.exp(1j * bumpy.potentials(found)[0] - bumpy.potentials(found)[1]), expected, atol=5e-6
        )
        return
    np.testing.assert_allclose(bumpy.potentials(found)[0], py4dstem(phase, *given).real, atol=5e-6)
    wanted = np.maximum(py4dstem(absorption, *given).real, 0)
    np.testing.assert_allclose(bumpy.potentials(found)[1], wanted, atol=5e-6)


def test_what_lets_nothing_pass_is_refused(bumpy):
    assert bumpy.made() == []
    with pytest.raises(MetadataError, match="q_lowpass_invA is not above q_highpass_invA"):
        bumpy.made(q_lowpass_invA=0.2, q_highpass_invA=0.3)
