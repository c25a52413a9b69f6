"""Every setting of a refinement has its stated effect; those not covered by other tests are covered here.

Sums over some 10 000 pixels in single precision are compared to 1e-4: their roundings, at random 100 u = 6e-6, may all
have the same sign on some processors. Phases are compared to 1e-6, some 16 u.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from ptylive.engine.backend.multislice.problem import Precision
from ptylive.engine.refine import refine
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.regularisers.deconvolution import richardson_lucy
from ptylive.engine.refine.regularisers.missing_wedge import wedge_weights
from ptylive.engine.refine.regularisers.projections import potentials, projected
from ptylive.engine.refine.solvers.backtracking import BacktrackingSearch
from ptylive.engine.refine.solvers.descent import Descent
from ptylive.engine.refine.tuning.parameter_search import Scanned, requested_scans
from ptylive.schema.preset import Preset

TESTS = Path(__file__).resolve().parents[2]
THICK = {
    "num_slices": 3, "total_thickness_A": 30.0, "obj_modes": 2, "probe_modes": 2, "window_px": 24,
    "weakly_damped_obj": True, "non_negative_phase": False,
}  # fmt: skip


def test_every_setting_is_tested_somewhere():
    """Searched by name, outside the tests that treat all settings alike."""
    texts = [path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py")]
    words = set().union(*(re.findall(r"\w+", text) for text in texts))
    assert [name for name in Preset.full().settings() if name not in words] == []


@pytest.fixture(scope="module")
def bumpy(simulated):
    """A setup of a damped object, and a vector away from its start."""
    setup = prepare(simulated.dataset, Preset.from_mapping(THICK), None)
    rng, vector = np.random.default_rng(1), setup.start.copy()
    size = setup.layout.object_size
    vector[:size] = rng.uniform(0.05, 0.9, size).astype("f4")
    return setup, vector


def terms_value(bumpy, **settings):
    """Sum of the terms that settings add to the loss."""
    setup, vector = bumpy
    terms = setup.regularisation.terms(Preset.from_mapping({**THICK, **settings}).regularisers, setup.layout)
    return sum(term.add(setup.layout, vector, np.zeros_like(vector), np) for term in terms)


def transmission(bumpy):
    """Complex object (modes, slices, Y, X) of the bumpy vector."""
    setup, vector = bumpy
    return setup.layout.to_complex(vector)[0]


@pytest.mark.parametrize(("p", "q"), [(1.0, 1.0), (2.0, 1.0), (2.0, 0.7)])
def test_atv_p_and_atv_q(bumpy, p, q):
    wave = transmission(bumpy)
    inner = sum(np.abs(wave - np.roll(wave, 1, axis)) ** p for axis in (-2, -1))
    value = terms_value(bumpy, atv_weight=2.0, atv_p=p, atv_q=q)
    assert value == pytest.approx(2 * (inner ** (q / p)).sum(), rel=1e-4)


def test_missing_wedge_beta(bumpy):
    setup, _ = bumpy
    spectrum = np.abs(np.fft.fftn(transmission(bumpy), axes=(1, 2, 3), norm="ortho")) ** 2
    for beta in (0.5, 4.0):
        weights = wedge_weights(setup.layout.object_shape, 10.0, setup.grid.pixel_A, beta)
        value = terms_value(bumpy, missing_wedge_weight=3.0, missing_wedge_beta=beta)
        assert value == pytest.approx(3 * (weights * spectrum).sum(), rel=1e-4)


def test_mixed_variance_sigma(bumpy):
    wave = transmission(bumpy)
    f = [np.fft.fftfreq(size) for size in wave.shape[-2:]]
    for sigma in (0.1, 0.5):
        low = np.exp(-(f[0][:, None] ** 2 + f[1] ** 2) / sigma**2)
        smooth = low * np.fft.fft2(wave, norm="ortho")
        spread = (np.abs(smooth - smooth.mean(axis=0)) ** 2).sum() / 2
        value = terms_value(bumpy, mixed_variance_weight=4.0, mixed_variance_sigma=sigma)
        assert value == pytest.approx(4 * spread, rel=1e-4)


def test_probe_constraint_radius_and_mask(bumpy, tmp_path):
    setup, vector = bumpy
    power = (np.abs(setup.layout.to_complex(vector)[1]) ** 2).sum(axis=0)
    radius = setup.regularisation.k_radius / setup.regularisation.semiangle_invA
    for limit in (0.5, 0.9):
        value = terms_value(bumpy, probe_reg_constraint_weight=2.0, probe_constraint_radius=limit)
        assert value == pytest.approx(2 * power[radius > limit].sum(), rel=1e-4)
    mask = np.random.default_rng(3).random((24, 24)) > 0.5
    np.save(tmp_path / "mask.npy", mask)
    value = terms_value(bumpy, probe_reg_constraint_weight=2.0, probe_constraint_mask=str(tmp_path / "mask.npy"))
    assert value == pytest.approx(2 * power[~np.fft.ifftshift(mask)].sum(), rel=1e-4)


def by_hand(bumpy, **settings):
    """Phase and absorption after a charge flip."""
    setup, vector = bumpy
    preset = Preset.from_mapping({**THICK, "do_charge_flip": True, **settings})
    return potentials(setup.layout, projected(vector, preset.regularisers, setup.layout, setup.regularisation, np), np)


def test_cf_delta_and_beta_of_phase_and_absorption(bumpy):
    setup, vector = bumpy
    phase, absorption = potentials(setup.layout, vector, np)
    found = by_hand(bumpy, cf_delta_phase=0.4, cf_beta_phase=0.25, cf_delta_abs=0.6, cf_beta_abs=0.5)
    for values, after, delta, beta in ((phase, found[0], 0.4, 0.25), (absorption, found[1], 0.6, 0.5)):
        largest = values.max(axis=(-2, -1), keepdims=True)
        np.testing.assert_allclose(after, np.where(values < delta * largest, beta * values, values), atol=1e-6)


@pytest.mark.parametrize("deconvolution", ["wiener", "richardson_lucy"])
def test_fancy_sigmas_sharpen_their_own_part(bumpy, deconvolution):
    plain = by_hand(bumpy, cf_delta_phase=0.0, cf_delta_abs=0.0)
    for part, name in enumerate(("fancy_sigma_phase_px", "fancy_sigma_abs_px")):
        settings = {name: (1.5, 0.1), "fancy_deconvolution": deconvolution, "cf_delta_phase": 0.0, "cf_delta_abs": 0.0}
        found = by_hand(bumpy, **settings)
        assert np.ptp(found[part]) > 1.3 * np.ptp(plain[part])  # found 2.7 and more
        np.testing.assert_allclose(found[1 - part], plain[1 - part], atol=1e-6)


def test_richardson_and_lucy_bring_blurred_atoms_back():
    """They are sharper, never below 0, and keep their sum, which Wiener's filter does not guarantee."""
    y, x = np.indices((48, 48)) - 24
    blurred = sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * 3.0**2)) for a, b in ((-5, -4), (6, 3), (0, 12)))
    sharp = richardson_lucy(blurred[None], 2.0, np)[0]
    assert sharp.max() > 1.5 * blurred.max()  # 3 pixels wide without 2 of them: 9 / 5 as high
    assert sharp.min() >= -1e-12
    assert sharp.sum() == pytest.approx(blurred.sum(), rel=1e-3)  # except for the part beyond the borders
    again = richardson_lucy(sharp[None] * 0 + 0.7, 2.0, np)
    np.testing.assert_allclose(again, 0.7, rtol=1e-5)


def test_steps_of_the_solvers(simulated):
    values = {"sweep_step": 0.3, "probe_step": 0.07, "wolfe_c2_constant": 0.8, "max_count": 5}
    values |= {"optimizer": "pypty", "optimism": 2.5, "reduce_factor": 0.2, "min_step": 1e-9, "update_step_bfgs": 0.5}
    preset = Preset.from_mapping({"window_px": 24, "probe_modes": 1, **values})
    strategy, rule = prepare(simulated.dataset, preset, None).strategy, Descent.of(preset.solver).search
    assert (strategy.sweep_step, strategy.probe_step) == (0.3, 0.07)
    assert isinstance(rule, BacktrackingSearch)
    assert (rule.c2, rule.max_count, rule.first_step) == (0.8, 5, 0.5)
    assert (rule.optimism, rule.reduce_factor, rule.min_step) == (2.5, 0.2, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("beyond", [{}, {"num_slices": 2, "total_thickness_A": 20.0, "update_tilts": True}])
def test_precision(simulated, beyond):
    """A run in double precision equals one in single precision up to rounding; parameters have that precision, too."""
    values = {"window_px": 32, "sweeps": 1, "epoch_max": 3, "probe_modes": 1, "refine_drift": False, **beyond}
    asked = Preset.from_mapping({**values, "precision": "double"})
    setup = prepare(simulated.dataset, asked, None)
    assert setup.start.dtype == np.float64
    assert setup.multislice.precision is Precision.DOUBLE
    single, double = (refine(simulated.dataset, each, backend="cpu") for each in (Preset.from_mapping(values), asked))
    assert double.loss == pytest.approx(single.loss, rel=1e-4)
    assert np.abs(double.object - single.object).max() < 1e-3
    assert not np.array_equal(double.object, single.object)


def test_update_extra_cut(simulated):
    """The whole object is filtered at a frequency lower than that of the windows by this amount."""
    cut = {}
    for extra in (0.0, 0.2):
        values = {"window_px": 24, "probe_modes": 1, "damping_cutoff_multislice": 0.7, "update_extra_cut": extra}
        layout = prepare(simulated.dataset, Preset.from_mapping(values), None).layout
        noise = np.random.default_rng(2).normal(size=(2, 1, *layout.object_shape[1:]))
        spectrum = np.abs(np.fft.fft2(layout.cleaning.clean_object(noise, np)[0, 0]))
        f = [np.abs(np.fft.fftfreq(size)) for size in spectrum.shape]
        radius = np.hypot(f[0][:, None], f[1])
        cut[extra] = radius[spectrum > 1e-6 * spectrum.max()].max()
    # to one frequency of the grid, 1 / 50, and the mask's edge
    assert cut[0.0] == pytest.approx(0.35, abs=0.03)
    assert cut[0.2] == pytest.approx(0.25, abs=0.03)


def test_scans_asked_for(simulated):
    thick = {"num_slices": 3, "total_thickness_A": 30.0}
    asked = Preset.from_mapping({**thick, "scan_thickness": True, "scan_rotation": True, "scan_defocus": False})
    assert set(requested_scans(simulated.dataset, asked)) == {Scanned.THICKNESS, Scanned.ROTATION}
    assert requested_scans(simulated.dataset, Preset.from_mapping({**thick, "scan_defocus": False})) == []
