"""Modulation of the bright field: larger for stronger specimens, not for fewer electrons."""

import numpy as np
import pytest
from synthetic import WeakPhaseScan, batches

from ptylive.engine.imaging.strength.bright_modulation import bright_modulation
from ptylive.engine.live.engine import reconstruct
from ptylive.schema.maps import STRONG_MODULATION


def modulation(patterns: np.ndarray, scan: WeakPhaseScan) -> float:
    store = reconstruct(scan.header(lies_still=True), lambda: batches(patterns.astype(np.float32)), ["bf"])[0].store
    assert store is not None
    found = bright_modulation(store)
    assert found is not None
    return found


def test_the_bright_field_of_a_stronger_specimen_changes_more() -> None:
    found = [
        modulation(scan.patterns, scan)
        for scan in (WeakPhaseScan.make({"C10": -60.0}, n=24, strength=s) for s in (0.05, 1.0))
    ]
    assert found[0] < 0.15
    assert found[1] > 0.5


def test_counting_noise_is_no_modulation() -> None:
    """Four electrons in a bright-field pixel scatter by half their mean; the specimen contributes less than a tenth."""
    scan = WeakPhaseScan.make({"C10": -60.0}, n=24, strength=0.03)
    mean = 4.0 * scan.patterns / scan.patterns.mean(axis=0).max()
    noisy = np.random.default_rng(5).poisson(mean)
    assert modulation(noisy, scan) == pytest.approx(modulation(mean, scan), abs=0.05)


def test_maps_that_take_the_specimen_for_weak_say_where_it_is_not() -> None:
    for strength, strong in ((0.05, False), (1.2, True)):
        scan = WeakPhaseScan.make({"C10": -60.0}, n=24, strength=strength)
        _, made = reconstruct(scan.header(lies_still=True), lambda scan=scan: batches(scan.patterns.astype(np.float32)))
        told = {one.name: one.caveat for one in made.maps if one.caveat}
        assert set(told) == ({"obf", "ssb", "ssb_amplitude"} if strong else set())
        for words in told.values():
            assert words.startswith("too thick for this map: multiple scattering (bright field ±")
        assert all(one.modulation is None or one.modulation > STRONG_MODULATION for one in made.maps)
