"""Settings without effect under the other settings or with the data: they are named in the reason of a run.

They are not refused, because stages share settings with others, and presets state what they do not use.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ptylive.engine.backend.multislice.problem import CoefficientTermKind, DataTermKind
from ptylive.engine.refine.parameters.parameter_vector import ObjectForm
from ptylive.schema.preset import Preset
from ptylive.schema.preset.solver import ENGINES, PriorSettings

if TYPE_CHECKING:
    from ptylive.engine.refine.problem.prepare import Problem

OF_OPTIMIZERS = {
    ("pypty",): ("update_step_bfgs", "reduce_factor", "optimism", "min_step"),
    ENGINES: ("batch_choice",),
    ("adam",): ("adam_object_rate", "adam_probe_rate", "adam_position_rate"),
    ("lsq_ml",): ("lsq_damping",),
}
"""Settings by the values of ``optimizer`` that use them."""
OF_SEVERAL_SLICES = (
    "missing_wedge_weight", "beta_wedge", "kz_filter_beta", "obj_zblur_A", "layers_tikhonov_weight",
    "layers_tv_weight", "obj_z_recenter", "identical_slices", "propmethod",
)  # fmt: skip
OF_ABSORPTION = (
    "abs_norm_weight", "apply_gaussian_filter_amplitude_px", "cf_delta_abs", "cf_beta_abs", "fancy_sigma_abs_px",
    "obja_thresh", "start_amplitude_image",
)  # fmt: skip
OF_SEVERAL_MODES = (
    "source_size_A", "focal_spread_A", "keep_probe_states_orthogonal", "probe_orthogonality_weight",
)  # fmt: skip
OF_MADE_PROBES = (
    "probe_amplitude", "aperture_mask", "bright_threshold", "estimate_aperture_based_on_binary",
    "n_hermite_probe_modes", "defocus_spread_modes_A",
)  # fmt: skip
"""Settings of a start probe that is made, not given."""
OF_LBFGS = ("anchor", "hist_length", "wolfe_c1_constant", "wolfe_c2_constant", "max_count")
OF_COEFFICIENTS = ("noise_weighting", "perpendicular_weight", "perpendicular_weight_dark", "edge_weight")
OF_NEAR_FIELD = ("image_pixel_A", "defocus_array_A", "alpha_near_field_mrad")
NEEDED = {
    ("atv_weight",): ("atv_p", "atv_q"),
    ("missing_wedge_weight",): ("missing_wedge_beta",),
    ("mixed_variance_weight",): ("mixed_variance_sigma",),
    ("probe_reg_constraint_weight",): ("probe_constraint_radius", "probe_constraint_mask"),
    ("window_weight",): ("window",),
    ("do_charge_flip",): (
        "cf_delta_phase", "cf_delta_abs", "cf_beta_phase", "cf_beta_abs",
        "fancy_sigma_phase_px", "fancy_sigma_abs_px", "fancy_deconvolution",
    ),
    ("update_probe_pos",): (
        "position_prior_A", "reset_positions", "fast_axis_reg_weight_positions", "slow_axis_reg_weight_positions",
        "deformation_reg_weight_positions",
    ),
    ("update_probe",): ("probe_part", "probe_step"),
    ("sequence",): ("use_full_FOV",),
    ("update_tilts",): (
        "fast_axis_reg_weight_tilts", "slow_axis_reg_weight_tilts", "deformation_reg_weight_tilts",
    ),
    ("update_aberrations",): ("refined_aberrations",),
    ("field_order",): ("field_terms",),
    ("damping_cutoff_multislice",): ("smooth_rolloff", "update_extra_cut", "lazy_clean"),
    ("obja_thresh",): ("obja_thresh_min", "obja_thresh_max", "obja_thresh_relax"),
    ("q_lowpass_invA", "q_highpass_invA"): ("butterworth_order",),
    ("complex_ratio",): ("complex_ratio_alpha1", "complex_ratio_alpha2", "complex_ratio_factor"),
    ("mirrored_amp",): ("mirrored_amp_scale", "mirrored_amp_power", "mirrored_amp_relax"),
    ("objp_postiv",): ("objp_postiv_relax", "objp_postiv_mode"),
    ("obj_z_recenter",): ("obj_z_recenter_thresh", "obj_z_recenter_scale", "obj_z_recenter_max_shift"),
    ("kz_filter_beta",): ("kz_filter_alpha", "kz_filter_part"),
    ("obj_zblur_A",): ("obj_zblur_weight", "obj_zblur_part"),
    ("start_object", "start_phase_image", "start_amplitude_image"): ("start_depth_A",),
}  # fmt: skip
"""Settings by those of which at least one has to be switched on for them to have an effect."""
USED_BY = {
    "loss_offset": (str(DataTermKind.AMPLITUDE),),
    "loss_floor": (str(DataTermKind.POISSON), str(CoefficientTermKind.POISSON)),
}
"""Data terms that use a constant. A term of another package may use either."""
Rule = tuple[tuple[str, ...], str]
"""Settings without effect, if they are given, and why."""
OWN_TERMS = frozenset({*map(str, DataTermKind), *map(str, CoefficientTermKind)})


@dataclass(frozen=True)
class KnownProblem:
    """What is known once the data are measured and every ``auto`` is decided."""

    one_slice: bool = False
    several_slices: bool = False
    form: ObjectForm | None = None
    """What is refined of the object; None: it is not known."""
    one_mode: bool = False
    """Whether the probe has a single mode."""
    only_sweeps: bool = False
    """Whether sweeps are all there is, without an epoch of L-BFGS."""
    coefficients: bool = True
    several_scans: bool = True
    continues: bool = True
    """Whether the run starts from an earlier stage or result."""
    data_term: str = ""

    @classmethod
    def of(cls, preset: Preset, problem: Problem, *, continues: bool) -> KnownProblem:
        """Return what a problem tells that was laid out for the decided ``preset``."""
        strategy, dataset = problem.strategy, problem.measured.dataset
        return cls(
            one_slice=preset.object.slices == 1,
            several_slices=preset.object.slices > 1,
            form=strategy.object_form,
            one_mode=problem.layout.modes == 1,
            only_sweeps=strategy.sweeps == strategy.epochs,
            coefficients=dataset.masks is not None,
            several_scans=dataset.scan_of is not None,
            continues=continues,
            data_term=str(strategy.kind),
        )


def unused_settings(preset: Preset, known: KnownProblem) -> tuple[str, ...]:
    """Words on settings that were given and have no effect."""
    given = _Given(preset)
    rules = (*_of_optimizer(preset.solver.optimizer), *_of_needed(given, known), *_of_data(preset, known))
    found = [given.unused(names, why) for names, why in rules]
    if known.one_slice and preset.refined.update_thickness is True:
        found.append("update_thickness: one slice has no thickness")
    if known.form is ObjectForm.COMPLEX and preset.object.non_negative_phase is True:
        found.append("non_negative_phase: no effect without phase_only_obj or weakly_damped_obj")
    return tuple(words for words in found if words)


def _of_optimizer(optimizer: str) -> Iterator[Rule]:
    if optimizer in ENGINES:  # each of their epochs counts as a sweep
        yield ("sweeps", *OF_LBFGS), f"with optimizer={optimizer}"
    for optimizers, names in OF_OPTIMIZERS.items():
        if optimizer not in optimizers:
            yield names, f"without optimizer={' or '.join(optimizers)}"


def _of_needed(given: _Given, known: KnownProblem) -> Iterator[Rule]:
    for needed, names in NEEDED.items():
        if not any(given.on(name) for name in needed) and not (known.continues and "start_object" in needed):
            yield names, f"without {' or '.join(needed)}"


def _of_data(preset: Preset, known: KnownProblem) -> Iterator[Rule]:
    of_networks = tuple(name for name in PriorSettings.model_fields if name.startswith("dgp_"))
    inside = preset.propagation.tilt_mode == 0
    for unused, names, why in (
        (known.one_slice and inside, ("tilts_mrad",), "with one slice and tilt_mode=0 (inside the specimen)"),
        (known.one_slice, OF_SEVERAL_SLICES, "with one slice"),
        (known.several_slices, ("regime",), "with several slices"),
        (known.form is ObjectForm.PHASE, OF_ABSORPTION, "on an object of phase alone (phase_only_obj)"),
        (known.one_mode, OF_SEVERAL_MODES, "with one probe mode"),
        (preset.probe.start_probe is not None, OF_MADE_PROBES, "with start_probe"),
        (preset.propagation.lazy_clean, ("update_extra_cut",), "with lazy_clean"),
        (known.only_sweeps and preset.solver.optimizer not in ENGINES, OF_LBFGS, "without an epoch of L-BFGS"),
        (preset.object.obj_modes == 1, ("mixed_variance_weight",), "with obj_modes=1"),
        (not known.coefficients, OF_COEFFICIENTS, "on frames, only on coefficients"),
        (not preset.propagation.near_field, OF_NEAR_FIELD, "without recon_type=near_field"),
        (not known.several_scans, ("update_scans",), "with one scan"),
        (preset.prior.method == "pixels", of_networks, "without method=dgp"),
    ):
        if unused:
            yield names, why
    for name, terms in USED_BY.items():
        if known.data_term in OWN_TERMS - {*terms}:
            yield (name,), f"with algorithm={known.data_term}"


@dataclass(frozen=True)
class _Given:
    """The settings that differ from their defaults."""

    preset: Preset

    def on(self, name: str) -> bool:
        """Whether a switch, weight or value is given, in any epoch; 0 and none are off."""
        known = name in type(self.preset).settings()  # not if no added setting is given: they are off then
        return name in self.preset.schedules or (known and bool(self.preset.value(name)))

    def unused(self, names: tuple[str, ...], why: str) -> str:
        """Words on those of ``names`` that differ from their defaults; empty if none does."""
        fields = type(self.preset).settings()
        changed = [
            name
            for name in names
            if name in fields
            and (name in self.preset.schedules or self.preset.value(name) != fields[name].get_default())
        ]
        return f"{', '.join(changed)}: no effect {why}" if changed else ""
