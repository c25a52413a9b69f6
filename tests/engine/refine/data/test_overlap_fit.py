"""Strain of a scan's lattice from double overlaps, for simulated thin specimens under Poisson noise."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.refine.data import drift
from ptylive.engine.refine.data.drift import CONTRADICTED, find_drift
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.data.overlap_fit import OverlapFit, Strain
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.engine.refine.data.start_probe import nominal_probe
from ptylive.engine.refine.tuning.orientation import Orientation
from ptylive.schema import Origin, Quantity

DRIFT_A = (1.5, -1.0)


def parts(dataset):
    window = ScanWindow.of(dataset, 24)
    return dataset, window, nominal_probe(dataset.calibration, window, single_slice=True)


def deviations(found, truth_A):
    return float(np.hypot(*((np.array(found.drift_A) - truth_A) / found.uncertainty_A)))


@pytest.fixture(scope="module")
def found(drifted):
    """The drift of the scan that most tests change something of."""
    return find_drift(*parts(drifted(DRIFT_A, seed=1)))


def test_drift_is_found_within_its_uncertainty(found):
    assert found.applied
    assert deviations(found, DRIFT_A) < 3  # one draw in a hundred lies beyond
    assert max(found.uncertainty_A) < 0.5  # the drift is 1.8 Å
    assert found.defocus_A == pytest.approx(60.0, abs=10.0)  # found: 3 off, which is sufficient for the drift


@pytest.mark.slow
def test_patterns_beside_their_place_tell_the_same_drift(drifted):
    """Read up to half a pixel off, three seeds give 3.6, 0.5, 0.3 deviations; without offsets 3.7, 3.5, 5.4."""
    moved = drifted(DRIFT_A, seed=2, wander_px=0.5)
    found, untold = (find_drift(*parts(one)) for one in (moved, replace(moved, offsets_px=None)))
    assert found.applied
    assert deviations(found, DRIFT_A) < 2
    assert untold is None or deviations(untold, DRIFT_A) > 3


@pytest.mark.parametrize(("origin", "turned"), [(Origin.ESTIMATED, True), (Origin.GIVEN, False)])
def test_a_rotation_that_nobody_stated_is_told_off_by_what_the_fast_axis_is_turned_by(drifted, origin, turned):
    dataset = Orientation(transposed=False, turn_deg=3.0).of(drifted(DRIFT_A, seed=1))
    rotation = replace(dataset.calibration.entries["rotation_deg"], origin=origin)
    found = find_drift(*parts(replace(dataset, calibration=dataset.calibration.having(rotation_deg=rotation))))
    if turned:
        assert 0 < found.turn_uncertainty_deg < 1.5
        assert found.turn_deg == pytest.approx(-3.0, abs=3 * found.turn_uncertainty_deg)
    else:
        assert (found.turn_deg, found.turn_uncertainty_deg) == (0.0, 0.0)


def astigmatic(dataset, origin, c12_A=(3.0, -2.0), doubt_A=None):
    """The same data set with a wrong astigmatism."""
    named = {name: Quantity(value, origin, doubt_A) for name, value in zip(("C12a", "C12b"), c12_A, strict=True)}
    return replace(dataset, calibration=dataset.calibration.having(**named))


@pytest.mark.parametrize(("drift_A",), quick_first([((0.0, 0.0),), (DRIFT_A,)]))
def test_a_wrong_astigmatism_that_nobody_stated_makes_no_drift(drifted, drift_A):
    """A shear looks like astigmatism. For seeds 1 to 4: 0.5 to 3.1 deviations from the truth."""
    found = find_drift(*parts(astigmatic(drifted(drift_A, seed=3), Origin.ESTIMATED)))
    assert deviations(found, drift_A) < 3
    assert max(found.uncertainty_A) < 0.8  # rules out an uninformative uncertainty


@pytest.mark.slow
@pytest.mark.parametrize("drift_A", [(0.0, 0.0), DRIFT_A])
def test_a_wrong_astigmatism_that_was_stated_makes_one(drifted, drift_A):
    """For seeds 1 to 4: 4.2 to 5.5 deviations from the truth."""
    stated = find_drift(*parts(astigmatic(drifted(drift_A, seed=3), Origin.GIVEN)))
    assert deviations(stated, drift_A) > 3


@pytest.mark.parametrize(
    ("origin", "off", "doubt_A", "fits"),
    [
        (Origin.ESTIMATED, 0.9 * CONTRADICTED, None, [False, True]),
        (Origin.ESTIMATED, 1.1 * CONTRADICTED, None, [False]),
        (Origin.ESTIMATED, 0.0, 0.1, [False]),
        (Origin.GIVEN, 0.0, None, [True]),
    ],
    ids=["believed", "contradicted", "doubted", "stated"],
)
def test_the_lattice_is_found_once_more_with_an_astigmatism_that_is_believed(
    drifted, monkeypatch, origin, off, doubt_A, fits
):
    """The second fit takes the astigmatism as stated, and its drift is the result."""
    asked = []

    def fit(self, *, stated=True):
        asked.append(stated)
        ends_A = np.array([0.0 if stated else 1.0, 0.0, 0.0, 0.0])
        return Strain(ends_A, np.eye(4), 60.0, 3.0, True, ends_A, np.eye(4), off)

    monkeypatch.setattr(OverlapFit, "__init__", lambda self, *parts: None)
    monkeypatch.setattr(OverlapFit, "fit", fit)
    dataset = astigmatic(drifted(DRIFT_A, seed=1), origin, (0.1, 0.0), doubt_A)
    found = find_drift(*parts(dataset))
    assert asked == fits
    assert found.drift_A == ((0.0, 0.0) if fits[-1] else (1.0, 0.0))


@pytest.mark.slow
def test_an_astigmatism_that_the_lattice_does_not_contradict_is_believed(drifted):
    """With such an astigmatism the drift is found as precisely as if it had been stated."""
    dataset = drifted(DRIFT_A, seed=3)
    right = [find_drift(*parts(astigmatic(dataset, one, (0.0, 0.0)))) for one in (Origin.ESTIMATED, Origin.GIVEN)]
    assert right[0].drift_A == right[1].drift_A
    assert right[0].uncertainty_A == right[1].uncertainty_A
    data, window, probe = parts(astigmatic(dataset, Origin.ESTIMATED))
    off = OverlapFit(data, window, probe, Lattice.of(data)).fit(stated=False).astigmatism_off
    assert off > CONTRADICTED
    nearly = [find_drift(*parts(astigmatic(dataset, Origin.ESTIMATED, (0.1, 0.0), doubt))) for doubt in (None, 0.1)]
    assert nearly[0].drift_A != nearly[1].drift_A, "one that was doubted is found with the lattice"
    assert max(nearly[0].uncertainty_A) < max(nearly[1].uncertainty_A)


@pytest.mark.slow
def test_uncertainty_is_that_of_other_specimens_and_noise(drifted):
    """Twelve specimens: squared deviations of two numbers each have mean 2 with a standard error of 2 / sqrt(12)."""
    still = [find_drift(*parts(drifted((0.0, 0.0), seed=seed))) for seed in range(12)]
    squares = [deviations(one, (0.0, 0.0)) ** 2 for one in still]
    assert 0.5 < np.mean(squares) < 2 + 3 * 2 / np.sqrt(12)
    assert sum(one.applied for one in still) <= 2  # 5 % each: three or more in one of 50 draws


@pytest.mark.parametrize("count", [6, 8])
def test_derivatives_are_those_of_the_likelihood(drifted, count):
    """The chain from lattice to frequencies, compared with differences of the whole; the Newton step depends on it."""
    dataset, window, probe = parts(drifted(DRIFT_A, seed=1))
    fit = OverlapFit(dataset, window, probe, Lattice.of(dataset))
    values = np.array([0.5, -0.2, 0.1, 0.3, 70.0, 900.0, 4.0, -3.0])[:count]
    gradients, hessian, _ = fit._derivatives(values)
    found = gradients.sum(axis=0)
    steps = np.array([0.05] * 4 + [2.0, 60.0, 1.0, 1.0])[:count]
    for number, ahead in enumerate(np.diag(steps)):
        up, down = (fit._likelihood(values + sign * ahead) for sign in (1, -1))
        expected = (up - down) / (2 * steps[number])
        # differences over edges of the aperture one or two pixels wide: with another step the derivative differs by
        # half a percent of the largest of its kind
        of_kind = np.abs(found[:4]).max() if number < 4 else abs(found[number])
        assert found[number] == pytest.approx(expected, abs=0.03 * of_kind)
        assert hessian[number, number] < 0 or number == 5


def test_the_fit_climbs(drifted):
    dataset, window, probe = parts(drifted(DRIFT_A, seed=1))
    fit = OverlapFit(dataset, window, probe, Lattice.of(dataset))
    found = fit.fit()
    assert found.is_maximum
    here = fit._likelihood(np.array([*found.ends_A, found.defocus_A, found.focal_spread_A**2]))
    for number, away in enumerate((0.3, 0.3, 0.3, 0.3)):
        for sign in (1, -1):
            ends = found.ends_A.copy()
            ends[number] += sign * away
            assert fit._likelihood(np.array([*ends, found.defocus_A, found.focal_spread_A**2])) < here


def still(lattice):
    ratio = lattice.lengths_A[0] / lattice.lengths_A[1]
    return np.array([[0, ratio], [-ratio, 0], [1, 0], [0, 1]])


@pytest.mark.parametrize("stated", quick_first([False, True]))
def test_a_parabola_loses_what_it_says(drifted, stated):
    """The specimen scatters once only."""
    dataset, window, probe = parts(drifted(DRIFT_A, seed=1))
    lattice = Lattice.of(dataset)
    fit = OverlapFit(dataset, window, probe, lattice)
    found = fit.fit(stated=stated)
    assert fit.share_of(found, still(lattice)) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize(("share", "of_it"), [(0.25, 0.5), (-0.1, 0.0), (1.3, 1.0)])
def test_a_drift_is_as_sure_as_the_likelihood_loses_without_it(drifted, found, monkeypatch, share, of_it):
    """A parabola is valid only near its maximum: thick crystals have other maxima of equal height."""
    asked = []
    monkeypatch.setattr(OverlapFit, "share_of", lambda self, found, kept: asked.append(kept) or share)
    believed = find_drift(*parts(drifted(DRIFT_A, seed=1)))
    parabola = deviations(found, (0.0, 0.0))
    assert believed.deviations == pytest.approx(of_it * parabola, rel=0.1)  # uncertainties are hardly correlated
    np.testing.assert_allclose(asked[0] @ [0.3, 0.2], [0.2, -0.3, 0.3, 0.2])  # a turn and a stretch of a square scan
    assert believed.applied == (of_it * parabola > drift.SIGNIFICANCE)


def test_a_drift_that_does_no_harm_is_left_alone(drifted, monkeypatch):
    monkeypatch.setattr(drift, "HARMLESS", 2.0)  # in resolutions of 1.7 Å each
    found = find_drift(*parts(drifted(DRIFT_A, seed=1)))
    assert not found.applied
    assert deviations(found, (0.0, 0.0)) > drift.SIGNIFICANCE


def test_a_drift_beyond_belief_is_none(drifted, monkeypatch):
    """This holds however certain the fit is."""
    monkeypatch.setattr(drift, "MOST_STRAIN", 0.01)  # 0.15 Å of 15 Å
    found = find_drift(*parts(drifted(DRIFT_A, seed=1)))
    assert not found.applied and found.deviations == 0
    assert deviations(found, (0.0, 0.0)) > drift.SIGNIFICANCE


def test_patterns_that_show_nothing_have_no_drift(drifted):
    dataset = drifted(DRIFT_A, seed=1)
    assert find_drift(*parts(replace(dataset, patterns=np.zeros_like(dataset.patterns)))) is None


def test_patterns_that_are_no_numbers_have_no_drift(drifted):
    dataset = drifted(DRIFT_A, seed=1)
    broken = dataset.patterns.astype(np.float32)
    broken[5] = np.nan
    assert find_drift(*parts(replace(dataset, patterns=broken))) is None


def test_a_coarse_scan_has_no_drift(drifted, monkeypatch):
    dataset, window, probe = parts(drifted(DRIFT_A, seed=1))
    monkeypatch.setattr(drift, "OverlapFit", None)  # the fit is not even begun
    resolution = 1 / probe.semiangle_invA
    coarse = replace(dataset, positions_A=dataset.positions_A * (1.01 * drift.COARSEST * resolution / 0.8))
    assert find_drift(coarse, window, probe) is None
