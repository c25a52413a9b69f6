"""Sign and size of the phase maps of a weak phase object whose patterns are computed without approximation."""

from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
from quick_first import quick_first
from synthetic import WeakPhaseScan, batches, correlation

from ptylive.engine.imaging.maps.obf import LEAST_SIGNAL, OptimumBrightField, between
from ptylive.engine.imaging.maps.wdd import _axis_steps
from ptylive.engine.imaging.noise.rings import RingSignal, power_of
from ptylive.engine.live.engine import reconstruct
from ptylive.schema import MetadataError
from ptylive.schema.metadata import overlay

SIDE = 24
UNDER, OVER = {"C10": -150.0, "C12a": 60.0}, {"C10": 150.0}


def maps(aberrations, methods, settings=MappingProxyType({}), **object_keys):
    """Maps at the scan points, and the true phase."""
    scan = WeakPhaseScan.make(aberrations, n=SIDE, **{"strength": 0.05, **object_keys})
    _, rendered = reconstruct(scan.header(lies_still=True), lambda: batches(scan.patterns), methods, settings=settings)
    finer = {picture.name: picture.data.shape[0] // scan.n for picture in rendered.maps}
    return {p.name: p.data[:: finer[p.name], :: finer[p.name]] for p in rendered.maps}, scan.phase


# Losses occur beyond the aperture or, near its rim, in filters that expect noise although there is none: correlations
# are 0.95 and more, here and at 300 Å. With a wrong sign of a map or of half of its frequencies they are 0.3 and less.
@pytest.mark.parametrize("aberrations", quick_first([{}, UNDER, OVER], 2), ids=["focus", "under", "over"])
def test_phases_have_the_sign_and_about_the_size_of_the_object_s(aberrations):
    found, truth = maps(aberrations, ["obf", "ssb", "wdd"])
    for name, least in (("obf", 0.7), ("ssb", 0.7), ("wdd_phase", 0.5)):
        assert correlation(found[name], truth) > 0.9, name
        slope = np.polyfit(truth.ravel(), found[name].ravel(), 1)[0]
        assert least < slope < 1.05, name  # regularised, so never larger
    # exp(0.05 i): 1 - 0.05^2 / 2, and the filter's eps
    assert found["wdd_amplitude"].mean() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("aberrations", [UNDER, OVER], ids=["under", "over"])
def test_out_of_focus_the_aligned_bright_field_is_bright_where_the_object_is_dense(aberrations):
    """This holds on either side of focus. The map is weighted by its transfer: similar to a phase, but not a phase."""
    found, truth = maps(aberrations, ["tcbf"])
    assert correlation(found["tcbf"], truth) > 0.6


def absorbed(n=SIDE, strength=0.02):
    """A smooth absorption (n, n) with mean 0 that is unrelated to the phase."""
    y, x = np.indices((n, n)) * 2 * np.pi / n
    return strength * (np.cos(3 * y + x) + np.sin(4 * x - 2 * y))


@pytest.mark.parametrize("aberrations", [{}, UNDER], ids=["focus", "under"])
def test_the_single_sidebands_tell_amplitude_from_phase(aberrations):
    """The absorption has periods within reach of the sidebands: 0.26 and 0.37 1/Å on 24 points of 0.5 Å."""
    absorption = absorbed()
    found, phase = maps(aberrations, ["ssb"], strength=0.02, absorption=absorption)
    assert correlation(found["ssb_amplitude"], -absorption) > 0.9
    assert found["ssb_amplitude"].mean() == pytest.approx(1.0, abs=0.01)
    assert correlation(found["ssb"], phase) > 0.9
    without, _ = maps(aberrations, ["ssb"], strength=0.02)
    # second order in the phase, and the effect of the edges of the padded scan
    assert without["ssb_amplitude"].std() < 0.3 * found["ssb_amplitude"].std()


@pytest.mark.slow
def test_one_sideband_tells_the_phase_alone():
    """One sideband shows half of what both show: the same phase without absorption, a different one with it."""
    both, truth = maps({}, ["ssb"])
    one, _ = maps({}, ["ssb"], {"ssb.sidebands": 1})
    assert correlation(one["ssb"], truth) > 0.9
    assert np.polyfit(both["ssb"].ravel(), one["ssb"].ravel(), 1)[0] == pytest.approx(1, abs=0.1)
    mixed, _ = maps({}, ["ssb"], {"ssb.sidebands": 1}, absorption=absorbed(strength=0.1))
    alone, _ = maps({}, ["ssb"], absorption=absorbed(strength=0.1))
    assert correlation(mixed["ssb"], truth) < correlation(alone["ssb"], truth) - 0.05


@pytest.mark.slow
def test_a_crop_takes_pixels_near_the_beam_only():
    """From 1 on the square contains the disc; a smaller one shows less of the specimen, but still its phase."""
    whole, truth = maps({}, ["ssb"])
    for side in (1.2, 4):
        same, _ = maps({}, ["ssb"], {"ssb.crop": side})
        np.testing.assert_allclose(same["ssb"], whole["ssb"], atol=1e-6)
    part, _ = maps({}, ["ssb"], {"ssb.crop": 0.6})
    assert correlation(part["ssb"], truth) > 0.8
    assert correlation(part["ssb"], whole["ssb"]) < 0.99


def test_a_crop_that_leaves_no_pixel_is_refused():
    scan = WeakPhaseScan.make({}, n=16)
    header = overlay(
        scan.header(lies_still=True), {"beam_center_px": [8.5, 8.5]}
    )  # a corner: the nearest pixel is half a pixel away
    with pytest.raises(MetadataError, match=r"ssb\.crop=0\.1 leaves no pixel"):
        reconstruct(header, lambda: batches(scan.patterns), ["ssb"], settings={"ssb.crop": 0.1})


def test_a_threshold_divides_what_is_strong_and_leaves_out_what_is_weak():
    found, truth = maps({}, ["ssb", "wdd"], {"ssb.threshold": 0.02, "wdd.threshold": 1e-3})
    wiener, _ = maps({}, ["ssb"])
    assert correlation(found["ssb"], truth) > 0.9
    assert correlation(found["wdd_phase"], truth) > 0.9
    # divided by the whole power, whereas the filter adds a share of the strongest power to it
    assert found["ssb"].std() > wiener["ssb"].std()
    nothing, _ = maps({}, ["ssb"], {"ssb.threshold": 1.0})
    assert nothing["ssb"].std() < 0.2 * found["ssb"].std()


@pytest.mark.parametrize("aberrations", [UNDER, OVER], ids=["under", "over"])
def test_with_its_transfer_divided_out_the_aligned_bright_field_is_the_phase(aberrations):
    settings = {"tcbf.epsilon": 0.01, "tcbf.upsample": 1}
    found, truth = maps(aberrations, ["tcbf"], settings)
    plain, _ = maps(aberrations, ["tcbf"], {"tcbf.upsample": 1})
    assert correlation(found["tcbf"], truth) > correlation(plain["tcbf"], truth)
    assert np.polyfit(truth.ravel(), found["tcbf"].ravel(), 1)[0] == pytest.approx(0.8, abs=0.25)  # of rad, damped


@pytest.mark.parametrize("shape", [(1, 24), (24, 1), (1, 1)])
def test_across_a_detector_of_a_single_row_a_step_is_at_a_right_angle(shape):
    row, col = np.indices(shape) * 0.5
    grid = SimpleNamespace(k_row=row, k_col=col, pixel=0.5)
    d_row, d_col = _axis_steps(SimpleNamespace(grid=grid))
    np.testing.assert_array_equal([d_row, d_col], [[0.5, 0.0], [0.0, 0.5]])


def test_between_columns_of_a_table_it_is_straight():
    table = np.array([[0.0, 1.0, 4.0], [10.0, 20.0, 0.0]])
    row, place = np.array([0, 0, 0, 1, 1]), np.array([0.0, 0.5, 1.25, 0.75, 2.0])
    np.testing.assert_allclose(between(table, row, place), [0.0, 0.5, 1.75, 17.5, 0.0])


PER_RING = 60
"""Number of frequencies in each ring of a filter whose transfer falls off."""
FALLING = np.geomspace(1.0, 1.5e-3, 8)


def repeated(signal_to_noise, *, scans=60, information=FALLING):
    """Scatter of OBF's map over repeated scans of a specimen, and each scan's own estimate, by rings (scans, rings).

    ``signal_to_noise`` (rings,): power of the phase relative to the noise; frequencies are independent.
    """
    rng, ring = np.random.default_rng(4), np.repeat(np.arange(len(information)), PER_RING)
    obf = OptimumBrightField(None, None, information[ring], ring)
    spectra = SimpleNamespace(
        visited_share=1.0, independent_share=1.0, density=1.0, conditions=SimpleNamespace(settings={})
    )
    size = np.sqrt(information[ring] / 2)

    def noise():
        return size * rng.normal(size=(2, ring.size)).T.copy().view(complex)[:, 0]

    phase = noise() * np.sqrt(signal_to_noise[ring])
    maps, said = [], []
    for _ in range(scans):
        numerator, shifted = phase + noise(), noise()
        floor = obf._rings.floor(power_of(shifted))
        signal = obf._rings.signal(obf._rings.sum(power_of(numerator)) - floor, floor, 1.0)
        gain = obf._gain(1.0, signal)
        maps.append(numerator * gain)
        told = obf._rings.noise_alone(shifted, floor) * obf._noise_gain(spectra, signal, gain)
        said.append(np.bincount(ring, power_of(told)))
    return np.bincount(ring, np.var(maps, axis=0, ddof=1)), np.array(said)


# Chance changes the weights, most at the end of the transfer, where they amplify noise. An estimate from the scan's own
# weights would give 0.90 and 0.86.
@pytest.mark.parametrize(("strongest", "least"), quick_first([(3.0, 0.88), (30.0, 0.93)]))
def test_obf_says_what_its_map_scatters_by(strongest, least):
    scatter, said = repeated(np.geomspace(strongest, 1e-3, 8))
    assert least < np.sqrt(said.mean(axis=0).sum() / scatter.sum()) < 1.05


def test_chance_hardly_lights_up_the_end_of_the_transfer():
    """An empty ring there passes little more than its faded weight; with only its own errors, six times as much."""
    scatter, _ = repeated(np.repeat([1.0, 0.0], 4))
    fades_to = PER_RING * FALLING / (FALLING + FALLING / LEAST_SIGNAL) ** 2
    assert scatter[-1] < 2 * fades_to[-1]


def test_rings_without_noise_pass_as_they_are_and_empty_ones_fade():
    obf = OptimumBrightField(None, None, np.repeat([1.0, 0.5, 0.25], 4), np.repeat(np.arange(3), 4))
    ones = np.ones(3)
    measured, pure = np.array([True, False, False]), np.array([False, True, False])
    ratio = obf._noise_to_signal(RingSignal(np.array([100.0, 0.0, 0.0]), 1e4 * ones, ones, measured, pure))
    np.testing.assert_allclose(ratio[::4], [0.01, 0.0, 1.0], rtol=0.02)
