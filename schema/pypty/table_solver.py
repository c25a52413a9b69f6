"""Rows: propagation, band limit, optimiser, and which quantities are updated."""

from __future__ import annotations

from ptylive.schema.pypty import converters as into
from ptylive.schema.pypty.array_converters import own_optimiser
from ptylive.schema.pypty.rows import Row, Support, plain, same, switch

PROPAGATION = "Propagation, shifting, and resizing"
BAND = "Bandwidth limitation"
OPTIMISER = "Optimization settings"
UPDATE = "Updating refinable arrays"
WITH_PYPTY = 'sets `optimizer = "pypty"`; without any of them, our line search scales by curvature and interpolates'
M, S, R = Support.MAPPED, Support.SET_ASIDE, Support.REFUSED

SOLVER: tuple[Row, ...] = (
    Row("propmethod", PROPAGATION, "multislice", M, ("propmethod",), "all three are built", plain("propmethod")),
    Row("allow_subPixel_shift", PROPAGATION, True, S, (), "positions are always sub-pixel"),
    Row(
        "dynamically_resize_yx_object",
        PROPAGATION,
        False,
        S,
        (),
        "refined positions keep their initial window: a few object pixels of freedom",
    ),
    Row(
        "extra_space_on_side_px",
        PROPAGATION,
        0,
        M,
        ("extra_space_on_side_px",),
        "the same, in addition to a margin of two pixels",
        plain("extra_space_on_side_px"),
    ),
    Row(
        "damping_cutoff_multislice",
        BAND,
        "2/3",
        M,
        ("damping_cutoff_multislice",),
        "the same; without it nothing is cut here",
        lambda value, to: to.preset.update(damping_cutoff_multislice=2 / 3 if value < 0 else value),
    ),
    Row("smooth_rolloff", BAND, 0, M, ("smooth_rolloff",), "the same", plain("smooth_rolloff")),
    Row("update_extra_cut", BAND, 0.005, M, ("update_extra_cut",), "the same", plain("update_extra_cut")),
    Row("lazy_clean", BAND, False, M, ("lazy_clean",), "the same", plain("lazy_clean")),
    Row(
        "algorithm",
        OPTIMISER,
        "lsq_sqrt",
        M,
        ("algorithm", "noise_weighting"),
        "the same names; auto chooses from the data; compressed ones without noise weights",
        into.algorithm,
    ),
    Row("epoch_max", OPTIMISER, 200, M, ("epoch_max",), "mini-batch sweeps count as epochs", plain("epoch_max")),
    Row(
        "wolfe_c1_constant",
        OPTIMISER,
        0.1,
        M,
        ("wolfe_c1_constant",),
        "below 0.5",
        into.sufficient_decrease,
    ),
    Row("wolfe_c2_constant", OPTIMISER, 0.9, M, ("wolfe_c2_constant",), "the same", same("wolfe_c2_constant")),
    Row(
        "loss_weight", OPTIMISER, 1, M, ("loss_weight",), "regularisers are divided by it instead", same("loss_weight")
    ),
    Row(
        "max_count",
        OPTIMISER,
        20,
        M,
        ("max_count",),
        "100 at most, also for None",
        into.count,
        off_is_deliberate=True,
    ),
    Row("reduce_factor", OPTIMISER, 0.1, M, ("reduce_factor", "optimizer"), WITH_PYPTY, own_optimiser("reduce_factor")),
    Row("optimism", OPTIMISER, 3.0, M, ("optimism", "optimizer"), WITH_PYPTY, own_optimiser("optimism")),
    Row("min_step", OPTIMISER, 1e-20, M, ("min_step", "optimizer"), WITH_PYPTY, own_optimiser("min_step")),
    Row("hist_length", OPTIMISER, 10, M, ("hist_length",), "infinite ones are 100000 pairs", into.history),
    Row(
        "update_step_bfgs",
        OPTIMISER,
        1,
        M,
        ("update_step_bfgs", "optimizer"),
        WITH_PYPTY,
        own_optimiser("update_step_bfgs"),
    ),
    Row(
        "phase_only_obj",
        OPTIMISER,
        False,
        M,
        ("phase_only_obj",),
        "the same; if it follows the epoch, the modulus is held at its current value",
        switch("phase_only_obj"),
        off_is_deliberate=True,
    ),
    Row("tune_only_probe_phase", OPTIMISER, False, M, ("probe_part",), "phase", into.probe_part("phase")),
    Row(
        "tune_only_probe_abs",
        OPTIMISER,
        False,
        M,
        ("probe_part",),
        "amplitude; if both are requested, this one",
        into.probe_part("amplitude"),
    ),
    Row("reset_history_flag", OPTIMISER, False, M, ("reset_history_flag",), "the same", switch("reset_history_flag")),
    Row("update_probe", UPDATE, 1, M, ("update_probe",), "the same", switch("update_probe")),
    Row("update_obj", UPDATE, 1, M, ("update_obj",), "the same", switch("update_obj")),
    Row("update_probe_pos", UPDATE, 0, M, ("update_probe_pos",), "the same", switch("update_probe_pos")),
    Row("update_tilts", UPDATE, 0, M, ("update_tilts",), "the same", switch("update_tilts")),
    Row("update_beam_current", UPDATE, 0, M, ("update_beam_current",), "the same", switch("update_beam_current")),
    Row(
        "update_aberrations_array",
        UPDATE,
        0,
        M,
        ("update_aberrations",),
        "which ones: `refined_aberrations`",
        switch("update_aberrations"),
    ),
    Row(
        "update_static_background",
        UPDATE,
        0,
        M,
        ("update_static_background",),
        "the same",
        switch("update_static_background"),
    ),
)
