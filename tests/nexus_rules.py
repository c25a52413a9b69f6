"""Requirements of the NeXus manual for plottable files, returned as a list of violations."""

import re

import h5py
import numpy as np

NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.]*[A-Za-z0-9_])?")


def breaches(file):
    """What is wrong with the entry to which ``@default`` of the root leads, and with every NXdata in it."""
    entry = file.get(file.attrs.get("default", "-"))
    if entry is None or entry.attrs.get("NX_class") != "NXentry":
        return ["@default of the root leads to no NXentry"]
    found = [] if entry.attrs.get("default") in entry else ["@default of the entry leads nowhere"]
    for name, group in entry.items():
        if not NAME.fullmatch(name):
            found.append(f"{name!r} is no name")
        if isinstance(group, h5py.Group):
            found += [f"{name}: {what}" for what in plot_breaches(group)]
    return found


def plot_breaches(group):
    """Violations in one NXdata group."""
    if group.attrs.get("NX_class") != "NXdata":
        return ["is no NXdata"]
    signal = group.get(group.attrs.get("signal", "-"))
    if not isinstance(signal, h5py.Dataset):
        return ["@signal names no data set"]
    found = [f"{label} has no @{key}" for label, one in group.items() for key in missing(label, one)]
    axes = list(np.atleast_1d(group.attrs.get("axes", [])))
    if len(axes) != signal.ndim:
        found.append(f"{len(axes)} axes for {signal.ndim} dimensions")
    for size, axis in zip(signal.shape, axes, strict=False):
        vector = group.get(axis)
        if vector is None or vector.shape != (size,) or vector.dtype.kind != "f":
            found.append(f"axis {axis} does not fit")
        elif size > 1 and not group.name.endswith("_positions") and not (np.diff(vector[()]) > 0).all():
            found.append(f"axis {axis} does not rise")
    return found


def missing(name, data):
    """Attributes that a quantity should have."""
    return [] if name == "title" else [key for key in ("units", "long_name") if not data.attrs.get(key)]
