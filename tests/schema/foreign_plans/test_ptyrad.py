"""PtyRAD's parameter files: complete files, constraints, losses, updates."""

import pytest

from ptylive.schema.errors import MetadataError
from ptylive.schema.foreign_plans.ptyrad import import_ptyrad, looks_like_ptyrad, ptyrad_parity

INIT = {"probe_kv": 80, "probe_conv_angle": 24.9, "meas_Npix": 128, "pos_N_scan_slow": 12, "pos_N_scan_fast": 10,
        "pos_scan_step_size": 0.429, "probe_pmode_max": 6, "obj_Nlayer": 6, "obj_slice_thickness": 2}  # fmt: skip


def settings(lenient=False, **sections):
    return dict(import_ptyrad({"init_params": INIT, **sections}, lenient=lenient).settings)


def added(**sections):
    """The settings that sections add to those of INIT."""
    plain = settings()
    return {name: value for name, value in settings(**sections).items() if name not in plain}


def test_a_whole_file():
    found = import_ptyrad({"init_params": INIT, "recon_params": {"NITER": 200, "output_dir": "x/"}})
    assert found.settings == {"probe_modes": 6, "num_slices": 6, "slice_distances_A": [2.0], "epoch_max": 200}
    assert found.metadata == {
        "energy_eV": 80e3,
        "convergence_semiangle_mrad": 24.9,
        "scan_shape": [12, 10],
        "scan_step_A": 0.429,
    }
    assert any(str(line).startswith("set aside: output_dir") for line in found.table)
    assert any("epoch_max = 200" in note for note in found.notes)


ON = {"start_iter": 1, "step": 1, "end_iter": None}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"obj_zblur": {**ON, "obj_type": "phase", "std": 1.5}}, {"obj_zblur_A": 3.0, "obj_zblur_part": "phase"}),
        ({"obj_zblur": {**ON, "start_iter": None}}, {}),
        ({"obj_rblur": {**ON, "obj_type": "amplitude", "std": 0.4}}, {"apply_gaussian_filter_amplitude_px": 0.4}),
        ({"obj_rblur": {"start_iter": 5, "std": 0.5, "obj_type": "phase"}},
         {"apply_gaussian_filter_px": "0.5 if epoch >= 4 else 0"}),
        ({"obj_zblur": {"std": 0.5}}, {"obj_zblur_A": 1.0, "obj_zblur_part": "both"}),
        ({"obj_rblur": {"std": 0.3, "obj_type": "phase"}}, {"apply_gaussian_filter_px": 0.3}),
        ({"ortho_pmode": {}}, {"keep_probe_states_orthogonal": True}),
        ({"complex_ratio": {"alpha1": 0.8}}, {}),
        ({"ortho_pmode": {**ON, "step": 2}}, {"keep_probe_states_orthogonal": "epoch % 2 == 0"}),
        ({"kz_filter": {**ON, "beta": 0.7, "alpha": 1.2, "obj_type": "both"}},
         {"kz_filter_beta": 0.7, "kz_filter_alpha": 1.2, "kz_filter_part": "both"}),
        ({"obja_thresh": {**ON, "relax": 0.1, "thresh": [0.9, 1.1]}},
         {"obja_thresh": True, "obja_thresh_relax": 0.1, "obja_thresh_min": 0.9, "obja_thresh_max": 1.1}),
        ({"objp_postiv": {**ON, "relax": 0.2, "mode": "subtract_min"}},
         {"objp_postiv": True, "objp_postiv_relax": 0.2, "objp_postiv_mode": "subtract_min"}),
        ({"mirrored_amp": {**ON, "relax": 0.1, "scale": 0.03, "power": 4}},
         {"mirrored_amp": True, "mirrored_amp_relax": 0.1, "mirrored_amp_scale": 0.03, "mirrored_amp_power": 4.0}),
        ({"complex_ratio": {**ON, "alpha1": 0.8, "alpha2": 0.3}},
         {"complex_ratio": True, "complex_ratio_alpha1": 0.8, "complex_ratio_alpha2": 0.3}),
        ({"obj_z_recenter": {**ON, "thresh": 90, "scale": 0.5, "max_shift": 4}},
         {"obj_z_recenter": True, "obj_z_recenter_thresh": 90.0, "obj_z_recenter_scale": 0.5,
          "obj_z_recenter_max_shift": 4.0}),
        ({"fix_probe_int": ON, "pos_recenter": ON}, {}),
    ],
)  # fmt: skip
def test_constraints_of_ptyrad_become_settings(given, found):
    assert added(constraint_params=given) == found


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"loss_single": {"state": True, "dp_pow": 0.5}}, {"algorithm": "lsq_sqrt"}),
        ({"loss_single": {"state": True, "dp_pow": 1}}, {"algorithm": "lsq"}),
        ({"loss_single": {"state": False}, "loss_poissn": {"state": True}}, {"algorithm": "ml"}),
        ({"loss_single": {"state": True}, "loss_poissn": {"state": True}}, {"algorithm": "ml"}),
        ({"loss_sparse": {"state": True, "weight": 0.1}}, {}),
    ],
)
def test_losses_of_ptyrad_become_settings(given, found):
    assert added(loss_params=given) == found


def test_weights_of_another_measure_are_left_out_and_said():
    found = import_ptyrad({"init_params": INIT, "loss_params": {"loss_sparse": {"state": True, "weight": 0.1}}})
    assert any("left out: loss_sparse" in note and "phase_norm_weight" in note for note in found.notes)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"probe": {"lr": 1e-4, "start_iter": 3}}, {"update_probe": "epoch >= 2"}),
        ({"probe": {"lr": 0}}, {"update_probe": False}),
        ({"probe": {"lr": 1e-4}}, {"update_probe": False}),
        ({"obja": {"lr": 0}, "objp": {"lr": 5e-4, "start_iter": 1}}, {"update_obj": True, "phase_only_obj": True}),
        ({"obja": {"lr": 5e-4, "start_iter": 1}, "objp": {"lr": 5e-4, "start_iter": 1}}, {"update_obj": True}),
        ({"probe_pos_shifts": {"lr": 1e-4, "start_iter": 1, "end_iter": 9}}, {"update_probe_pos": "epoch < 8"}),
        ({"obj_tilts": {"lr": 0, "start_iter": None}, "slice_thickness": {"lr": 1e-4, "start_iter": 1}},
         {"update_tilts": False, "update_thickness": True}),
    ],
)  # fmt: skip
def test_rates_become_switches(given, found):
    assert added(model_params={"update_params": given}) == found


def test_null_in_a_table_is_not_given():
    """As PtyRAD's own templates have it."""
    assert added(recon_params={"INDICES_MODE": {"mode": "full", "subscan_slow": None, "subscan_fast": None}}) == {}


def test_batches_are_those_behind_one_step():
    assert added(recon_params={"BATCH_SIZE": {"size": 16, "grad_accumulation": 4}}) == {"batch_size": 64}


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"model_params": {"detector_blur_std": "wide"}}, "is not a number"),
        ({"recon_params": {"INDICES_MODE": {"mode": "sub", "subscan_slow": 3}}}, "--set sequence"),
        ({"recon_params": {"NITR": 3}}, "did you mean 'NITER'"),
        ({"reconn_params": {}}, "unknown section reconn_params"),
        ({"recon_params": [1]}, "is not a table"),
        ({"loss_params": {"loss_single": {"state": True, "dp_pow": 0.2}}}, "has no counterpart"),
        ({"constraint_params": {"obj_zblur": {**ON, "obj_type": "none"}}}, "obj_zblur"),
        ({"constraint_params": {"obja_thresh": {**ON, "thresh": [1.2, 1.1]}}}, "obja_thresh_min"),
    ],
)
def test_what_is_not_taken_over_is_one_line(sections, said):
    with pytest.raises(MetadataError) as caught:
        settings(**sections)
    assert said in caught.value.line()
    assert "\n" not in caught.value.line()


def test_leniently_it_is_left_out():
    found = import_ptyrad({"init_params": INIT, "recon_params": {"NITR": 3}}, lenient=True)
    assert any("left out: NITR" in note for note in found.notes)


def test_a_blur_of_the_detector_is_the_point_spread():
    assert added(model_params={"detector_blur_std": 0.7}) == {"detector_psf_px": 0.7}


def test_what_is_a_file_of_ptyrad():
    assert looks_like_ptyrad({"init_params": {}})
    assert not looks_like_ptyrad({"init_params": 3})
    assert not looks_like_ptyrad({"refine": {}})


def test_hypertuning_has_a_command():
    found = import_ptyrad({"init_params": INIT, "hypertune_params": {"if_hypertune": True}})
    assert any("ptylive tune" in note for note in found.notes)


def test_the_table_is_on_its_page(repository):
    assert ptyrad_parity() in (repository / "docs" / "ptyrad-phaser-parity.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"recon_params": {"BATCH_SIZE": {"sice": 32}}},
            "BATCH_SIZE.sice: PtyRAD has no such key: did you mean 'size'?",
        ),
        ({"loss_params": {"loss_single": {"staet": True}}}, "loss_single.staet: "),
        ({"constraint_params": {"obj_zblur": {**ON, "sdt": 1}}}, "obj_zblur.sdt: "),
        ({"constraint_params": {"obj_zblur": {"start_itre": 1, "std": 1}}}, "did you mean 'start_iter'?"),
        (
            {"model_params": {"update_params": {"objp": {"rl": 5e-4, "start_iter": 1}}}},
            "update_params.objp.rl: PtyRAD has no such key: did you mean 'lr'?",
        ),
        (
            {"model_params": {"update_params": {"objp": {"lr": 5e-4, "start_itr": 3}}}},
            "update_params.objp.start_itr: PtyRAD has no such key: did you mean 'start_iter'?",
        ),
        (
            {"model_params": {"update_params": {"obja": {"learning": 5e-4, "start_iter": 1}}}},
            "update_params.obja has start_iter but no lr: give lr",
        ),
        (
            {"model_params": {"update_params": {"probe": {"lr": "fast", "start_iter": 1}}}},
            "update_params.probe.lr = 'fast' is not a number",
        ),
        ({"init_params": {**INIT, "probe_kv": 80e3}}, "probe_kv = 80000.0: energy_eV = 8e+07 eV is impossible"),
        ({"init_params": {**INIT, "probe_conv_angle": 0.0249}}, "probe_conv_angle = 0.0249: "),
        ({"init_params": {**INIT, "pos_scan_step_size": 4e-11}}, "pos_scan_step_size = 4e-11: "),
        ({"init_params": {**INIT, "obj_slice_thickness": 2e-10}}, "slice_distances_A = "),
    ],
)
def test_what_is_misspelt_or_of_another_unit_within_a_parameter_is_not_taken(sections, said):
    with pytest.raises(MetadataError) as caught:
        import_ptyrad({"init_params": INIT, **sections})
    assert said in caught.value.line()
