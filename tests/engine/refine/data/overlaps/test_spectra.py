"""Half of the transform of the patterns over the scan."""

from dataclasses import replace

import numpy as np

from ptylive.engine.refine.data.overlaps.spectra import half_spectra
from ptylive.engine.refine.data.scan_window import ScanWindow

PIXELS = np.array([[0, 0], [2, 23], [1, 1]])


def of(dataset):
    orders, spectra = half_spectra(dataset, ScanWindow.of(dataset, 24), PIXELS)
    return {tuple(int(one) for one in order): spectrum for order, spectrum in zip(orders, spectra, strict=True)}


def test_it_is_the_transform_over_the_scan(small):
    dataset, found = small.dataset, of(small.dataset)
    patterns = ScanWindow.of(dataset, 24).patterns[:, PIXELS[:, 0], PIXELS[:, 1]].astype(float)
    rows, columns = dataset.scan_shape
    whole = np.fft.fft2((patterns - patterns.mean(0)).reshape(rows, columns, -1), axes=(0, 1))
    for order in ((1, 0), (0, 3), (2, -3)):
        np.testing.assert_allclose(found[order][0], whole[order], rtol=1e-3, atol=1e-2)


def test_half_of_the_frequencies_tell_all(small):
    found = set(of(small.dataset))
    assert (0, 0) not in found
    inner = {order for order in np.ndindex(8, 8) if 4 not in order and order != (0, 0)}
    signed = [(row - 8 * (row > 4), column - 8 * (column > 4)) for row, column in inner]
    assert all(((row, column) in found) != ((-row, -column) in found) for row, column in signed)


def test_patterns_that_never_arrived_count_as_the_mean(small):
    """Frequencies are made only from patterns that were seen."""
    dataset = small.dataset
    even = replace(dataset, patterns=np.broadcast_to(dataset.patterns[:1], dataset.patterns.shape))
    few = replace(even, patterns=even.patterns[5:], point=even.point[5:], positions_A=even.positions_A[5:])
    assert max(np.abs(one).max() for one in of(few).values()) < 1e-3


def test_patterns_count_relative_to_the_beam_current(small):
    """Regression: a current that rose and fell by a tenth was taken for a drift."""
    dataset = small.dataset
    current = 1 + 0.1 * np.sin(np.arange(len(dataset.patterns)))
    brighter = replace(
        dataset, patterns=(dataset.patterns * current[:, None, None]).astype(np.float32), current=current
    )
    expected = of(dataset)
    for order, values in of(brighter).items():
        np.testing.assert_allclose(values, expected[order], rtol=1e-3, atol=1e-2)
