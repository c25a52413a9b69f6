"""Rows whose value has another meaning in PyPty than here."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptylive.schema.errors import MetadataError
from ptylive.schema.model import Array
from ptylive.schema.optics import ABERRATION_NAMES, KRIVANEK_ORDERS
from ptylive.schema.pypty.rows import Converter, Gathered, followed, number
from ptylive.schema.schedule import Schedule
from ptylive.schema.word_schedule import WordSchedule

MOST_PAIRS = 100_000
TILT_SIGNS = (1, 1, -1, -1, 1, 1)
"""PyPty's tilted propagator has exp(-2 pi i d q tan), ours exp(+2 pi i d q tan) (docs/pypty-parity.md)."""


def aberrations(values: Any) -> dict[str, float]:
    """Convert PyPty's coefficients C10, C12a, C12b, C21a, … (angles from +col) to ours (angles from +row), Å.

    phi = pi/2 - theta: cos(m phi) = cos(m pi/2) cos(m theta) + sin(m pi/2) sin(m theta), and so on.
    """
    given = [float(value) for value in np.atleast_1d(values)]
    if len(given) > len(ABERRATION_NAMES):
        if any(given[len(ABERRATION_NAMES) :]):
            raise MetadataError("aberrations above third order are not supported", "set them to 0")
        given = given[: len(ABERRATION_NAMES)]
    named = dict(zip(ABERRATION_NAMES, given, strict=False))
    found: dict[str, float] = {}
    for name, (_, m) in KRIVANEK_ORDERS.items():
        if m == 0:
            found.update({name: named[name]} if name in named else {})
        elif f"{name}a" in named:
            a, b = named[f"{name}a"], named.get(f"{name}b", 0.0)
            cosine, sine = round(np.cos(m * np.pi / 2)), round(np.sin(m * np.pi / 2))
            found[f"{name}a"] = a * cosine + b * sine + 0.0
            found[f"{name}b"] = a * sine - b * cosine + 0.0
    return found


def probe_focus(_value: Any, into: Gathered) -> None:
    """``aberrations``, ``defocus`` and ``extra_probe_defocus``: the phase of the probe; positive is overfocus.

    PyPty adds the defocus to C10, which is 0 without ``aberrations``: together they are the whole defocus. It
    propagates a given probe. ``defocus`` replaces ``extra_probe_defocus``, as in ``append_exp_params``.
    """
    given = into.given
    coefficients = {} if given.get("aberrations") is None else aberrations(given["aberrations"])
    into.metadata.update(coefficients)
    names = [name for name in ("defocus", "extra_probe_defocus") if given.get(name) is not None]
    distance = number(given[names[0]], names[0]) if names else 0.0
    if distance and isinstance(given.get("probe"), str):
        into.preset["extra_probe_defocus_A"] = -distance
    elif distance:
        into.metadata["C10"] = coefficients.get("C10", 0.0) + distance


def aberrations_array(value: Any, into: Gathered) -> None:
    """``aberrations_array``: a list for each part of the scan."""
    rows = np.atleast_2d(np.asarray(value, dtype=float))
    if not rows.any():
        return
    turned = [aberrations(row) for row in rows]
    names = [name for name in ABERRATION_NAMES if any(name in row for row in turned)]
    into.preset["aberrations_array_A"] = [[row.get(name, 0.0) for name in names] for row in turned]


def underfocus(key: str) -> Converter:
    """Distances of propagation: positive ones are overfocus in PyPty, whereas underfocus is positive here."""

    def convert(value: Any, into: Gathered) -> None:
        turned = -np.asarray(value, dtype=float) + 0.0
        into.preset[key] = float(turned) if turned.ndim == 0 else turned.tolist()

    return convert


def array_file(name: str, key: str) -> Converter:
    """``obj`` and ``probe``: the name of a file."""

    def convert(value: Any, into: Gathered) -> None:
        if not isinstance(value, str):
            raise MetadataError(f"{name}: a text preset cannot contain an array", "save it as npy and give its name")
        into.preset[key] = value

    return convert


def tilts(value: Any, into: Gathered) -> None:
    """(N, 6) tangents in rad to mrad; those inside the specimen change sign."""
    rows = np.atleast_2d(np.asarray(value, dtype=float))
    if rows.any():
        into.preset["tilts_mrad"] = (1e3 * rows * TILT_SIGNS + 0.0).tolist()


def positions(value: Any, into: Gathered) -> None:
    """(N, 2) pixels to Å."""
    pixels, pixel_A = np.atleast_2d(np.asarray(value, dtype=float)), into.pixel_A()
    if len(pixels) < 2 or not pixels.any():
        return
    if pixel_A is None:
        raise MetadataError("positions are in pixels, and pixel_size_y_A is missing", "add it, or leave positions out")
    into.positions_A = pixels * pixel_A


def pixel_size(value: Any, into: Gathered) -> None:
    """Object pixel to the recorded detector pixel, upsampling / (window * pixel), where the window is known."""
    sizes = [into.given.get(name) for name in ("pixel_size_y_A", "pixel_size_x_A")]
    if None not in sizes and abs(float(sizes[0]) / float(sizes[1]) - 1) > 1e-6:  # type: ignore[arg-type]
        raise MetadataError("pixel_size_x_A and pixel_size_y_A differ", "square pixels only")
    if into.given.get("recon_type") == "near_field":
        into.preset["image_pixel_A"] = number(value, "pixel_size_y_A")
        return
    window = into.window()
    if window is None:
        into.notes.append(
            "pixel_size: the detector pixel follows from it only together with a recording; give rez_pixel_size"
        )
        return
    upsampling = int(into.given.get("upsample_pattern") or 1)
    into.metadata["detector_pixel_invA"] = upsampling / (window * number(value, "pixel_size_y_A"))


def algorithm(value: Any, into: Gathered) -> None:
    """The names are the same; PyPty's sums of coefficients are not weighted by their noise."""
    into.preset["algorithm"] = value
    if str(value).endswith("_compressed"):
        into.preset["noise_weighting"] = False


def padding(value: Any, into: Gathered) -> None:
    """``data_pad``: pixels on each side of the pattern."""
    window = into.window()
    if window is None:
        into.notes.append("data_pad: the window follows from it only together with a recording; window_px stays auto")
        return
    into.preset["window_px"] = window // int(into.given.get("upsample_pattern") or 1)


def slice_distances(value: Any, into: Gathered) -> None:
    """One distance, or one behind each slice; the last, which nothing follows, is dropped.

    For a single slice PyPty writes an arbitrary value, possibly 0.
    """
    distances = [float(distance) for distance in np.atleast_1d(value)]
    gaps = int(into.given.get("num_slices") or 1) - 1
    if gaps == 0 and not any(distances):
        return
    into.preset["slice_distances_A"] = distances if len(distances) == 1 else distances[: max(gaps, 1)]


def history(value: Any, into: Gathered) -> None:
    """``hist_length``: infinite ones are limited."""
    if isinstance(value, str):
        into.preset["hist_length"] = Schedule.parse(f"min({Schedule.parse(value).text}, {MOST_PAIRS})").text
        return
    pairs = number(value, "hist_length")
    if pairs > MOST_PAIRS:
        into.notes.append(f"hist_length: infinite is {MOST_PAIRS} pairs, two copies of all parameters each")
    into.preset["hist_length"] = int(min(pairs, MOST_PAIRS))


def count(value: Any, into: Gathered) -> None:
    """``max_count``: no limit becomes 100."""
    into.preset["max_count"] = 100 if value is None else int(min(number(value, "max_count"), 100))


def sufficient_decrease(value: Any, into: Gathered) -> None:
    """``wolfe_c1_constant``: held below 0.5, where a parabola's minimum still passes."""
    if isinstance(value, str):
        into.preset["wolfe_c1_constant"] = Schedule.parse(f"min({Schedule.parse(value).text}, 0.49)").text
    else:
        into.preset["wolfe_c1_constant"] = min(number(value, "wolfe_c1_constant"), 0.49)


def probe_part(part: str) -> Converter:
    """``tune_only_probe_phase`` and ``tune_only_probe_abs``."""

    def convert(value: Any, into: Gathered) -> None:
        if isinstance(value, str):
            otherwise = into.preset.get("probe_part", "both")
            into.preset["probe_part"] = WordSchedule.parse(
                f"{part} if ({Schedule.parse(value).text}) else {otherwise}"
            ).text
        elif value:
            into.preset["probe_part"] = part

    return convert


def mean_pattern(value: Any, into: Gathered) -> None:
    """``mean_pattern``: the root of an array (P, P) is the start probe's amplitude; otherwise the recording's mean."""
    if not isinstance(value, list):
        into.preset["probe_amplitude"] = "mean_pattern"
        return
    counts = np.asarray(value, dtype=float)
    if counts.ndim != 2 or not np.isfinite(counts).all() or not (counts > 0).any():
        raise MetadataError("mean_pattern is not a pattern of counts", "give rows of finite numbers, or leave it out")
    amplitude = np.sqrt(np.maximum(counts, 0) / counts.max())
    mask = into.given.get("aperture_mask")
    into.arrays["aperture_mask"] = _within(amplitude, np.asarray(mask, float)) if isinstance(mask, list) else amplitude


def _within(amplitude: Array, mask: Array) -> Array:
    """A pattern inside a mask; PyPty pads the mask by ``data_pad`` but not the pattern. Raises MetadataError."""
    spare = np.subtract(mask.shape, amplitude.shape) if mask.ndim == 2 else np.array([-1])
    if (spare < 0).any() or (spare % 2).any():
        raise MetadataError(f"mean_pattern {amplitude.shape} and aperture_mask {mask.shape} differ", "leave one out")
    return np.asarray(np.pad(amplitude, [(each // 2, each // 2) for each in spare]) * mask)


def probe_weight(key: str, *, real_space: bool) -> Converter:
    """Weights of the probe: PyPty averages modes, whereas ours are summed; its real-space power is 1 / P^2 of ours."""

    def convert(value: Any, into: Gathered) -> None:
        factor = 1.0
        if real_space:
            window = into.window()
            if window is None:
                into.notes.append(f"{key}: in units of the window's P^2 there; imported unchanged")
            else:
                factor = 1 / window**2
        into.preset[key] = followed(value, factor * _modes(into))

    return convert


def _modes(into: Gathered) -> int:
    """Number of probe modes that the preset requests."""
    hermite, spread = into.given.get("n_hermite_probe_modes"), into.given.get("defocus_spread_modes")
    if hermite is not None:
        return int(np.prod(hermite))
    return 1 if spread is None else len(spread)


def per_pixel(key: str) -> Converter:
    """Weights of squared positions: per pixel^2 in PyPty, per Å^2 here."""

    def convert(value: Any, into: Gathered) -> None:
        pixel = into.pixel_A()
        if pixel is None:
            into.notes.append(f"{key}: per pixel² there, per Å² here; pixel_size_y_A is missing, imported unchanged")
        into.preset[key] = followed(value, 1 / (pixel or 1.0) ** 2)

    return convert


def per_pixel_of_rows(key: str) -> Converter:
    """Like :func:`per_pixel`, for sums over rows, where means are used here."""

    def convert(value: Any, into: Gathered) -> None:
        size = into.given.get("scan_size")
        columns = 1 if size is None else int(size[1])
        per_pixel(key)(followed(value, float(columns**2)), into)

    return convert


def per_rad(key: str, *, rows: bool = False) -> Converter:
    """Weights of squared tilts: per rad^2 in PyPty, per mrad^2 here."""

    def convert(value: Any, into: Gathered) -> None:
        size = into.given.get("scan_size")
        columns = int(size[1]) if rows and size is not None else 1
        into.preset[key] = followed(value, 1e-6 * columns**2)

    return convert


def window(value: Any, into: Gathered) -> None:
    """``window``: two radii as fractions of half the width, or an array of weights."""
    if isinstance(value, str):
        raise MetadataError("window cannot follow the epoch", "give one window; window_weight may follow the epoch")
    values = np.asarray(value, dtype=float)
    if values.shape == (2,):
        into.preset["window"] = values.tolist()
    else:
        into.arrays["window"] = values


def aperture(value: Any, into: Gathered) -> None:
    """``aperture_mask``: where the probe is free in reciprocal space; also the start probe's aperture."""
    values = np.asarray(value, dtype=float)
    if values.ndim == 2:
        into.arrays["probe_constraint_mask"] = values
        if not isinstance(into.given.get("mean_pattern"), list):  # otherwise mean_pattern already includes it
            into.arrays["aperture_mask"] = values
        return
    into.notes.append("aperture_mask: a number is a fraction of the window; probe_constraint_radius is in semi-angles")


def gaussian(key: str) -> Converter:
    """``apply_gaussian_filter``: true means one pixel, numbers are pixels."""

    def convert(value: Any, into: Gathered) -> None:
        into.preset[key] = float(value) if isinstance(value, bool) else followed(value)

    return convert


def atomicity(value: Any, into: Gathered) -> None:
    """``fancy_sigma``: ((sharpen, blur) of the phase, (sharpen, blur) of the absorption), either None.

    A sharpening radius given as text selects the Richardson–Lucy method.
    """
    if isinstance(value, str):
        raise MetadataError("fancy_sigma cannot follow the epoch", "give numbers; do_charge_flip may follow the epoch")
    if not isinstance(value, list) or not all(pair is None or isinstance(pair, list) for pair in value):
        raise MetadataError(
            f"fancy_sigma = {str(value)[:60]} is not two pairs of radii",
            "give [[sharpen, blur] of the phase, [sharpen, blur] of the absorption], or None for either",
        )
    for key, pair in zip(("fancy_sigma_phase_px", "fancy_sigma_abs_px"), value, strict=False):
        if pair is None:
            continue
        if isinstance(pair[0], str):
            into.preset["fancy_deconvolution"] = "richardson_lucy"
        into.preset[key] = [float(radius) for radius in pair]


def marker(key: str) -> Converter:
    """Integers, one for each measurement."""

    def convert(value: Any, into: Gathered) -> None:
        into.preset[key] = value if isinstance(value, str) else [int(part) for part in np.asarray(value).ravel()]

    return convert


def sequence(value: Any, into: Gathered) -> None:
    """``sequence``: numbers of the measurements used; lambdas as words that follow the epoch."""
    if isinstance(value, str):
        into.preset["sequence"] = WordSchedule.parse(value).text
        return
    into.preset["sequence"] = [int(part) for part in np.asarray(value).ravel()]


def field_of_view(value: Any, into: Gathered) -> None:
    """``fov_nm`` along the fast axis to the scan step."""
    size = into.given.get("scan_size")
    if number(value, "fov_nm") == 0:  # PyPty writes 0 where none was given
        return
    if size is None:
        raise MetadataError("fov_nm needs scan_size", "add it, or give scan_step_A")
    into.metadata["scan_step_A"] = 10 * number(value, "fov_nm") / int(size[1])


def transformation(value: Any, into: Gathered) -> None:
    """``transform_axis_matrix``: applied to the grid of steps, before the rotation."""
    matrix = np.asarray(value, dtype=float)
    if np.array_equal(matrix, np.eye(2)):
        return
    step = into.given.get("scan_step_A")
    if step is None and into.given.get("fov_nm") is not None and into.given.get("scan_size") is not None:
        step = 10 * float(into.given["fov_nm"]) / int(into.given["scan_size"][1])
    if step is None:
        raise MetadataError("transform_axis_matrix needs scan_step_A", "add it")
    into.metadata["scan_matrix"] = (matrix * float(step)).tolist()


def rotation(value: Any, into: Gathered) -> None:
    """``PLRotation_deg``: from detector to scan; "auto" is found from the data, as if it were absent."""
    if value != "auto":
        into.metadata["rotation_deg"] = -number(value, "PLRotation_deg") + 0.0


def special_positions(value: Any, into: Gathered) -> None:
    """``special_positions_A``: already in Å."""
    into.positions_A = np.atleast_2d(np.asarray(value, dtype=float))


def multiplier(value: Any, into: Gathered) -> None:
    """``data_multiplier``: its inverse is the number of counts per electron."""
    if number(value, "data_multiplier") != 1:
        into.metadata["counts_per_electron"] = 1 / number(value, "data_multiplier")


def scan_step(value: Any, into: Gathered) -> None:
    """``scan_step_A``: PyPty writes 0 where positions were given instead."""
    steps = np.asarray(value, dtype=float)
    if steps.any():
        into.metadata["scan_step_A"] = float(steps) if steps.ndim == 0 else steps.tolist()
