"""phaser's plans: raw data, start and engines, each engine a stage (names, units and defaults of phaserEM 0.3.1).

Its focused probe is the complex conjugate of the transform of exp(+i chi), which is exp(-i chi(-k)): aberrations of odd
symmetry change sign.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ptylive.schema.errors import MetadataError, brief
from ptylive.schema.foreign_plans.phaser_engines import ENGINE, engines_of, engines_there
from ptylive.schema.foreign_plans.plan import (
    PlanImport,
    Taken,
    checked,
    gathered,
    number_of,
    parity,
    table_of,
    transform_of,
)
from ptylive.schema.foreign_plans.turns import phaser_turns
from ptylive.schema.optics import KRIVANEK_ORDERS
from ptylive.schema.pypty.converters import aberrations
from ptylive.schema.pypty.rows import Converter, Gathered, Row, Support
from ptylive.schema.units import ELECTRON_REST_ENERGY_EV as REST_EV
from ptylive.schema.units import PLANCK_TIMES_C_EV_A

PLAN = "plan"
M, E, S, R = Support.MAPPED, Support.ELSEWHERE, Support.SET_ASIDE, Support.REFUSED
OTHER_MEASURE = "its cost is defined differently there"
COUNTERPARTS = {
    "obj_l1": "abs_norm_weight and phase_norm_weight",
    "obj_l2": "phase_norm_weight",
    "obj_phase_l1": "phase_norm_weight",
    "obj_tv": "atv_weight",
    "obj_tikh": "atv_weight with atv_q = 2",
    "obj_tikhonov": "atv_weight with atv_q = 2",
    "layers_tv": "layers_tv_weight",
    "layers_tikh": "layers_tikhonov_weight",
    "layers_tikhonov": "layers_tikhonov_weight",
}
AFTER_LOADING = {
    "bin": "ptylive convert --bin",
    "crop_data": "ptylive convert --crop",
    "scale": "--set counts_per_electron",
    "offset": "ptylive convert",
    "poisson": "ptylive simulate adds noise",
    "apply_mtf": "detector_psf blurs the modelled pattern instead",
}
CONSTRAINED = {
    "limit_probe_support": "probe_reg_constraint_weight is a penalty on the same",
    "obj_gaussian": "apply_gaussian_filter_px is in pixels",
    "obj_low_pass": "q_lowpass_invA is in 1/Å",
}
HAIDER = {"C1": "C10", "A1": "C12", "B2": "C21", "A2": "C23", "C3": "C30", "S3": "C32", "A3": "C34"}
SCALES = {"B2": 3.0, "S3": 3.0}


def raw_data(value: Any, into: Gathered) -> None:
    """``raw_data``: high tension, pixel, flips and counts; the path of the file is the FILE argument."""
    table = table_of(value, "raw_data")
    for name, key, factor in (
        ("kv", "energy_eV", 1e3),
        ("diff_step", "detector_pixel_mrad", 1.0),
        ("adu", "counts_per_electron", 1.0),
    ):
        if table.get(name) is not None:
            into.metadata[key] = number_of(table[name], f"raw_data.{name}") * factor
    if table.get("wavelength") is not None:
        wavelength(table["wavelength"], into)
    if table.get("det_flips") is not None and (words := transform_of(table["det_flips"], "raw_data.det_flips")):
        into.metadata["detector_transform"] = words


def wavelength(value: Any, into: Gathered) -> None:
    """Convert a wavelength in Å to the energy of electrons."""
    momentum = PLANCK_TIMES_C_EV_A / number_of(value, "wavelength")
    into.metadata["energy_eV"] = math.sqrt(momentum**2 + REST_EV**2) - REST_EV


def start(value: Any, into: Gathered) -> None:
    """``init``: probe, scan, tilt, or a state of an earlier run."""
    table = table_of(value, "init")
    if table.get("state") is not None:
        into.preset |= dict.fromkeys(("start_object", "start_probe", "start_positions"), str(table["state"]))
    if table.get("probe"):
        _probe(table_of(table["probe"], "init.probe"), into)
    if table.get("scan"):
        _scan(table_of(table["scan"], "init.scan"), into)
    if table.get("tilt"):
        _tilt(table_of(table["tilt"], "init.tilt"), into)


def _probe(table: Mapping[str, Any], into: Gathered) -> None:
    if table.get("conv_angle") is not None:
        into.metadata["convergence_semiangle_mrad"] = number_of(table["conv_angle"], "init.probe.conv_angle")
    names = [
        f"{name}{part}" if m else name for name, (_, m) in KRIVANEK_ORDERS.items() for part in ("ab" if m else " ")
    ]
    listed = dict.fromkeys(names, 0.0)
    listed["C10"] = number_of(table.get("defocus") or 0.0, "init.probe.defocus")
    for aberration in table.get("aberrations") or ():
        for name, (real, imaginary) in _coefficients(table_of(aberration, "aberrations")).items():
            m = KRIVANEK_ORDERS[name][1]
            sign = -1 if m % 2 else 1
            if m:
                listed[f"{name}a"] += sign * real
                listed[f"{name}b"] += sign * imaginary
            else:
                listed[name] += real
    into.metadata.update({name: value for name, value in aberrations(list(listed.values())).items() if value})


def _coefficients(table: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Real and imaginary part of coefficients, by Krivanek's names. Raises MetadataError beyond third order."""
    if {"n", "m"} <= set(table):
        name = f"C{table['n']}{table['m']}"
        given: dict[str, Any] = {name: {key: pair for key, pair in table.items() if key not in ("n", "m")}}
        scales: Mapping[str, float] = {}
    else:
        given = {HAIDER.get(str(key).upper(), str(key)): pair for key, pair in table.items()}
        scales = {HAIDER[name]: factor for name, factor in SCALES.items()}
    unknown = [name for name in given if name not in KRIVANEK_ORDERS]
    if unknown:
        raise MetadataError(f"aberration {brief(unknown[0])} is not supported", "up to third order")
    return {name: _pair(pair, scales.get(name, 1.0)) for name, pair in given.items()}


def _pair(value: Any, factor: float) -> tuple[float, float]:
    """Read a pair given as cartesian, polar (degrees) or a plain number."""
    if not isinstance(value, Mapping):
        return number_of(value, "aberrations") * factor, 0.0
    if "mag" in value:
        size, angle = (
            number_of(value["mag"], "aberrations.mag"),
            math.radians(number_of(value.get("angle", 0), "angle")),
        )
        return size * math.cos(angle) * factor, size * math.sin(angle) * factor
    real, imaginary = (number_of(value.get(part, 0), f"aberrations.{part}") for part in ("re", "im"))
    return real * factor, imaginary * factor


def _scan(table: Mapping[str, Any], into: Gathered) -> None:
    if table.get("shape") is not None:
        into.metadata["scan_shape"] = [int(number_of(n, "init.scan.shape")) for n in table["shape"]]
    step = table.get("step_size")
    if step is not None:
        each = step if isinstance(step, list) else [step]
        numbers = [number_of(number, "init.scan.step_size") for number in each]
        into.metadata["scan_step_A"] = numbers[0] if len(numbers) == 1 else numbers
    if table.get("rotation") is not None:
        into.metadata["rotation_deg"] = number_of(table["rotation"], "init.scan.rotation")
    if table.get("affine") is not None:
        into.notes.append("an affine scan is not imported: --set scan_matrix")


def _tilt(table: Mapping[str, Any], into: Gathered) -> None:
    if table.get("type") == "global":
        row, column = (number_of(number, "init.tilt.tilt") for number in table["tilt"])
        into.preset["tilts_mrad"] = [[0.0, 0.0, row, column, 0.0, 0.0]]
    else:
        into.notes.append("tilts from a file are not imported: --set tilts_mrad")


def point_spread(value: Any, into: Gathered) -> None:
    """``mtf``: a Gaussian of the detector, its standard deviation in pixels."""
    table = {"type": value} if isinstance(value, str) else table_of(value, "mtf")
    sigma = table.get("sigma")
    if table.get("type") == "gaussian" and not isinstance(sigma, list | tuple):
        into.preset["detector_psf_px"] = number_of(sigma, "mtf.sigma")
    else:
        into.notes.append("--set detector_psf accepts any point spread as an image")


def slices(value: Any, into: Gathered) -> None:
    """``slices``: a list of thicknesses, or a number with the thickness of one slice or of all."""
    table = table_of(value, "slices")
    if "thicknesses" in table:
        each = [number_of(thickness, "slices.thicknesses") for thickness in table["thicknesses"]]
    else:
        number = int(number_of(table.get("n"), "slices.n"))
        total = table.get("total_thickness")
        thickness = (
            number_of(table.get("slice_thickness"), "slices")
            if total is None
            else number_of(total, "slices") / max(number, 1)
        )
        each = [thickness] * number
    into.preset["num_slices"] = len(each)
    if len(each) > 1:
        into.preset["slice_distances_A"] = each[:1] if len(set(each)) == 1 else each[:-1]


def after_loading(value: Any, into: Gathered) -> None:
    """``post_load``: operations on the patterns."""
    for step in value if isinstance(value, list) else [value]:
        kind = step.get("type") if isinstance(step, Mapping) else step
        into.notes.append(f"{kind}: {AFTER_LOADING.get(str(kind), 'not here')}")


def whole(key: str) -> Converter:
    """An integer stored under ``key``."""
    return lambda value, into: into.preset.update({key: int(number_of(value, key))})


def flag(key: str) -> Converter:
    """A flag stored under ``key``."""
    return lambda value, into: into.preset.update({key: phaser_turns(value, key)})


def window(value: Any, into: Gathered) -> None:
    """``sim_shape``: square windows."""
    sizes = {int(number_of(size, "sim_shape")) for size in value}
    if len(sizes) != 1:
        raise MetadataError(f"sim_shape = {brief(value)} is not square", "square windows only")
    into.preset["window_px"] = sizes.pop()


def band(value: Any, into: Gathered) -> None:
    """``bwlim_frac``: 1 means no limit, which is expressed here by leaving it out."""
    share = number_of(value, "bwlim_frac")
    if share < 1:
        into.preset["damping_cutoff_multislice"] = share


def noise(value: Any, into: Gathered) -> None:
    """``noise_model``: only its kind; offsets and floors are chosen here."""
    kind = value.get("type") if isinstance(value, Mapping) else value
    terms = {"amplitude": "lsq_sqrt", "anscombe": "lsq_sqrt", "poisson": "ml"}
    if kind not in terms:
        raise MetadataError(f"noise_model {brief(kind)} is unknown", f"known are {', '.join(terms)}")
    into.preset["algorithm"] = terms[str(kind)]
    if kind == "anscombe":
        into.preset["loss_offset"] = number_of(
            value.get("offset", 0.375) if isinstance(value, Mapping) else 0.375, "offset"
        )


def constraints(value: Any, into: Gathered) -> None:
    """``iter_constraints`` and ``group_constraints``."""
    for constraint in value or ():
        table = {"type": constraint} if isinstance(constraint, str) else table_of(constraint, "constraints")
        kind, weight = table.get("type"), number_of(table.get("weight", 0.9), "weight")
        if kind == "clamp_object_amplitude":
            limits = table.get("amplitude", 1.1)
            low, high = (limits[0], limits[1]) if isinstance(limits, list) else (None, limits)
            into.preset["obja_thresh"] = True
            into.preset["obja_thresh_min"] = 0.0 if low is None else number_of(low, "amplitude")
            into.preset["obja_thresh_max"] = 1e6 if high is None else max(number_of(high, "amplitude"), 1.0)
        elif kind == "layers":
            into.preset["obj_zblur_A"] = number_of(table.get("sigma", 50.0), "layers.sigma")
            into.preset["obj_zblur_weight"] = weight
        elif kind == "nonneg_object_phase":
            into.preset["objp_postiv"] = True
            into.preset["objp_postiv_relax"] = 1 - number_of(table.get("weight", 1.0), "weight")
        elif kind != "remove_phase_ramp":
            into.notes.append(f"{kind}: {CONSTRAINED.get(str(kind), 'not here')}")


def regularizers(value: Any, into: Gathered) -> None:
    """``regularizers``: by cost, which is measured differently."""
    for regularizer in value or ():
        kind = regularizer if isinstance(regularizer, str) else table_of(regularizer, "regularizers").get("type")
        ours = COUNTERPARTS.get(str(kind))
        into.notes.append(f"{kind}: {ours}, but {OTHER_MEASURE}" if ours else f"{kind}: not here")


STEPS = "steps follow from the curvature; optimizer=epie, lsq_ml or adam repeats theirs"
PLAN_ROWS: tuple[Row, ...] = (
    *(Row(name, PLAN, None, S, (), "") for name in ("file_type", "version", "name")),
    *(
        Row(name, PLAN, None, S, (), "`--backend auto|cpu|gpu`; single precision, double by `precision=double`")
        for name in ("backend", "device", "dtype")
    ),
    Row("wavelength", PLAN, None, M, ("energy_eV",), "Å to eV", wavelength),
    Row(
        "raw_data",
        PLAN,
        None,
        M,
        ("energy_eV", "detector_pixel_mrad", "detector_transform", "counts_per_electron"),
        "its path is the FILE argument of every command",
        raw_data,
    ),
    Row("post_load", PLAN, [], M, (), "not imported: the recording is refined unchanged", after_loading),
    Row(
        "init",
        PLAN,
        None,
        M,
        (
            "convergence_semiangle_mrad",
            "C10",
            "…",
            "scan_shape",
            "scan_step_A",
            "rotation_deg",
            "tilts_mrad",
            "start_object",
            "start_probe",
            "start_positions",
        ),
        "defocus there is overfocus",
        start,
    ),
    Row("post_init", PLAN, [], S, (), "beam centre and missing patterns are found automatically"),
    Row("slices", PLAN, None, M, ("num_slices", "slice_distances_A"), "", slices),
)
ENGINE_ROWS: tuple[Row, ...] = (
    Row("type", ENGINE, None, S, (), "sweeps, then L-BFGS"),
    Row("sim_shape", ENGINE, None, M, ("window_px",), "", window),
    Row("resize_method", ENGINE, "pad_crop", S, (), "padded frequencies weigh nothing"),
    Row("probe_modes", ENGINE, None, M, ("probe_modes",), "", whole("probe_modes")),
    Row("base_mode_power", ENGINE, 0.7, S, (), "powers follow from source size and focal spread"),
    Row("bwlim_frac", ENGINE, None, M, ("damping_cutoff_multislice",), "1: none", band),
    Row("obj_pad_px", ENGINE, 5.0, S, (), "`extra_space_on_side_px`"),
    Row("slices", ENGINE, None, M, ("num_slices", "slice_distances_A"), "", slices),
    Row("niter", ENGINE, None, M, ("epoch_max",), "sweeps, then L-BFGS: fewer are needed", whole("epoch_max")),
    Row("grouping", ENGINE, None, M, ("batch_size",), "of the sweeps", whole("batch_size")),
    *(
        Row(name, ENGINE, None, S, (), "sweeps draw their batches at random; batch_choice of named optimizers")
        for name in (
            "compact",
            "shuffle_groups",
            "buffer_n_groups",
            "jit_unroll_slices",
            "check_every_group",
            "send_every_group",
        )
    ),
    Row("update_probe", ENGINE, None, M, ("update_probe",), "", flag("update_probe")),
    Row("update_object", ENGINE, None, M, ("update_obj",), "", flag("update_obj")),
    Row("update_positions", ENGINE, None, M, ("update_probe_pos",), "", flag("update_probe_pos")),
    Row("update_tilt", ENGINE, None, M, ("update_tilts",), "", flag("update_tilts")),
    *(
        Row(name, ENGINE, None, S, (), "every run reports whether it has converged")
        for name in ("calc_error", "calc_error_fraction", "early_termination", "early_termination_smoothing")
    ),
    *(
        Row(name, ENGINE, None, S, (), "`-o OUT.h5`, `--history`, `ptylive export`")
        for name in ("save", "save_images", "save_options")
    ),
    Row("mtf", ENGINE, None, M, ("detector_psf_px",), "of a Gaussian", point_spread),
    Row("noise_model", ENGINE, None, M, ("algorithm", "loss_offset"), "its eps is chosen here", noise),
    *(Row(name, ENGINE, None, S, (), STEPS) for name in ("solver", "solvers", "position_solver")),
    Row("group_constraints", ENGINE, [], M, ("obja_thresh", "objp_postiv"), "once an epoch", constraints),
    Row(
        "iter_constraints",
        ENGINE,
        [],
        M,
        ("obja_thresh", "obj_zblur_A", "obj_zblur_weight", "objp_postiv"),
        "",
        constraints,
    ),
    Row("regularizers", ENGINE, [], M, (), f"not imported: {OTHER_MEASURE}", regularizers),
)


def looks_like_phaser(values: Mapping[str, Any]) -> bool:
    """Whether a table is a plan of phaser, with ``engines`` possibly misspelt."""
    return values.get("file_type") == "phaser_plan" or ("raw_data" in values and bool(engines_there(values)))


def import_phaser(values: Mapping[str, Any], *, lenient: bool = False) -> PlanImport:
    """Settings and metadata of a plan; several engines become stages. Raises MetadataError."""
    engines = engines_of(values)
    rest = {name: value for name, value in values.items() if name != "engines"}
    into = Gathered(rest, None)
    table = gathered(rest, PLAN_ROWS, "phaser", into, lenient=lenient)
    stages: list[dict[str, Any]] = []
    for number, engine in enumerate(engines, 1):
        options = table_of(engine, "engines")
        stage = Gathered(options, None)
        found = gathered(options, ENGINE_ROWS, "phaser", stage, lenient=lenient)
        prefix = f"engine {number}: " if len(engines) > 1 else ""
        table += [
            Taken(f"{prefix}{taken.name}", taken.value, taken.support, taken.here, taken.remark) for taken in found
        ]
        stages.append(stage.preset)
    if len(stages) == 1:
        into.preset |= stages[0]
    else:
        into.preset["stages"] = stages
    return checked("phaser", into, table)


def phaser_parity() -> str:
    """The table as Markdown."""
    return parity("phaser", (*PLAN_ROWS, *ENGINE_ROWS))
