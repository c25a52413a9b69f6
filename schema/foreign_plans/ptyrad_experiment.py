"""Rows of PtyRAD's ``init_params``: experiment, model, start (names, units and defaults of 1.0.0)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ptylive.schema.errors import MetadataError, brief
from ptylive.schema.foreign_plans.plan import number_of, table_of, transform_of
from ptylive.schema.optics import ABERRATION_NAMES, KRIVANEK_ORDERS
from ptylive.schema.pypty.converters import aberrations
from ptylive.schema.pypty.rows import Converter, Gathered, Row, Support

INIT = "init_params"
M, E, S, R = Support.MAPPED, Support.ELSEWHERE, Support.SET_ASIDE, Support.REFUSED
_HAIDER = {"C1": "C10", "A1": "C12", "A2": "C23", "C3": "C30", "A3": "C34"}
_FACTORS = {"B2": ("C21", 3.0), "S3": ("C32", 4.0)}


def known(key: str, factor: float = 1.0) -> Converter:
    """A number of the experiment, times ``factor``."""
    return lambda value, into: into.metadata.update({key: number_of(value, key) * factor})


def setting(key: str) -> Converter:
    """An integer setting of the refinement."""
    return lambda value, into: into.preset.update({key: int(number_of(value, key))})


def probe_aberrations(value: Any, into: Gathered) -> None:
    """Krivanek's polar (degrees) or cartesian names, Haider's, ``defocus``, ``Cs``; angles start at the columns."""
    given = {
        name: number_of(term, f"probe_aberrations.{name}")
        for name, term in table_of(value, "probe_aberrations").items()
    }
    listed = dict.fromkeys(ABERRATION_NAMES, 0.0)
    polar: dict[str, list[float]] = {}
    for name, term in given.items():
        _place(name, term, listed, polar)
    for name, (size, degrees) in polar.items():
        turned = math.radians(degrees) * KRIVANEK_ORDERS[name][1]
        listed[f"{name}a"] += size * math.cos(turned)
        listed[f"{name}b"] += size * math.sin(turned)
    into.metadata.update({name: term for name, term in aberrations(list(listed.values())).items() if term})


def _place(name: str, value: float, listed: dict[str, float], polar: dict[str, list[float]]) -> None:
    """Add one coefficient. Raises MetadataError for those beyond third order."""
    if name in ("defocus", "Cs"):
        listed["C10" if name == "defocus" else "C30"] += -value if name == "defocus" else value
        return
    factor, angle = 1.0, name.endswith("phi") or name.startswith("phi")
    plain = name.removesuffix("phi")
    plain = f"C{plain[3:]}" if plain.startswith("phi") else plain
    if plain in _FACTORS:
        plain, factor = _FACTORS[plain]
    plain = _HAIDER.get(plain, plain)
    if plain in listed:
        listed[plain] += value
    elif plain in KRIVANEK_ORDERS and KRIVANEK_ORDERS[plain][1]:
        pair = polar.setdefault(plain, [0.0, 0.0])
        pair[1 if angle else 0] = value if angle else value * factor
    elif value:
        raise MetadataError(f"probe_aberrations.{name} is not supported", "up to third order, in Krivanek's names")


def calibration(value: Any, into: Gathered) -> None:
    """``meas_calibration``: seven ways to specify a pixel; ``fitRBF`` fits the disc, as is done here."""
    table = table_of(value, "meas_calibration")
    mode = table.get("mode", "fitRBF")
    if mode == "fitRBF":
        return
    size, pixels = (
        number_of(table.get("value"), "meas_calibration.value"),
        number_of(into.given.get("meas_Npix"), "meas_Npix"),
    )
    semiangle = into.given.get("probe_conv_angle")
    frequency = {"dk": size, "dx": 1 / (pixels * size), "kMax": 2 * size / pixels}
    if mode in frequency:
        into.metadata["detector_pixel_invA"] = frequency[mode]
        return
    disc = number_of(semiangle, "probe_conv_angle") if mode in ("n_alpha", "RBF") else 0.0
    angle = {"da": size, "angleMax": 2 * size / pixels, "n_alpha": 2 * size * disc / pixels, "RBF": disc / size}
    if mode not in angle:
        raise MetadataError(
            f"meas_calibration.mode = {brief(mode)} is unknown", "use da, dk, dx, kMax, angleMax or RBF"
        )
    into.metadata["detector_pixel_mrad"] = angle[mode]


def scan(value: Any, into: Gathered) -> None:
    """``pos_N_scan_slow`` with ``pos_N_scan_fast``."""
    points = [into.given.get(f"pos_N_scan_{axis}") for axis in ("slow", "fast")]
    if None not in points:
        into.metadata["scan_shape"] = [int(number_of(n, "pos_N_scan")) for n in points]


def affine(value: Any, into: Gathered) -> None:
    """``pos_scan_affine``: [scale, asymmetry, rotation, shear], rotation and shear in degrees."""
    if not isinstance(value, list) or len(value) != 4:
        raise MetadataError(f"pos_scan_affine = {brief(value)} is not a list of four", "correct the file")
    scale, asymmetry, rotation, shear = (number_of(number, "pos_scan_affine") for number in value)
    into.metadata["rotation_deg"] = rotation
    if (scale, asymmetry, shear) == (1, 0, 0):
        return
    turn = np.array(
        [
            [math.cos(math.radians(rotation)), -math.sin(math.radians(rotation))],
            [math.sin(math.radians(rotation)), math.cos(math.radians(rotation))],
        ]
    )
    stretch = scale * np.diag([1 + asymmetry / 2, 1 - asymmetry / 2])
    shearing = np.array([[1, 0], [math.tan(math.radians(shear)), 1]])
    matrix = (stretch @ turn.T @ shearing).T  # PtyRAD: positions, as rows, times this product
    step = number_of(into.given.get("pos_scan_step_size"), "pos_scan_step_size")
    into.metadata["scan_matrix"] = (turn.T @ matrix * step).tolist()


def padded_layers(given: Mapping[str, Any]) -> tuple[int, int]:
    """Layers that ``obj_z_pad`` adds in front of and behind the object."""
    padding = given.get("obj_z_pad")
    if padding is None:
        return 0, 0
    front, back = (int(number_of(n, "obj_z_pad.pad_layers")) for n in table_of(padding, "obj_z_pad")["pad_layers"])
    return front, back


def in_depth(value: Any, into: Gathered) -> None:
    """``obj_z_pad``: always vacuum, whatever type is requested."""
    slices(value, into)
    if set(table_of(value, "obj_z_pad").get("pad_types", ())) - {"vacuum"}:
        into.notes.append("vacuum is added there, not copies or means of layers")


def tilts(value: Any, into: Gathered) -> None:
    """``tilt_params``: [row, column] of the specimen for all patterns, mrad."""
    each = table_of(value, "tilt_params").get("init_tilts", [[0, 0]])
    if len(each) != 1:
        into.notes.append("tilts of single patterns are not imported: --set tilts_mrad")
    elif any(row_column := [number_of(tilt, "tilt_params.init_tilts") for tilt in each[0]]):
        into.preset["tilts_mrad"] = [[0.0, 0.0, *row_column, 0.0, 0.0]]


def slices(value: Any, into: Gathered) -> None:
    """``obj_Nlayer`` with ``obj_slice_thickness``; ``obj_z_crop``, ``obj_z_pad``, ``obj_z_resample`` applied."""
    number = int(number_of(into.given.get("obj_Nlayer", 1), "obj_Nlayer"))
    thickness = number_of(into.given.get("obj_slice_thickness", 0), "obj_slice_thickness")
    first, last = (int(number_of(index, "obj_z_crop")) for index in into.given.get("obj_z_crop") or (0, number))
    front, back = padded_layers(into.given)
    number = max(1, last - first) + front + back
    if front != first:
        into.preset["start_depth_A"] = (front - first) * thickness
    resample = into.given.get("obj_z_resample")
    if resample is not None:
        table = table_of(resample, "obj_z_resample")
        amount, total = number_of(table.get("value"), "obj_z_resample.value"), number * thickness
        ways = {"scale_Nlayer": number * amount, "target_Nlayer": amount, "scale_slice_thickness": number / amount}
        layers = ways.get(str(table.get("mode")), total / amount)
        number = max(1, round(layers))
        thickness = total / number
    into.preset["num_slices"] = number
    if number > 1 and thickness > 0:
        into.preset["slice_distances_A"] = [thickness]


def source(kind: str, key: str) -> Converter:
    """``…_params`` of a source that is a file of PtyRAD, fold_slice or py4DSTEM."""

    def convert(value: Any, into: Gathered) -> None:
        named = into.given.get(f"{kind}_source", "simu")
        if named == "simu":
            return
        if not isinstance(value, str) or named not in ("PtyRAD", "PtyShv", "py4DSTEM"):
            raise MetadataError(f"{kind}_source = {brief(named)} is not imported", f"--set {key}=FILE")
        into.preset[key] = value

    return convert


def flips(value: Any, into: Gathered) -> None:
    """``meas_flipT``."""
    if (words := transform_of(value, "meas_flipT")) is not None:
        into.metadata["detector_transform"] = words


def padded(value: Any, into: Gathered) -> None:
    """``meas_pad``: unmeasured frequencies have no weight here."""
    table = table_of(value, "meas_pad")
    if table.get("mode", "on_the_fly") is not None:
        into.preset["window_px"] = int(number_of(table.get("target_Npix", 256), "meas_pad.target_Npix"))


def resampled(value: Any, into: Gathered) -> None:
    """``meas_resample``: integer factors become pixels of the model along one of the detector."""
    factors = table_of(value, "meas_resample").get("scale_factors", [2, 2])
    factor = number_of(factors[0], "meas_resample.scale_factors")
    if factor != int(factor) or any(number_of(entry, "meas_resample") != factor for entry in factors) or factor < 1:
        into.notes.append("only whole factors above 1 are supported: ptylive convert --bin makes patterns smaller")
        return
    into.preset["upsample_pattern"] = int(factor)


def start_probe_depth(value: Any, into: Gathered) -> None:
    """``probe_z_shift``: PtyRAD propagates the probe by it, which lowers its underfocus.

    A probe from a file is propagated along with the vacuum in front of the object anyway.
    """
    moved = -number_of(value, "probe_z_shift")
    if into.given.get("probe_params") is not None:
        slices(None, into)
        moved -= into.preset.get("start_depth_A", 0.0)
    if moved:
        into.preset["extra_probe_defocus_A"] = moved


FILE = "a results file of that program"
EXPERIMENT: tuple[Row, ...] = (
    Row("random_seed", INIT, None, M, ("seed",), "of the sweeps' order", setting("seed")),
    Row("probe_illum_type", INIT, "electron", R, (), "electrons only"),
    Row("probe_kv", INIT, None, M, ("energy_eV",), "kV to eV", known("energy_eV", 1e3)),
    Row("probe_conv_angle", INIT, None, M, ("convergence_semiangle_mrad",), "", known("convergence_semiangle_mrad")),
    Row(
        "probe_aberrations",
        INIT,
        {},
        M,
        ("C10", "C12a", "C12b", "…"),
        "angles are measured from the column axis there; up to third order",
        probe_aberrations,
    ),
    *(
        Row(name, INIT, None, R, (), "of x-rays")
        for name in ("beam_kev", "probe_dRn", "probe_Rn", "probe_D_H", "probe_D_FZP", "probe_Ls")
    ),
    Row("meas_Npix", INIT, None, S, (), "the recording's own"),
    Row("pos_N_scans", INIT, None, S, (), "the recording's own"),
    Row("pos_N_scan_slow", INIT, None, M, ("scan_shape",), "", scan),
    Row("pos_N_scan_fast", INIT, None, M, ("scan_shape",), "", scan),
    Row("pos_scan_step_size", INIT, None, M, ("scan_step_A",), "", known("scan_step_A")),
    Row(
        "meas_calibration",
        INIT,
        {"mode": "fitRBF"},
        M,
        ("detector_pixel_mrad", "detector_pixel_invA"),
        "by its mode; if absent, both programs fit the disc",
        calibration,
    ),
    Row("probe_pmode_max", INIT, None, M, ("probe_modes",), "", setting("probe_modes")),
    Row("probe_pmode_init_pows", INIT, [0.02], S, (), "powers follow from source size and focal spread"),
    Row("obj_omode_max", INIT, 1, M, ("obj_modes",), "", setting("obj_modes")),
    Row("obj_omode_init_occu", INIT, {"occu_type": "uniform"}, S, (), "modes have equal weight"),
    Row("obj_Nlayer", INIT, None, M, ("num_slices",), "", slices),
    Row("obj_slice_thickness", INIT, None, M, ("slice_distances_A",), "of several slices", slices),
    Row("simu_Npix", INIT, None, R, (), "`window_px` pads, `upsample_pattern` makes pixels finer"),
    Row("simu_match_mode", INIT, None, S, (), "goes with `simu_Npix`"),
    Row("meas_permute", INIT, None, E, (), "readers know the order of axes; `ptylive convert --transform` otherwise"),
    Row("meas_reshape", INIT, None, S, (), "scans of three and of four axes are read alike"),
    Row(
        "meas_flipT",
        INIT,
        [0, 0, 0],
        M,
        ("detector_transform",),
        "words in the order in which the detector did it",
        flips,
    ),
    Row("meas_crop", INIT, None, E, (), "`ptylive convert --crop TOP,BOTTOM,LEFT,RIGHT`"),
    Row(
        "meas_pad",
        INIT,
        None,
        M,
        ("window_px",),
        "padded frequencies weigh nothing here; no background is fitted to them",
        padded,
    ),
    Row(
        "meas_resample",
        INIT,
        None,
        M,
        ("upsample_pattern",),
        "pixels of the model along one of the detector",
        resampled,
    ),
    Row("meas_add_source_size", INIT, None, R, (), "blurs the data: simulate them so (`ptylive simulate`)"),
    Row("meas_add_detector_blur", INIT, None, R, (), "blurs the data: simulate them so (`ptylive simulate`)"),
    Row("meas_remove_neg_values", INIT, None, S, (), "negative counts are 0"),
    Row("meas_normalization", INIT, None, S, (), "counts stay counts; `counts_per_electron` says what they mean"),
    Row("meas_add_poisson_noise", INIT, None, R, (), "adds noise to the data: simulate them so (`ptylive simulate`)"),
    Row("meas_export", INIT, None, E, (), "`ptylive convert`"),
    Row("probe_permute", INIT, None, S, (), "readers know the order of axes"),
    Row("probe_z_shift", INIT, None, M, ("extra_probe_defocus_A",), "", start_probe_depth),
    Row("probe_normalization", INIT, None, S, (), "the probe's light is the mean counts of a pattern"),
    Row("pos_scan_flipT", INIT, [0, 0, 0], E, (), "`ptylive convert --flip-scan`"),
    Row("pos_scan_affine", INIT, [1, 0, 0, 0], M, ("rotation_deg", "scan_matrix"), "its rotation has our sign", affine),
    Row("pos_scan_rand_std", INIT, 0.15, S, (), "positions start unchanged"),
    Row(
        "obj_z_crop",
        INIT,
        None,
        M,
        ("num_slices", "start_depth_A"),
        "what lies behind is kept in the last slice",
        slices,
    ),
    Row("obj_z_pad", INIT, None, M, ("num_slices", "start_depth_A"), "a start probe is moved along", in_depth),
    Row("obj_z_resample", INIT, None, M, ("num_slices", "slice_distances_A"), "", slices),
    Row("meas_source", INIT, "file", S, (), "the FILE argument of every command"),
    Row("meas_params", INIT, None, S, (), "the FILE argument of every command"),
    Row("probe_source", INIT, "simu", S, (), "goes with `probe_params`"),
    Row("probe_params", INIT, None, M, ("start_probe",), FILE, source("probe", "start_probe")),
    Row("pos_source", INIT, "simu", S, (), "goes with `pos_params`"),
    Row("pos_params", INIT, None, M, ("start_positions",), FILE, source("pos", "start_positions")),
    Row("obj_source", INIT, "simu", S, (), "goes with `obj_params`"),
    Row("obj_params", INIT, None, M, ("start_object",), FILE, source("obj", "start_object")),
    Row("tilt_source", INIT, "simu", S, (), "goes with `tilt_params`"),
    Row(
        "tilt_params",
        INIT,
        {"tilt_type": "all", "init_tilts": [[0, 0]]},
        M,
        ("tilts_mrad",),
        "one tilt for all patterns",
        tilts,
    ),
)
