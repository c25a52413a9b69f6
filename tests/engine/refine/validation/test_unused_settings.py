"""Settings without effect are named, with what they lack; those that act are not."""

import pytest

from ptylive.application.extensions import Preset
from ptylive.engine.refine.parameters.parameter_vector import ObjectForm
from ptylive.engine.refine.validation.unused_settings import (
    NEEDED,
    OF_ABSORPTION,
    OF_LBFGS,
    OF_MADE_PROBES,
    OF_OPTIMIZERS,
    OF_SEVERAL_MODES,
    OF_SEVERAL_SLICES,
    KnownProblem,
    unused_settings,
)

PHASE = KnownProblem(form=ObjectForm.PHASE)
FRAMES = KnownProblem(coefficients=False, several_scans=False, continues=False, data_term="ml")
UNUSED = [
    ({"optimizer": "epie", "sweeps": 8, "anchor": 0.5, "probe_step": 0.7}, FRAMES,
     "sweeps, anchor: no effect with optimizer=epie"),
    ({"adam_object_rate": 0.1}, FRAMES, "adam_object_rate: no effect without optimizer=adam"),
    ({"batch_choice": "compact"}, FRAMES, "batch_choice: no effect without optimizer=epie or lsq_ml or adam"),
    ({"update_thickness": True, "num_slices": 1}, KnownProblem(one_slice=True),
     "update_thickness: one slice has no thickness"),
    ({"num_slices": 1, "beta_wedge": 1.0}, KnownProblem(one_slice=True), "beta_wedge: no effect with one slice"),
    ({"num_slices": 1, "tilts_mrad": [[0, 0, 30, 0, 0, 0]], "propmethod": "yoshida"}, KnownProblem(one_slice=True),
     ("tilts_mrad: no effect with one slice and tilt_mode=0 (inside the specimen)",
      "propmethod: no effect with one slice")),
    ({"atv_p": 1.0, "atv_q": "1 if epoch < 3 else 0.5"}, FRAMES, "atv_p, atv_q: no effect without atv_weight"),
    ({"reset_positions": "epoch == 3"}, FRAMES, "reset_positions: no effect without update_probe_pos"),
    ({"start_depth_A": 5.0}, FRAMES,
     "start_depth_A: no effect without start_object or start_phase_image or start_amplitude_image"),
    ({"mixed_variance_weight": 1.0}, FRAMES, "mixed_variance_weight: no effect with obj_modes=1"),
    ({"edge_weight": 1.0, "noise_weighting": False}, FRAMES,
     "noise_weighting, edge_weight: no effect on frames, only on coefficients"),
    ({"alpha_near_field_mrad": 0.5}, FRAMES, "alpha_near_field_mrad: no effect without recon_type=near_field"),
    ({"update_scans": ["tilts"]}, FRAMES, "update_scans: no effect with one scan"),
    ({"dgp_epochs": 3}, FRAMES, "dgp_epochs: no effect without method=dgp"),
    ({"abs_norm_weight": 1.0, "apply_gaussian_filter_amplitude_px": 1.0, "obja_thresh": True}, PHASE,
     "abs_norm_weight, apply_gaussian_filter_amplitude_px, obja_thresh: "
     "no effect on an object of phase alone (phase_only_obj)"),
    ({"do_charge_flip": "epoch > 3", "cf_delta_abs": 0.1, "fancy_sigma_abs_px": [1.0, 2.0]}, PHASE,
     "cf_delta_abs, fancy_sigma_abs_px: no effect on an object of phase alone (phase_only_obj)"),
    ({"non_negative_phase": True}, KnownProblem(form=ObjectForm.COMPLEX),
     "non_negative_phase: no effect without phase_only_obj or weakly_damped_obj"),
    ({"probe_modes": 1, "source_size_A": 0.3, "keep_probe_states_orthogonal": True}, KnownProblem(one_mode=True),
     "source_size_A, keep_probe_states_orthogonal: no effect with one probe mode"),
    ({"start_probe": "p.npy", "bright_threshold": 0.5}, FRAMES, "bright_threshold: no effect with start_probe"),
    ({"damping_cutoff_multislice": 0.6, "lazy_clean": True, "update_extra_cut": 0.1}, FRAMES,
     "update_extra_cut: no effect with lazy_clean"),
    ({"sweeps": 8, "epoch_max": 8, "hist_length": 20}, KnownProblem(only_sweeps=True),
     "hist_length: no effect without an epoch of L-BFGS"),
    ({"regime": "thin"}, KnownProblem(several_slices=True), "regime: no effect with several slices"),
    ({"update_probe": False, "probe_step": 0.5}, FRAMES, "probe_step: no effect without update_probe"),
    ({"use_full_FOV": False}, FRAMES, "use_full_FOV: no effect without sequence"),
    ({"loss_offset": 3.0}, FRAMES, "loss_offset: no effect with algorithm=ml"),
    ({"loss_floor": 3.0}, KnownProblem(data_term="lsq_sqrt"), "loss_floor: no effect with algorithm=lsq_sqrt"),
]  # fmt: skip
USED = [
    ({"optimizer": "adam", "adam_object_rate": 0.1, "batch_choice": "sparse"}, FRAMES),
    ({"optimizer": "pypty", "optimism": 2.0, "sweeps": 3}, FRAMES),
    ({"atv_p": 1.0, "atv_weight": "0 if epoch < 3 else 1"}, FRAMES),
    ({"update_probe_pos": "epoch > 3", "position_prior_A": 0.1}, FRAMES),
    ({"beta_wedge": 1.0, "start_depth_A": 5.0, "edge_weight": 1.0, "update_scans": ["tilts"]}, KnownProblem()),
    ({"loss_floor": 3.0}, FRAMES),
    ({"loss_floor": 3.0}, KnownProblem(data_term="of another package")),
    ({"image_pixel_A": 0.3, "recon_type": "near_field"}, FRAMES),
    ({"abs_norm_weight": 1.0, "obja_thresh": True}, KnownProblem(form=ObjectForm.DAMPED)),
    ({"non_negative_phase": True}, PHASE),
    ({"num_slices": 1, "tilt_mode": 2, "tilts_mrad": [[30, 0, 0, 0, 0, 0]]}, KnownProblem(one_slice=True)),
    ({"source_size_A": 0.3, "probe_orthogonality_weight": 0.1, "regime": "weak", "hist_length": 20}, FRAMES),
    ({"optimizer": "epie", "epoch_max": 8}, KnownProblem(only_sweeps=True)),
    ({"update_thickness": True}, FRAMES),  # until the thickness is known
    ({}, KnownProblem(one_slice=True)),
]


@pytest.mark.parametrize(("settings", "known", "words"), UNUSED, ids=[str(words) for *_, words in UNUSED])
def test_a_setting_without_effect_is_named(settings, known, words):
    assert unused_settings(Preset.from_mapping(settings), known) == ((words,) if isinstance(words, str) else words)


@pytest.mark.parametrize(("settings", "known"), USED, ids=[" ".join(settings) or "none" for settings, _ in USED])
def test_settings_that_act_are_not_named(settings, known):
    assert unused_settings(Preset.from_mapping(settings), known) == ()


def test_the_lists_name_settings_that_exist():
    names = [name for table in (NEEDED, OF_OPTIMIZERS) for listed in table.values() for name in listed]
    names += [name for needed in NEEDED for name in needed]
    names += [*OF_ABSORPTION, *OF_LBFGS, *OF_MADE_PROBES, *OF_SEVERAL_MODES, *OF_SEVERAL_SLICES]
    assert set(names) - set(Preset.full().settings()) == set()
