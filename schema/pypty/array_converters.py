"""Rows whose value is an array: beam currents, background, masks, objects, and the optimiser's own constants."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptylive.schema.errors import MetadataError
from ptylive.schema.model import Array
from ptylive.schema.pypty.rows import Converter, Gathered, followed, number

MOST_MODES = 16


def numbers(value: Any, name: str) -> Array:
    """Return an array of finite numbers. Raises MetadataError."""
    try:
        values = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise MetadataError(f"{name} is not an array of numbers", "give numbers, or leave it out") from None
    if not values.size or not np.isfinite(values).all():
        raise MetadataError(f"{name} holds values that are not numbers", "give numbers, or leave it out")
    return values


def multiplier(into: Gathered) -> float:
    """PyPty's factor for recorded counts; its background is in units of the product."""
    return number(into.given.get("data_multiplier") or 1, "data_multiplier")


def beam_current(value: Any, into: Gathered) -> None:
    """``beam_current``: factors of the wave, whose squares are factors of the counts."""
    if isinstance(value, str):
        into.preset["start_beam_current"] = value
        into.notes.append("beam_current: the numbers of a file are used as currents, the squares of PyPty's")
        return
    into.arrays["start_beam_current"] = numbers(value, "beam_current").ravel() ** 2


def background(value: Any, into: Gathered) -> None:
    """``static_background``: an array (P, P) of roots of counts, or a number from which PyPty makes a random one."""
    if not isinstance(value, list):
        if number(value, "static_background") > 0:
            into.notes.append("static_background: refined from 0 where update_static_background is on")
        return
    roots = numbers(value, "static_background")
    if roots.ndim != 2 or roots.shape[0] != roots.shape[1]:
        raise MetadataError(f"static_background has the shape {roots.shape}", "give a square of the window's pixels")
    into.arrays["start_background"] = roots**2 / multiplier(into)


def masks(value: Any, into: Gathered) -> None:
    """``masks``: virtual detectors (K, Qy, Qx) of a recording of K numbers per pattern, or the npy file of them."""
    if isinstance(value, str):
        into.metadata["masks"] = value
        return
    planes = numbers(value, "masks")
    if planes.ndim != 3:
        raise MetadataError(f"masks have the shape {planes.shape}", "give (masks, rows, columns)")
    into.arrays["masks"] = planes


def first_object(value: Any, into: Gathered) -> None:
    """``obj``: the name of a file, or ones (Y, X, slices, modes), which only give the numbers of slices and modes.

    Text holds no complex numbers, so any other array is refused.
    """
    if isinstance(value, str):
        into.preset["start_object"] = value
        return
    planes = numbers(value, "obj")
    if planes.ndim != 4 or (planes != 1).any():
        raise MetadataError("obj: a text preset cannot contain an array", "save it as npy and give its name")
    if planes.shape[3] > MOST_MODES:
        raise MetadataError(f"obj has {planes.shape[3]} modes", f"{MOST_MODES} at most")
    into.preset["obj_modes"] = planes.shape[3]
    into.preset.setdefault("num_slices", planes.shape[2])


def object_modes(value: Any, into: Gathered) -> None:
    """``num_obj_modes``: PyPty then starts with random phases, 0 to 1 rad unless ``obj_phase_sigma`` is set."""
    into.preset["obj_modes"] = int(number(value, "num_obj_modes"))
    into.preset.setdefault("start_phase_noise_rad", 1.0)


def object_noise(value: Any, into: Gathered) -> None:
    """``obj_phase_sigma``: PyPty ignores it without ``num_obj_modes``."""
    if into.given.get("num_obj_modes") is not None:
        into.preset["start_phase_noise_rad"] = number(value, "obj_phase_sigma")


def own_optimiser(key: str) -> Converter:
    """A constant of PyPty's line search, which is used together with it."""

    def convert(value: Any, into: Gathered) -> None:
        into.preset["optimizer"] = "pypty"
        into.preset[key] = followed(value) if key == "update_step_bfgs" else number(value, key)

    return convert
