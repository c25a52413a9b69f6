"""The modes from which a refinement starts."""

import numpy as np
import pytest

from ptylive.engine import memory
from ptylive.engine.refine.data import start_probe
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.engine.refine.data.start_probe import Coherence, nominal_probe, start_modes
from ptylive.schema import Calibration, MetadataError


@pytest.fixture
def window(simulated):
    return ScanWindow.of(simulated.dataset, 32)


def real_space(modes):
    return np.fft.ifft2(modes, norm="ortho")


def test_power_is_the_counts_and_the_centre_is_the_middle_pixel(simulated, window):
    probe = nominal_probe(simulated.dataset.calibration, window, single_slice=True)
    modes = start_modes(probe, window, Coherence(4, 0.3, 20.0), 1234.0)
    assert (np.abs(modes) ** 2).sum() == pytest.approx(1234.0)
    intensity = (np.abs(real_space(modes)) ** 2).sum(0)
    rows, columns = np.indices(intensity.shape)
    centre = [(intensity * axis).sum() / intensity.sum() for axis in (rows, columns)]
    # the aperture is sampled off its middle: a mean direction of 1e-3 / Å, which the defocus turns into 0.01 pixels
    np.testing.assert_allclose(centre, [16, 16], atol=0.05)


def test_modes_are_orthogonal_and_the_first_is_the_strongest(simulated, window):
    probe = nominal_probe(simulated.dataset.calibration, window, single_slice=True)
    modes = start_modes(probe, window, Coherence(4, 0.3, 20.0), 1.0).reshape(4, -1)
    overlap = modes.conj() @ modes.T
    np.testing.assert_allclose(overlap, np.diag(np.diag(overlap)), atol=1e-9)
    powers = np.diag(overlap).real
    assert (np.diff(powers) < 0).all()
    assert powers[0] > 0.5


def test_modes_add_up_to_the_averaged_probe(simulated, window):
    """With all modes kept, their intensity is the nominal one averaged over the source."""
    probe = nominal_probe(simulated.dataset.calibration, window, single_slice=True)
    blurred = start_modes(probe, window, Coherence(25, 0.3, 0.0), 1.0)
    nominal = np.abs(real_space(start_modes(probe, window, Coherence(1, 0.0, 0.0), 1.0))[0]) ** 2
    q = np.fft.fftfreq(32, window.object_pixel_A)
    envelope = np.exp(-2 * np.pi**2 * 0.3**2 * (q[:, None] ** 2 + q[None, :] ** 2))
    expected = np.fft.ifft2(np.fft.fft2(nominal) * envelope).real
    got = (np.abs(real_space(blurred)) ** 2).sum(0)
    # the source is five Gauss-Hermite nodes along each axis: 0.1 %
    assert np.linalg.norm(got - expected) < 2e-3 * np.linalg.norm(expected)


def test_memory_of_the_modes_is_bounded_before_it_is_taken(simulated, window, monkeypatch):
    """A wave at every node of source and focus, and its conjugate, is more than a model with many modes."""
    probe = nominal_probe(simulated.dataset.calibration, window, single_slice=True)
    pixels = int((probe.aperture(window.k_row, window.k_col) > 0).sum())
    needed = 16.0 * (2 * 5**3 + 4 + 4) * pixels
    coherence = Coherence(4, 0.3, 20.0)
    monkeypatch.setattr(memory, "available_bytes", lambda: needed)
    assert np.isfinite(start_modes(probe, window, coherence, 1.0)).all()
    monkeypatch.setattr(memory, "available_bytes", lambda: needed - 1)
    monkeypatch.setattr(start_probe.np, "empty", lambda *given, **how: pytest.fail("taken"))
    with pytest.raises(MetadataError, match="use probe_modes=1, or a smaller window_px"):
        start_modes(probe, window, coherence, 1.0)


def test_a_single_slice_stands_at_the_depth_of_the_maps(simulated, window):
    calibration = simulated.dataset.calibration
    deeper = calibration.having(depth_A=calibration.entries["C10"])
    entrance = nominal_probe(deeper, window, single_slice=False)
    inside = nominal_probe(deeper, window, single_slice=True)
    np.testing.assert_allclose(inside.chi_polynomial, 2 * entrance.chi_polynomial)


@pytest.mark.parametrize("missing", ["energy_eV", "convergence_semiangle_mrad"])
def test_missing_optics_are_named(simulated, window, missing):
    entries = {k: v for k, v in simulated.dataset.calibration.entries.items() if k != missing}
    with pytest.raises(MetadataError, match=f"the refinement needs {missing}"):
        nominal_probe(Calibration(entries), window, single_slice=True)
