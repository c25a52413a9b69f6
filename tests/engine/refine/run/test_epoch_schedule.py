"""Settings that a preset schedules by epoch, and hard constraints checked against their formulas."""

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.analysis.half_dose import compare_half_doses
from ptylive.engine.refine import TrialContext, refine
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.regularisers.deconvolution import richardson_lucy
from ptylive.engine.refine.regularisers.missing_wedge import wedge_weights
from ptylive.engine.refine.regularisers.projections import (
    SPREAD_RAD,
    Atomicity,
    blurred,
    flipped,
    orthogonal,
    potentials,
    projected,
)
from ptylive.engine.refine.solvers.lbfgs import Lbfgs
from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset

ROUNDING = 1e-5
"""Phases below 1 rad, converted to waves and back in single precision, with a transform or two on the way."""
NEITHER = {"refine_drift": False, "phase_deviation": False}
"""Done before and after a run, whatever its schedules: a quarter of the time of runs as short as these."""
FORMS = {"phase": {"phase_only_obj": True}, "complex": {"phase_only_obj": False}, "damped": {"weakly_damped_obj": True}}
THICK = {"num_slices": 3, "total_thickness_A": 30.0, "obj_modes": 2, "probe_modes": 2, "window_px": 32}


def few(dataset, number=16):
    return replace(
        dataset,
        patterns=dataset.patterns[:number],
        point=dataset.point[:number],
        positions_A=dataset.positions_A[:number],
    )


@pytest.fixture(params=FORMS, ids=str)
def bumpy(request, small):
    """A setup, and a vector away from its start."""
    preset = Preset.from_mapping(
        {**THICK, "update_probe_pos": True, "non_negative_phase": False, **FORMS[request.param]}
    )
    setup = prepare(few(small.dataset), preset, None)
    layout = setup.layout
    phase = np.random.default_rng(1).uniform(0.1, 0.9, (layout.planes, *layout.object_shape[1:]))
    vector = layout.start(phase)
    vector[layout.object_size :] += np.random.default_rng(2).normal(size=vector.size - layout.object_size).astype("f4")
    return setup, vector, phase.reshape(layout.object_modes, *layout.object_shape)


def after(bumpy, **settings):
    setup, vector, _ = bumpy
    return projected(
        vector, Preset.from_mapping({**THICK, **settings}).regularisers, setup.layout, setup.regularisation, np
    )


def test_a_gaussian_filter_blurs_the_phase(bumpy):
    setup, vector, phase = bumpy
    untouched = vector.copy()
    blurry, _ = potentials(setup.layout, after(bumpy, apply_gaussian_filter_px=2.0), np)
    np.testing.assert_array_equal(vector, untouched)
    np.testing.assert_allclose(blurry, blurred(phase, 2.0, np), atol=ROUNDING)
    spike = np.zeros((32, 32))
    spike[16, 16] = 1
    y, x = np.indices(spike.shape) - 16
    expected = np.exp(-(y**2 + x**2) / 8) / (2 * np.pi * 4)
    np.testing.assert_allclose(blurred(spike, 2.0, np), expected, atol=1e-8)  # exp(-2 pi^2): beyond the Nyquist limit


def test_the_amplitude_filter_leaves_the_phase(bumpy):
    setup, _, phase = bumpy
    kept, _ = potentials(setup.layout, after(bumpy, apply_gaussian_filter_amplitude_px=2.0), np)
    np.testing.assert_allclose(kept, phase, atol=ROUNDING)


def test_a_charge_flip_reverses_phases_below_its_share_of_the_largest(bumpy):
    setup, _, phase = bumpy
    found, _ = potentials(setup.layout, after(bumpy, do_charge_flip=True, cf_delta_phase=0.5), np)
    largest = phase.max(axis=(-2, -1), keepdims=True)
    np.testing.assert_allclose(found, np.where(phase < 0.5 * largest, -0.95 * phase, phase), atol=ROUNDING)


def test_fancy_flips_sharpen_and_blur():
    y, x = np.indices((64, 64)) - 32
    atom = np.exp(-(y**2 + x**2) / 4.0**2)
    for iterative, worst in ((False, 0.02), (True, 0.03)):  # both leave 1 % of a blur that they undo
        same = flipped(atom, 0.0, -0.95, Atomicity(3.0, 3.0, iterative), np)
        np.testing.assert_allclose(same, atom, atol=worst)
        assert flipped(atom, 0.0, -0.95, Atomicity(3.0, 1.0, iterative), np).max() > 1.5


def test_a_nearly_empty_picture_is_sharpened_without_running_away():
    """In empty regions the transforms leave rounding errors, which must not be divided by."""
    atoms = np.zeros((56, 56), np.float32)
    atoms[::9, 5::7] = np.random.default_rng(0).uniform(1e-8, 0.07, (7, 8))
    sharp = richardson_lucy(atoms, 1.06, np)
    assert sharp.sum() == pytest.approx(atoms.sum(), rel=1e-3)  # the rule preserves the sum
    assert sharp.max() < 10 * atoms.max()


def test_the_wedge_is_taken_out(bumpy):
    setup, _, phase = bumpy
    found, _ = potentials(setup.layout, after(bumpy, beta_wedge=2.0), np)
    if setup.layout.object_form == "complex":
        before = np.exp(1j * phase)
    else:
        before = phase
    weights = 1 - wedge_weights(setup.layout.object_shape, 10.0, setup.grid.pixel_A, 2.0)
    expected = np.fft.ifftn(weights * np.fft.fftn(before, axes=(1, 2, 3)), axes=(1, 2, 3))
    expected = np.angle(expected) if setup.layout.object_form == "complex" else expected.real
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


def test_modes_become_orthogonal_and_the_light_stays(bumpy):
    setup, vector, _ = bumpy
    before = setup.layout.probe_block(vector)
    now = setup.layout.probe_block(after(bumpy, keep_probe_states_orthogonal=True))
    light, expected = ((each**2).sum(axis=(0, 1)) for each in (now, before))
    np.testing.assert_allclose(light, expected, rtol=0, atol=ROUNDING * expected.max())
    waves = (now[0] + 1j * now[1]).reshape(2, -1)
    overlap = waves @ waves.conj().T
    assert abs(overlap[0, 1]) < ROUNDING * abs(overlap[0, 0])
    assert overlap[0, 0].real >= overlap[1, 1].real


def test_orthogonal_modes_of_a_known_case():
    modes = np.array([[1, 1], [1, -1]]) @ np.diag([2.0, 1.0])
    np.testing.assert_allclose(np.abs(orthogonal(modes, np)), np.sqrt(2) * np.diag([2.0, 1.0]), atol=1e-12)


def test_resets_restore_an_empty_object_or_the_nominal_positions(bumpy):
    setup, vector, _ = bumpy
    layout = setup.layout
    empty = after(bumpy, restart_from_vacuum=True)
    phase, absorption = potentials(layout, empty, np)
    assert np.abs(phase).max() < 1.001 * SPREAD_RAD  # except for what distinguishes modes
    assert np.abs(absorption).max() < 1e-6
    np.testing.assert_array_equal(empty[layout.object_size :], vector[layout.object_size :])
    back = layout.other_blocks(after(bumpy, reset_positions=True))[BlockName.SHIFTS]
    np.testing.assert_array_equal(back, setup.grid.shifts_px.astype("f4"))


def run(dataset, **values):
    plain = {"window_px": 32, "probe_modes": 1, "epoch_max": 8, "sweeps": 3, **NEITHER}
    return refine(dataset, Preset.from_mapping({**plain, **values}), backend="cpu")


def test_a_thickness_may_move_from_some_epoch_on(small):
    thick = {"num_slices": 3, "total_thickness_A": 20.0}
    never, late = (run(small.dataset, update_thickness=f"epoch >= {first}", **thick) for first in (1000, 4))
    assert sum(never.slice_thickness_A) == pytest.approx(20.0)
    assert sum(late.slice_thickness_A) != pytest.approx(20.0, abs=1e-3)


def test_an_object_held_for_the_first_epochs_stays_empty(small):
    held = run(small.dataset, update_obj="epoch >= 8")
    assert np.abs(np.angle(held.object)).max() < 1e-6
    assert held.loss[-1] < held.loss[0]
    late = run(small.dataset, update_obj="epoch >= 4")
    assert np.abs(np.angle(late.object)).max() > 0.1
    assert late.loss[-1] < 0.9 * held.loss[-1]  # found 0.68 of it


def test_positions_wait_for_their_epoch(small):
    dataset = small.dataset
    waiting = run(dataset, update_probe_pos="lambda x: x > 100")
    # the fractional part of a pixel is in single precision
    np.testing.assert_allclose(waiting.positions_A, dataset.positions_A, atol=1e-6)
    moving = run(dataset, update_probe_pos="lambda x: x >= 6")
    assert np.abs(moving.positions_A - dataset.positions_A).max() > 1e-4


def test_a_restart_from_vacuum_is_a_fresh_start(small):
    """The loss jumps where the object is emptied, and falls again."""
    result = run(small.dataset, restart_from_vacuum="epoch == 5")
    plain = run(small.dataset)
    np.testing.assert_allclose(result.loss[:5], plain.loss[:5], rtol=1e-6)  # the same arithmetic up to there
    assert result.loss[5] > plain.loss[5] * 1.05
    assert result.loss[7] < result.loss[5]
    assert len(result.loss) == 8


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"atv_weight": "0.5 if epoch > 1 else 0"}, marks=pytest.mark.slow),
        pytest.param({"atv_weight": "0.5 / (1 + epoch)"}, marks=pytest.mark.slow),
        {"phase_norm_weight": 0.1, "loss_weight": "2 if epoch < 4 else 1"},
        {"apply_gaussian_filter_px": "0.5 if epoch % 4 == 3 else 0"},
        {
            "hist_length": "epoch",
            "wolfe_c1_constant": "1e-4 if epoch < 5 else 1e-3",
            "reset_history_flag": "epoch == 6",
        },
        {"keep_probe_states_orthogonal": True, "probe_modes": 2},
        {"optimizer": "pypty", "atv_weight": "0.5 / (1 + epoch)", "restart_from_vacuum": "epoch == 5", "sweeps": 0},
        {"probe_marker": "rows:2", "probe_modes": 2, "keep_probe_states_orthogonal": True},
        {
            **{"tilts_mrad": [[0] * 6] * 64, "update_tilts": "epoch > 3", "tilt_mode": 2},
            **{
                "fast_axis_reg_weight_tilts": 1.0,
                "slow_axis_reg_weight_tilts": 1.0,
                "deformation_reg_weight_tilts": 0.1,
            },
        },
        {"do_charge_flip": "epoch == 1", "cf_delta_phase": "0.05 * epoch"},
    ],
    ids=lambda values: next(iter(values)),
)
def test_every_kind_of_change_runs_through(small, values):
    result = run(small.dataset, **values)
    assert result.state == "done"
    assert np.isfinite(result.loss).all()
    assert len(result.loss) == 8


def test_a_stopped_run_with_schedules_goes_on_as_if_it_had_not_stopped(small, tmp_path):
    values = {"atv_weight": "0.5 / (1 + epoch)", "restart_from_vacuum": "epoch == 5", "update_probe": "epoch > 2"}
    preset = Preset.from_mapping({"window_px": 32, "probe_modes": 1, "epoch_max": 8, "sweeps": 3, **NEITHER, **values})
    whole = refine(small.dataset, preset, backend="cpu")
    for limit in (4, 9, 15):
        asked = count()
        refine(
            small.dataset,
            preset,
            backend="cpu",
            should_stop=lambda asked=asked, limit=limit: next(asked) > limit,
            checkpoint=tmp_path / "state",
            resume=True,
        )
    rest = refine(small.dataset, preset, backend="cpu", checkpoint=tmp_path / "state", resume=True)
    np.testing.assert_allclose(rest.loss, whole.loss, rtol=1e-6)  # the same arithmetic


def test_impossible_schedules_are_refused_before_the_run(small):
    with pytest.raises(MetadataError, match="epoch 4: refinement setting atv_weight"):
        run(small.dataset, atv_weight="3 - epoch")


LAYERS = {"num_slices": 3, "total_thickness_A": 20.0, "phase_only_obj": False, "sweeps": 4}


def differ(result):
    """Largest difference between slices of the transmission."""
    return np.ptp(result.object.real, axis=1).max()


def test_identical_slices_then_free(simulated, small):
    layers = {**LAYERS, "window_px": 24}  # in a wider one the free slices need more epochs to be better
    held = run(simulated.dataset, identical_slices=True, **layers)
    assert differ(held) < 1e-6
    for losses in (held.loss[:4], held.loss[4:]):
        assert (np.diff(losses) < 0).all()
    freed = run(simulated.dataset, identical_slices="epoch < 6", **layers)
    np.testing.assert_allclose(freed.loss[:6], held.loss[:6], rtol=1e-6)  # the same arithmetic up to there
    assert differ(freed) > 0.01
    assert freed.loss[-1] < held.loss[-1]
    late = run(small.dataset, identical_slices="epoch >= 6", **layers)
    assert differ(late) < 1e-6
    np.testing.assert_allclose(late.loss[:6], run(small.dataset, **layers).loss[:6], rtol=1e-6)


def test_a_constraint_that_goes_on_to_hold_keeps_the_history(small, monkeypatch):
    """L-BFGS begins once, and again where slices become free; with a projection it restarts in every epoch."""
    begun = []
    init = Lbfgs.init
    monkeypatch.setattr(Lbfgs, "init", lambda self, vector: (begun.append(None), init(self, vector))[1])
    pairs = []
    step = Lbfgs.step
    monkeypatch.setattr(Lbfgs, "step", lambda self, state: (pairs.append(len(state.pairs)), step(self, state))[1])
    for values, expected in (
        ({"identical_slices": True}, (1, [0, 1, 2, 3])),
        ({"obja_thresh": True}, (1, [0, 1, 2, 3])),
        ({"identical_slices": "epoch < 6"}, (1, [0, 1, 0, 1])),
        ({"obj_zblur_A": 5.0}, (4, [0, 0, 0, 0])),
    ):
        begun.clear(), pairs.clear()
        run(small.dataset, **LAYERS, **values)
        assert (len(begun), pairs) == expected, values


def test_limits_of_the_modulus_hold_to_the_end_and_the_loss_falls(small):
    limits = {"obja_thresh": True, "obja_thresh_min": 0.99, "obja_thresh_max": 1.01}
    result = run(small.dataset, **LAYERS, **limits)
    modulus = np.abs(result.object)
    assert modulus.min() >= 0.99 - 1e-6
    assert modulus.max() <= 1.01 + 1e-6
    for losses in (result.loss[:4], result.loss[4:]):
        assert (np.diff(losses) < 0).all()


@pytest.mark.parametrize("times", quick_first(["epoch == 7", "epoch == 6", "True"], 2))
def test_the_result_obeys_the_constraints_of_the_last_epoch(small, times):
    result = run(small.dataset, **LAYERS, objp_postiv=times)
    negative = np.angle(result.object).min() < -1e-6
    assert negative == (times == "epoch == 6")


def test_what_a_later_epoch_cannot_do_is_said_before_the_run(small):
    with pytest.raises(MetadataError, match="mirrored_amp needs an object with a modulus"):
        run(small.dataset, mirrored_amp="epoch > 5", **{**LAYERS, "phase_only_obj": True})


def test_a_stopped_run_under_constraints_goes_on_as_if_it_had_not_stopped(small, tmp_path):
    values = {
        **LAYERS,
        "identical_slices": "epoch < 6",
        "obja_thresh": "epoch > 1",
        "q_lowpass_invA": "1 if epoch == 3 else 0",
    }
    preset = Preset.from_mapping({"window_px": 32, "probe_modes": 1, "epoch_max": 8, **NEITHER, **values})
    whole = refine(small.dataset, preset, backend="cpu")
    for limit in (4, 9, 22, 24):
        asked = count()
        refine(
            small.dataset,
            preset,
            backend="cpu",
            should_stop=lambda asked=asked, limit=limit: next(asked) > limit,
            checkpoint=tmp_path / "state",
            resume=True,
        )
    rest = refine(small.dataset, preset, backend="cpu", checkpoint=tmp_path / "state", resume=True)
    np.testing.assert_allclose(rest.loss, whole.loss, rtol=1e-6)  # the same arithmetic
    np.testing.assert_allclose(rest.object, whole.object, atol=1e-5)


def test_halves_of_the_dose_agree_on_the_object(small):
    """Ring correlation of two refinements with half the counts each and nothing in common: high where the object is."""
    dataset = replace(small.dataset, patterns=np.where(small.dataset.bad_pixels, 0, small.dataset.patterns))
    preset = Preset.from_mapping({"window_px": 32, "probe_modes": 1, "epoch_max": 6, "sweeps": 4})
    halves = compare_half_doses(dataset, preset, TrialContext("cpu"))
    assert halves.shells is None
    low = halves.rings.correlation[halves.rings.frequencies_invA < 0.4]
    assert low.mean() > 0.7  # found 0.99; noise: 0
    counts = [float((np.abs(result.probe) ** 2).sum()) for result in halves.results]
    scatter = np.sqrt(2 / 2000 / len(dataset.patterns))  # mean of patterns of 2000 counts, twice
    assert counts[0] == pytest.approx(counts[1], rel=6 * scatter)
