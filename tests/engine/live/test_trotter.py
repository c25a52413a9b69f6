"""Double overlaps of a known specimen and probe.

The object is weak (0.01 rad): to a hundredth, flatness is 1, the sidebands are opposite and the outside is 0. The
bounds allow for discs of a few pixels; with wound phases the flatness is 0.82 and less.
"""

import numpy as np
import pytest
from synthetic import WeakPhaseScan, batches

from ptylive.engine.live.engine import LiveEngine
from ptylive.engine.live.trotter import BOTH, MINUS, OUTSIDE, PLUS, trotter
from ptylive.schema import MetadataError, Origin, Quantity
from ptylive.schema.units import mrad_to_invA, wavelength_A

ABERRATIONS = {"C10": -120.0, "C12a": 30.0, "C12b": -20.0}


def engine_of(scan: WeakPhaseScan, keep: slice = slice(None)) -> LiveEngine:
    engine = LiveEngine(scan.header(lies_still=True), methods=("bf",))
    for batch in batches(scan.patterns, np.arange(scan.n**2)[keep]):
        engine.add(batch)
    return engine


@pytest.fixture(scope="module")
def defocused() -> LiveEngine:
    return engine_of(WeakPhaseScan.make(ABERRATIONS, n=32))


def test_the_right_aberrations_make_both_overlaps_flat_and_opposite(defocused: LiveEngine) -> None:
    found = trotter(defocused.store, defocused.calibration)
    before, after = found.flatness
    assert before < 0.9
    assert after > 0.98
    assert set(np.unique(found.area)) <= {OUTSIDE, MINUS, PLUS, BOTH}
    minus, plus = (found.compensated[found.area == kind].sum() for kind in (MINUS, PLUS))
    assert abs(np.angle(-minus / plus)) < 0.1, "the two sidebands have opposite signs"
    assert np.abs(found.values).max() == pytest.approx(1.0)
    outside = np.abs(found.values[found.area == OUTSIDE])
    assert np.median(outside) < 0.05, "nothing interferes outside the overlaps"


def test_wrong_aberrations_leave_it_wound(defocused: LiveEngine) -> None:
    right = trotter(defocused.store, defocused.calibration)
    overfocus = defocused.calibration.having(C10=Quantity(120.0, Origin.GIVEN))
    wrong = trotter(defocused.store, overfocus, right.q_invA)
    assert wrong.q_invA == right.q_invA
    assert wrong.flatness[1] < right.flatness[1] - 0.1


def test_the_frequency_is_moved_onto_the_grid_of_the_scan(defocused: LiveEngine) -> None:
    first = trotter(defocused.store, defocused.calibration)
    period = 32 * defocused.calibration.require("scan_step_A", "this test")[0]
    aside = (first.q_invA[0] + 0.3 / period, first.q_invA[1] - 0.3 / period)
    assert trotter(defocused.store, defocused.calibration, aside).q_invA == pytest.approx(first.q_invA)


def test_half_a_scan_shows_the_same_areas() -> None:
    half = engine_of(WeakPhaseScan.make(ABERRATIONS, n=32), slice(0, 512))
    found = trotter(half.store, half.calibration)
    assert found.flatness[1] > 0.9


@pytest.mark.parametrize("longest", [2.1, 99.0])
def test_a_frequency_at_which_no_discs_overlap_is_refused(defocused: LiveEngine, longest: float) -> None:
    """In radii of the disc, which overlap up to 2."""
    mrad, volts = (float(defocused.calibration.get(key)) for key in ("convergence_semiangle_mrad", "energy_eV"))
    radius = mrad_to_invA(mrad, wavelength_A(volts))
    assert trotter(defocused.store, defocused.calibration, (1.5 * radius, 0.0)).flatness[1] > 0
    with pytest.raises(MetadataError, match="no two discs overlap without the third") as refused:
        trotter(defocused.store, defocused.calibration, (longest * radius, 0.0))
    assert refused.value.hint.startswith("give one between a detector pixel, ")


def test_what_is_missing_is_named(defocused: LiveEngine) -> None:
    with pytest.raises(MetadataError, match="energy_eV"):
        trotter(defocused.store, defocused.calibration.having(energy_eV=Quantity(None, Origin.UNDECIDED)))
