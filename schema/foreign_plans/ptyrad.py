"""PtyRAD's parameter files: all rows, and the flattening of its nested tables (names, units and defaults of 1.0.0)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptylive.schema.errors import MetadataError
from ptylive.schema.foreign_plans.plan import PlanImport, Taken, checked, gathered, number_of, parity, table_of
from ptylive.schema.foreign_plans.ptyrad_experiment import EXPERIMENT, INIT, setting
from ptylive.schema.foreign_plans.turns import both, ptyrad_turns, strength
from ptylive.schema.pypty.rows import Converter, Gathered, Row, Support

MODEL, LOSS, CONSTRAINTS, RECON = "model_params", "loss_params", "constraint_params", "recon_params"
SECTIONS = (INIT, MODEL, LOSS, CONSTRAINTS, RECON)
HYPERTUNE = "hypertune_params"
UPDATE = "update_params"
M, E, S, R = Support.MAPPED, Support.ELSEWHERE, Support.SET_ASIDE, Support.REFUSED
PARTS = {"both": "both", "phase": "phase", "amplitude": "amplitude"}


def updated(theirs: str, key: str) -> Converter:
    """Convert a tensor's rate and iterations to a switch: ptylive finds rates itself. No ``start_iter`` means never."""

    def convert(value: Any, into: Gathered) -> None:
        table, name = table_of(value, theirs), f"{UPDATE}.{theirs}"
        if "lr" not in table and table.get("start_iter") is not None:
            raise MetadataError(f"{name} has start_iter but no lr", "give lr, or start_iter: null if it stays fixed")
        rate, turns = number_of(table.get("lr", 0) or 0, f"{name}.lr"), ptyrad_turns(table, name)
        turns = turns if rate else False
        if key == "update_obj":
            turns = both(turns, into.preset.get(key, False))
        into.preset[key] = turns

    return convert


def modulus(value: Any, into: Gathered) -> None:
    """``obja``: an object whose modulus is not refined is a phase object."""
    updated("obja", "update_obj")(value, into)
    if not number_of(table_of(value, "obja").get("lr", 0) or 0, "obja.lr"):
        into.preset["phase_only_obj"] = True


def switched(key: str, first: int | None = None, **values: tuple[str, str]) -> Converter:
    """Convert a constraint with its iterations under ``key``; ``values``: its other entries, by our names.

    first: PtyRAD's default of ``start_iter``.
    """

    def convert(value: Any, into: Gathered) -> None:
        table = table_of(value, key)
        turns = ptyrad_turns(table, key, first)
        if turns is False:
            return
        into.preset[key] = turns
        for ours, (theirs, _) in values.items():
            if theirs in table:
                into.preset[ours] = number_of(table[theirs], f"{key}.{theirs}")

    return convert


def positive(value: Any, into: Gathered) -> None:
    """``objp_postiv``."""
    switched("objp_postiv", objp_postiv_relax=("relax", ""))(value, into)
    if into.preset.get("objp_postiv") and "mode" in value:
        into.preset["objp_postiv_mode"] = str(value["mode"])


def limits(value: Any, into: Gathered) -> None:
    """``obja_thresh``."""
    switched("obja_thresh", obja_thresh_relax=("relax", ""))(value, into)
    if into.preset.get("obja_thresh") and "thresh" in value:
        low, high = value["thresh"]
        into.preset["obja_thresh_min"] = number_of(low, "obja_thresh.thresh")
        into.preset["obja_thresh_max"] = number_of(high, "obja_thresh.thresh")


def blurred(value: Any, into: Gathered) -> None:
    """``obj_rblur``: a standard deviation in pixels."""
    table = table_of(value, "obj_rblur")
    turns, part = ptyrad_turns(table, "obj_rblur", 1), table.get("obj_type", "both")
    if turns is False:
        return
    size = strength(turns, number_of(table.get("std", 0.4), "obj_rblur.std"))
    for key, excluded in (("apply_gaussian_filter_px", "amplitude"), ("apply_gaussian_filter_amplitude_px", "phase")):
        if part != excluded:
            into.preset[key] = size


def along_the_beam(value: Any, into: Gathered) -> None:
    """``obj_zblur``: a standard deviation in slices, converted to a length by their thickness."""
    table = table_of(value, "obj_zblur")
    turns = ptyrad_turns(table, "obj_zblur", 1)
    if turns is False:
        return
    if not into.given.get("obj_slice_thickness") or int(into.given.get("obj_Nlayer", 1)) < 2:
        into.notes.append("its width is in slices, and there is only one")
        return
    thickness = number_of(into.given["obj_slice_thickness"], "obj_slice_thickness")
    into.preset["obj_zblur_A"] = strength(turns, number_of(table.get("std", 1.0), "obj_zblur.std") * thickness)
    into.preset["obj_zblur_part"] = PARTS[table.get("obj_type", "both")]


def wedge(value: Any, into: Gathered) -> None:
    """``kz_filter``."""
    table = table_of(value, "kz_filter")
    turns = ptyrad_turns(table, "kz_filter")
    if turns is False:
        return
    into.preset["kz_filter_beta"] = strength(turns, number_of(table.get("beta", 1.0), "kz_filter.beta"))
    into.preset["kz_filter_alpha"] = number_of(table.get("alpha", 1.0), "kz_filter.alpha")
    into.preset["kz_filter_part"] = PARTS[table.get("obj_type", "both")]


def on_only(remark: str) -> Converter:
    """A constraint that is not adopted: reported if it is on."""

    def convert(value: Any, into: Gathered) -> None:
        if ptyrad_turns(table_of(value, remark), remark) is not False:
            into.notes.append(remark)

    return convert


def single(value: Any, into: Gathered) -> None:
    """``loss_single``: a power of the intensities, 0.5 or 1."""
    table = table_of(value, "loss_single")
    if not table.get("state", True):
        return
    power = number_of(table.get("dp_pow", 0.5), "loss_single.dp_pow")
    if power not in (0.5, 1.0):
        raise MetadataError(f"loss_single.dp_pow = {power:g} has no counterpart", "use 0.5 or 1")
    into.preset["algorithm"] = "lsq_sqrt" if power == 0.5 else "lsq"


def poisson(value: Any, into: Gathered) -> None:
    """``loss_poissn``: overrides ``loss_single`` where both are on."""
    if table_of(value, "loss_poissn").get("state"):
        if into.preset.get("algorithm"):
            into.notes.append("one data term at a time here: only this one")
        into.preset["algorithm"] = "ml"


def weighed(remark: str) -> Converter:
    """A term of the loss whose weight is measured differently."""

    def convert(value: Any, into: Gathered) -> None:
        if table_of(value, remark).get("state"):
            into.notes.append(remark)

    return convert


def detector_blur(value: Any, into: Gathered) -> None:
    """``detector_blur_std``: standard deviation of a Gaussian on the modelled pattern, pixels."""
    into.preset["detector_psf_px"] = number_of(value, "detector_blur_std")


def batch(value: Any, into: Gathered) -> None:
    """``BATCH_SIZE``: number of patterns for one step."""
    table = table_of(value, "BATCH_SIZE")
    size, times = (number_of(table.get(n, d), f"BATCH_SIZE.{n}") for n, d in (("size", 32), ("grad_accumulation", 1)))
    into.preset["batch_size"] = int(size * times)


OTHER_MEASURE = "its weight is defined differently there"
FIGURES = "`ptylive analyse`, `ptylive export`, `ptylive film`"
RATE = "switches, not rates"
REST: tuple[Row, ...] = (
    Row("detector_blur_std", MODEL, None, M, ("detector_psf_px",), "", detector_blur),
    Row("preload_data", MODEL, True, S, (), "patterns of large recordings are read when they are needed"),
    Row(
        "optimizer_params",
        MODEL,
        None,
        S,
        (),
        "sweeps, then L-BFGS: steps follow from the curvature; optimizer=adam repeats its Adam",
    ),
    Row("scheduler_params", MODEL, None, S, (), "steps follow from the curvature"),
    Row(
        "update_params.obja",
        MODEL,
        None,
        M,
        ("update_obj", "phase_only_obj"),
        f"{RATE}; a rate of 0: phases only",
        modulus,
    ),
    Row("update_params.objp", MODEL, None, M, ("update_obj",), RATE, updated("objp", "update_obj")),
    Row("update_params.probe", MODEL, None, M, ("update_probe",), RATE, updated("probe", "update_probe")),
    Row(
        "update_params.probe_pos_shifts",
        MODEL,
        None,
        M,
        ("update_probe_pos",),
        RATE,
        updated("probe_pos_shifts", "update_probe_pos"),
    ),
    Row("update_params.obj_tilts", MODEL, None, M, ("update_tilts",), RATE, updated("obj_tilts", "update_tilts")),
    Row(
        "update_params.slice_thickness",
        MODEL,
        None,
        M,
        ("update_thickness",),
        RATE,
        updated("slice_thickness", "update_thickness"),
    ),
    Row("loss_single", LOSS, None, M, ("algorithm",), "a sum of squares, not a relative error", single),
    Row("loss_poissn", LOSS, None, M, ("algorithm",), "", poisson),
    Row("loss_pacbed", LOSS, None, M, (), "not imported", weighed("patterns are not averaged here")),
    Row(
        "loss_sparse",
        LOSS,
        None,
        M,
        (),
        "not imported: `phase_norm_weight`",
        weighed(f"phase_norm_weight: {OTHER_MEASURE}"),
    ),
    Row(
        "loss_simlar",
        LOSS,
        None,
        M,
        (),
        "not imported: `mixed_variance_weight`",
        weighed(f"mixed_variance_weight: {OTHER_MEASURE}"),
    ),
    Row(
        "ortho_pmode",
        CONSTRAINTS,
        None,
        M,
        ("keep_probe_states_orthogonal",),
        "",
        switched("keep_probe_states_orthogonal", 1),
    ),
    Row(
        "probe_mask_k",
        CONSTRAINTS,
        None,
        M,
        (),
        "not imported",
        on_only("probe_reg_constraint_weight is a penalty on the same"),
    ),
    Row("probe_mask_r", CONSTRAINTS, None, M, (), "not imported", on_only("window_weight is a penalty on the same")),
    Row("fix_probe_int", CONSTRAINTS, None, S, (), "not needed: object and counts fix the scale"),
    Row(
        "obj_rblur",
        CONSTRAINTS,
        None,
        M,
        ("apply_gaussian_filter_px", "apply_gaussian_filter_amplitude_px"),
        "",
        blurred,
    ),
    Row("obj_zblur", CONSTRAINTS, None, M, ("obj_zblur_A", "obj_zblur_part"), "slices to Å", along_the_beam),
    Row(
        "kr_filter",
        CONSTRAINTS,
        None,
        M,
        (),
        "not imported",
        on_only("q_lowpass_invA: its radius is a fraction of the frequencies"),
    ),
    Row("kz_filter", CONSTRAINTS, None, M, ("kz_filter_beta", "kz_filter_alpha", "kz_filter_part"), "", wedge),
    Row("kr_thresh", CONSTRAINTS, None, M, (), "not imported", on_only("weak frequencies are not removed here")),
    Row(
        "complex_ratio",
        CONSTRAINTS,
        None,
        M,
        ("complex_ratio", "complex_ratio_alpha1", "complex_ratio_alpha2"),
        "",
        switched("complex_ratio", complex_ratio_alpha1=("alpha1", ""), complex_ratio_alpha2=("alpha2", "")),
    ),
    Row(
        "mirrored_amp",
        CONSTRAINTS,
        None,
        M,
        ("mirrored_amp", "mirrored_amp_relax", "mirrored_amp_scale", "mirrored_amp_power"),
        "",
        switched(
            "mirrored_amp",
            mirrored_amp_relax=("relax", ""),
            mirrored_amp_scale=("scale", ""),
            mirrored_amp_power=("power", ""),
        ),
    ),
    Row(
        "obj_z_recenter",
        CONSTRAINTS,
        None,
        M,
        ("obj_z_recenter", "obj_z_recenter_thresh", "obj_z_recenter_scale", "obj_z_recenter_max_shift"),
        "",
        switched(
            "obj_z_recenter",
            obj_z_recenter_thresh=("thresh", ""),
            obj_z_recenter_scale=("scale", ""),
            obj_z_recenter_max_shift=("max_shift", ""),
        ),
    ),
    Row(
        "obja_thresh",
        CONSTRAINTS,
        None,
        M,
        ("obja_thresh", "obja_thresh_min", "obja_thresh_max", "obja_thresh_relax"),
        "",
        limits,
    ),
    Row("objp_postiv", CONSTRAINTS, None, M, ("objp_postiv", "objp_postiv_relax", "objp_postiv_mode"), "", positive),
    Row("pos_recenter", CONSTRAINTS, None, S, (), "positions are held in their frame"),
    Row(
        "tilt_smooth",
        CONSTRAINTS,
        None,
        M,
        (),
        "not imported",
        on_only(f"fast_axis_reg_weight_tilts: {OTHER_MEASURE}"),
    ),
    Row(
        "NITER",
        RECON,
        None,
        M,
        ("epoch_max",),
        "sweeps, then L-BFGS: fewer are needed than of Adam",
        setting("epoch_max"),
    ),
    Row("INDICES_MODE", RECON, {"mode": "full"}, E, (), "`--set sequence`"),
    Row("BATCH_SIZE", RECON, None, M, ("batch_size",), "of the sweeps; L-BFGS uses all patterns", batch),
    Row("GROUP_MODE", RECON, "random", S, (), "sweeps draw their batches at random; `batch_choice` of optimizer=adam"),
    *(
        Row(name, RECON, None, S, (), FIGURES)
        for name in ("SAVE_ITERS", "save_result", "result_modes", "selected_figs")
    ),
    *(
        Row(name, RECON, None, S, (), "`-o OUT.h5`")
        for name in ("output_dir", "recon_dir_affixes", "prefix_time", "prefix", "postfix", "copy_params")
    ),
    Row("compiler_configs", RECON, None, S, (), "compiled on the processor, fused on a GPU"),
    Row("convergence_monitor", RECON, None, S, (), "every run reports whether it has converged"),
)
ROWS = (*EXPERIMENT, *REST)


def looks_like_ptyrad(values: Mapping[str, Any]) -> bool:
    """Whether tables are PtyRAD's."""
    return isinstance(values.get(INIT), Mapping)


def import_ptyrad(values: Mapping[str, Any], *, lenient: bool = False) -> PlanImport:
    """Settings and metadata of a parameter file. Raises MetadataError; see ``gathered``, also for ``lenient``."""
    flat: dict[str, Any] = {}
    table: list[Taken] = []
    for section, held in values.items():
        if section == HYPERTUNE:
            if held and table_of(held, HYPERTUNE).get("if_hypertune"):
                table.append(Taken(HYPERTUNE, "…", "left out", "", "ptylive tune scan.h5 --over defocus,…"))
        elif section not in SECTIONS:
            raise MetadataError(f"unknown section {section} of a file of PtyRAD", f"known are {', '.join(SECTIONS)}")
        elif held is not None:
            flat |= _flattened(table_of(held, section), section)
    into = Gathered(flat, None)
    table += gathered(flat, ROWS, "PtyRAD", into, lenient=lenient)
    return checked("PtyRAD", into, table)


def _flattened(held: Mapping[str, Any], section: str) -> dict[str, Any]:
    if section != MODEL or not isinstance(held.get(UPDATE), Mapping):
        return dict(held)
    rest = {name: value for name, value in held.items() if name != UPDATE}
    return {**rest, **{f"{UPDATE}.{name}": value for name, value in held[UPDATE].items()}}


def ptyrad_parity() -> str:
    """The table as Markdown."""
    return parity("PtyRAD", ROWS)
