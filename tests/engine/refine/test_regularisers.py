"""Regularisers: derivatives in double precision away from kinks, and the formulas themselves."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.regularisers.missing_wedge import MissingWedge, wedge_weights
from ptylive.engine.refine.regularisers.object_states import MixedVariance
from ptylive.engine.refine.regularisers.probe_support import (
    OutsideAperture,
    OutsideWindow,
    outside_circle,
    outside_mask,
    outside_radii,
    window_weights,
)
from ptylive.engine.refine.regularisers.scan_neighbours import ScanArrangement
from ptylive.engine.refine.regularisers.sparsity import AbsorptionNorm, PhaseNorm
from ptylive.engine.refine.regularisers.total_variation import TotalVariation
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset

WEDGE = MissingWedge(0.7, wedge_weights((3, 10, 12), 8.0, 0.4, 1.5))
OF_OBJECT = [
    PhaseNorm(0.7),
    AbsorptionNorm(0.7),
    TotalVariation(0.7),
    TotalVariation(0.7, 1.0, 1.0),
    TotalVariation(0.7, 3.0, 0.5),
    WEDGE,
    MixedVariance(0.7, 0.2),
]
OF_PROBE = [
    OutsideAperture(0.7, outside_circle(np.hypot(*np.meshgrid(np.fft.fftfreq(12), np.fft.fftfreq(12))), 0.2)),
    OutsideWindow(0.7, outside_radii(12, 0.3, 0.8)),
]


def complex_noise(shape, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


@pytest.mark.parametrize("penalty", [*OF_OBJECT, *OF_PROBE], ids=lambda penalty: type(penalty).__name__)
def test_gradients(penalty):
    """Compared with fourth-order central differences along random complex directions."""
    shape = (2, 3, 10, 12) if penalty in OF_OBJECT else (2, 12, 12)
    wave, direction = complex_noise(shape, 0), complex_noise(shape, 1)
    gradient = penalty.of(wave, np).gradient
    at = [penalty.of(wave + k * 1e-4 * direction, np).value for k in (-2, -1, 1, 2)]
    expected = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / 12e-4
    # a step of 1e-4 may cross a kink at one of 720 pixels; otherwise truncation leaves 1e-9
    kinks = isinstance(penalty, PhaseNorm | AbsorptionNorm)
    assert (gradient.conj() * direction).real.sum() == pytest.approx(expected, rel=1e-4 if kinks else 1e-6)


def test_gradients_of_norms_away_from_their_kinks():
    rng = np.random.default_rng(2)
    wave = rng.uniform(0.5, 0.8, (2, 3, 10, 12)) * np.exp(1j * rng.uniform(0.2, 2, (2, 3, 10, 12)))
    direction = complex_noise(wave.shape, 3)
    for penalty in OF_OBJECT[:2]:
        at = [penalty.of(wave + k * 1e-3 * direction, np).value for k in (-2, -1, 1, 2)]
        expected = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / 12e-3
        assert (penalty.of(wave, np).gradient.conj() * direction).real.sum() == pytest.approx(expected, rel=1e-6)


def test_penalties_have_the_values_of_their_formulas():
    wave = np.full((1, 1, 4, 4), np.exp(0.3j) * 0.5)
    assert PhaseNorm(2.0).of(wave, np).value == pytest.approx(2 * 16 * 0.3)
    assert AbsorptionNorm(2.0).of(wave, np).value == pytest.approx(2 * 16 * np.log(2))
    step = wave.copy()
    step[..., 2:, :] += 1.0
    # two edges, as it is periodic; rounded kinks
    assert TotalVariation(2.0).of(step, np).value == pytest.approx(2 * 2 * 4, rel=1e-6)
    assert MixedVariance(2.0, 1e6).of(np.concatenate([wave, wave + 1]), np).value == pytest.approx(2 / 2 * 2 * 16 / 4)
    probe = np.fft.fft2(np.eye(8)[None] / 1.0, norm="ortho")
    outside = np.zeros((8, 8), np.float32)
    outside[2, 2] = 1
    assert OutsideWindow(3.0, outside).of(probe, np).value == pytest.approx(3)


def test_the_wedge_is_0_across_the_beam_and_1_along_it():
    weights = wedge_weights((4, 8, 8), 5.0, 0.5, 2.0)
    assert weights[0].max() == 0
    np.testing.assert_allclose(weights[1:, 0, 0], 1)
    k_z, k_r = 1 / 20, 1 / 4
    assert weights[1, 0, 1] == pytest.approx(2 / np.pi * np.arctan((2 * k_z / k_r) ** 2), rel=1e-6)


def test_the_window_rises_between_its_two_radii():
    weights = outside_radii(16, 0.5, 1.0)
    assert (weights[8, 8], weights[8, 12]) == (0, 0)
    assert weights[0, 0] == 1
    assert weights[8, 14] == pytest.approx(0.5)


def test_masks_come_from_files(tmp_path):
    mask = np.zeros((8, 8))
    mask[4, 4] = 1
    np.save(tmp_path / "mask.npy", mask)
    assert outside_mask(str(tmp_path / "mask.npy"), 8)[0, 0] == 0
    assert window_weights(str(tmp_path / "mask.npy"), 8)[4, 4] == 1
    with pytest.raises(MetadataError, match="shape"):
        outside_mask(str(tmp_path / "mask.npy"), 9)
    with pytest.raises(MetadataError, match=r"none\.npy"):
        outside_mask(str(tmp_path / "none.npy"), 8)


REGULARISED = {
    "phase_norm_weight": 3.0,
    "abs_norm_weight": 2.0,
    "atv_weight": 2.0,
    "missing_wedge_weight": 5.0,
    "mixed_variance_weight": 4.0,
    "probe_reg_constraint_weight": 0.01,
    "window_weight": 0.02,
    "update_probe_pos": True,
    "fast_axis_reg_weight_positions": 30.0,
    "slow_axis_reg_weight_positions": 10.0,
    "deformation_reg_weight_positions": 20.0,
    "loss_weight": 0.5,
    "num_slices": 3,
    "total_thickness_A": 30.0,
    "obj_modes": 2,
    "probe_modes": 2,
    "window_px": 24,
}
FORMS = [{"phase_only_obj": True}, {"phase_only_obj": False}, {"weakly_damped_obj": True}, {"probe_part": "phase"}]


def few(dataset, count=30):
    return replace(
        dataset,
        patterns=dataset.patterns[:count],
        point=dataset.point[:count],
        positions_A=dataset.positions_A[:count],
    )


@pytest.mark.parametrize("form", FORMS, ids=["phase", "complex", "damped", "probe phase"])
def test_gradient_of_all_together(simulated, form):
    """Through the layout's chain rule, for every form of object and probe, along each block."""
    setup = prepare(few(simulated.dataset), Preset.from_mapping({**REGULARISED, **form}), None)
    layout, rng = setup.layout, np.random.default_rng(4)
    vector = setup.start.astype(np.float64)
    vector[: layout.object_size] += rng.uniform(0.1, 0.4, layout.object_size)
    vector[layout.object_size :] += 0.1 * rng.normal(size=vector.size - layout.object_size)

    def value(at):
        return sum(term.add(layout, at, np.zeros_like(at), np) for term in setup.terms)

    gradient = np.zeros_like(vector)
    for term in setup.terms:
        term.add(layout, vector, gradient, np)
    ends = np.cumsum([layout.object_size, layout.probe_size, *(b.start.size for b in layout.blocks)])
    for part in np.split(np.arange(vector.size), ends[:-1]):
        direction = np.zeros(vector.size)
        direction[part] = rng.normal(size=len(part))
        at = [value(vector + k * 1e-4 * direction) for k in (-2, -1, 1, 2)]
        expected = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / 12e-4
        # differences of neighbours no larger than the step are affected by the total variation's rounded kink: 4e-7
        assert gradient[part] @ direction[part] == pytest.approx(expected, rel=1e-5)


def test_off_means_absent(small):
    setup = prepare(few(small.dataset), Preset(window_px=24), None)
    assert setup.terms == ()


def test_the_objective_carries_them(small):
    dataset = few(small.dataset)
    plain = prepare(dataset, Preset(window_px=24), None)
    heavy = prepare(dataset, Preset(window_px=24, atv_weight=1e3), None)
    losses = []
    for setup in (plain, heavy):
        backend = GeneralMultislice(setup.multislice, np, "complex64", "arrays")
        objective = Objective(backend, setup.layout, setup.multislice.count, terms=setup.terms)
        bumpy = setup.start.copy()
        bumpy[: setup.layout.object_size] += 0.1 * np.random.default_rng(5).random(setup.layout.object_size)
        losses.append(objective.evaluate(bumpy).loss)
    assert losses[1] > losses[0] + 10  # by 1e5: 1e3 times the variation of a few thousand pixels


def test_grid_terms_follow_their_formulas():
    point = np.arange(20)
    positions = np.stack(np.divmod(point, 5), axis=1).astype(float)
    scan = ScanArrangement.of(point, (4, 5), positions)
    assert scan.row_triples.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert len(scan.triples) == 4 * 3
    gap = ScanArrangement.of(np.r_[0:5, 10:20], (4, 5), np.r_[positions[:5], positions[10:]])
    assert len(gap.row_triples) == 0


def test_an_uneven_object_has_no_wedge(small):
    preset = Preset(num_slices=3, slice_distances_A=(5.0, 9.0), missing_wedge_weight=1.0, window_px=24)
    with pytest.raises(MetadataError, match="equal distances"):
        prepare(few(small.dataset), preset, None)


def test_a_single_slice_has_no_wedge(small):
    """Trials with one slice make nothing of these settings."""
    preset = Preset(num_slices=1, missing_wedge_weight=1.0, beta_wedge=1.0, window_px=24)
    problem = prepare(few(small.dataset), preset, None)
    assert not any(problem.regularisation.owns(term) for term in problem.terms)
    assert not problem.regularisation.wedge(problem.layout.object_shape, 1.0).any()
