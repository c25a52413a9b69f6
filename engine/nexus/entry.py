"""The NeXus entry of a results file, which makes every map, object, probe and loss plottable.

Programs that support NeXus (h5web, silx, NeXpy) follow ``@default`` from the root to ``/entry`` (NXentry) and from
there to an NXdata group: ``@signal`` names what is shown, ``@axes`` the vectors along it, with their units. The signals
are soft links to the data sets, which stay where they are; the entry is rewritten with every change of the file. Rules:
manual of NeXus, "NXdata" and "Rules for storing data items".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import h5py

ENTRY, MAPS, RUNS = "entry", "maps", "refinements"
PROGRAM = "ptylive"
SHOWN_FIRST = ("obf", "idpc", "bf")
MOST_POINTS, MOST_PLOTS, LONGEST_NAME = 2**20, 2000, 200
"""Limits of an axis, an entry and a text; a file that exceeds them is not a results file of ours."""
POSITION = "position_"
"""Prefix of ``position_y``, ``position_x`` (N,) of a run: the values of ``positions_A`` as vectors usable as axes."""
_SIGNAL = "data"
_OWN_FIELDS = ("program_name", "title", "entry_identifier")
_OWN_DEFAULTS = (MAPS, ENTRY)
"""Values of the root's ``@default`` written by earlier versions and this one; any other is a user's choice."""


@dataclass(frozen=True)
class Axis:
    """A vector of ``count`` numbers from ``start`` by ``step``, or of ``values`` if there are any."""

    name: str
    units: str
    long_name: str
    count: int
    start: float = 0.0
    step: float = 1.0
    values: tuple[float, ...] = ()

    def points(self) -> Any:
        """Coordinates (count,) float64."""
        if self.values:
            return np.asarray(self.values, dtype=np.float64)
        return self.start + self.step * np.arange(self.count, dtype=np.float64)


@dataclass(frozen=True)
class ScanPath:
    """The path of the beam: a curve y(x) of the group's ``position_y``, ``position_x``, in the order of the points."""

    name: str
    target: str
    """Path of the group."""
    count: int

    @property
    def caption(self) -> str:
        """Caption above the curve."""
        return self.name


@dataclass(frozen=True)
class Plot:
    """A data set of the file with an axis for each of its dimensions."""

    name: str
    target: str
    """Path of the data set."""
    axes: tuple[Axis, ...]
    long_name: str = ""
    """What the data are, and their unit."""

    @property
    def caption(self) -> str:
        """Caption above a picture, such as "obf, rad": viewers show no unit at their colour scale."""
        if self.long_name.startswith(self.name):
            return self.long_name
        return ": ".join(filter(None, (self.name, self.long_name)))


Plots = Mapping[str, tuple[Plot | ScanPath, ...]]
"""Plots by the group whose data they show: ``maps``, ``refinements/<run>``."""


def described(root: h5py.Group, groups: Iterable[str] | None = None) -> dict[str, tuple[Plot | ScanPath, ...]]:
    """What can be plotted of the maps and runs in a file, or of ``groups`` alone; data of another form are left out."""
    if groups is None:
        groups = [MAPS, *(f"{RUNS}/{name}" for name in root.get(RUNS, {}))]
    found = {}
    for path in groups:
        group = root.get(path)
        if group is not None and hasattr(group, "keys"):
            plots = _maps(group) if path == MAPS else _run(group, path.removeprefix(f"{RUNS}/"))
            found[path] = tuple(plot for plot in plots if _longest(plot) <= MOST_POINTS)
    return found


def _longest(plot: Plot | ScanPath) -> int:
    return plot.count if isinstance(plot, ScanPath) else max(axis.count for axis in plot.axes)


def is_entry(group: Any) -> bool:
    """Whether an object of a file is an entry that ptylive wrote."""
    name: Any = group.get("program_name") if hasattr(group, "keys") else None
    return getattr(name, "shape", None) == () and bool(name[()] == PROGRAM.encode())


def write_entry(root: h5py.Group, plots: Plots) -> None:
    """Make ``/entry``, and point ``@default`` to it. Do nothing if another object has that name."""
    if ENTRY in root or not any(plots.values()):
        return

    entry = root.create_group(ENTRY)
    entry.attrs["NX_class"] = "NXentry"
    entry["program_name"] = PROGRAM
    _write_identity(entry, root)
    names: dict[str, str] = {}
    axes: dict[Axis, h5py.Dataset] = {}
    for plot in [plot for group in plots.values() for plot in group][:MOST_PLOTS]:
        group = entry.create_group(_free_name(plot.name, names.values()))
        names[plot.name] = group.name.rsplit("/", 1)[-1]
        group["title"] = plot.caption
        if isinstance(plot, ScanPath):
            _write_path(group, plot)
        else:
            _write_plot(group, plot, axes)
    shown = [name for name in SHOWN_FIRST if f"/{MAPS}/{name}" in {plot.target for plot in plots.get(MAPS, ())}]
    last = [] if plots.get(MAPS) else [plot.name for plot in list(plots.values())[-1]]
    entry.attrs["default"] = names[(shown or last or list(names))[0]]
    if root.attrs.get("default", ENTRY) in _OWN_DEFAULTS:
        root.attrs["default"] = ENTRY


def _write_identity(entry: h5py.Group, root: h5py.Group) -> None:
    """Record which scan the entry is of and what wrote it last, from ``/settings``."""
    attributes = {key: str(value) for key, value in root["settings"].attrs.items()} if "settings" in root else {}
    entry["title"] = attributes.get("scan_file", "") or "results"
    if attributes.get("scan_uid"):
        entry["entry_identifier"] = attributes["scan_uid"]
    if attributes.get("version"):
        entry["program_name"].attrs["version"] = attributes["version"]


def _write_plot(group: h5py.Group, plot: Plot, axes: dict[Axis, h5py.Dataset]) -> None:
    """``axes``: those already in the entry; maps of one scan share theirs."""
    import h5py

    group.attrs.update(NX_class="NXdata", signal=_SIGNAL, axes=[axis.name for axis in plot.axes])
    group[_SIGNAL] = h5py.SoftLink(plot.target)
    for axis in plot.axes:
        if axis not in axes:
            axes[axis] = group.create_dataset(axis.name, data=axis.points())
            axes[axis].attrs.update(units=axis.units, long_name=axis.long_name)
        else:
            group[axis.name] = axes[axis]


def _write_path(group: h5py.Group, plot: ScanPath) -> None:
    """One dimension with one axis, as all readers show it; the axis is not monotonic."""
    import h5py

    group.attrs.update(NX_class="NXdata", signal=_SIGNAL, axes=["x"])
    group[_SIGNAL] = h5py.SoftLink(f"{plot.target}/{POSITION}y")
    group["x"] = h5py.SoftLink(f"{plot.target}/{POSITION}x")


def _maps(group: Any) -> Iterator[Plot]:
    for name in group:
        data = group.get(name)
        if _has_axes(data, 2):
            axes = _plane(data.shape, _numbers(data, "sampling_A", 2), (0.0, 0.0))
            yield Plot(str(name), f"/{MAPS}/{name}", axes, _text(data, "long_name"))


def _run(group: Any, run: str) -> Iterator[Plot | ScanPath]:
    group_path = f"/{RUNS}/{run}"
    transmission, probe, loss = (group.get(name) for name in ("object", "probe", "loss"))
    for name in ("phase", "phase_deviation"):
        picture = group.get(name)
        if _has_axes(picture, 2):
            origin = _numbers(picture, "origin_A", 2) or (0.0, 0.0)
            plane = _plane(picture.shape, _numbers(picture, "sampling_A", 2), origin)
            yield Plot(f"{run}_{name}", f"{group_path}/{name}", plane, _text(picture, "long_name"))
    if _has_axes(transmission, 4):
        modes, slices, *size = transmission.shape
        origin = _numbers(transmission, "origin_A", 2) or (0.0, 0.0)
        depth = _depth(slices, _numbers(transmission, "slice_thickness_A"))
        axes = (_index_axis("mode", "object mode", modes), depth)
        yield Plot(
            f"{run}_object",
            f"{group_path}/object",
            (*axes, *_plane(size, _numbers(transmission, "sampling_A", 2), origin)),
            _text(transmission, "long_name"),
        )
    if _has_axes(probe, 4):
        probes, modes, *size = probe.shape
        sampling = _numbers(probe, "sampling_A", 2)
        centre = (0.0, 0.0) if sampling is None else (-sampling[0] * (size[0] // 2), -sampling[1] * (size[1] // 2))
        axes = (_index_axis("probe", "probe", probes), _index_axis("mode", "probe mode", modes))
        plane = _plane(size, sampling, centre)
        yield Plot(f"{run}_probe", f"{group_path}/probe", (*axes, *plane), _text(probe, "long_name"))
    columns = [group.get(f"{POSITION}{axis}") for axis in "yx"]
    if all(_has_axes(column, 1) for column in columns) and columns[0].shape == columns[1].shape:
        yield ScanPath(f"{run}_positions", group_path, int(columns[0].shape[0]))
    if _has_axes(loss, 1):
        epochs = _index_axis("epoch", "epoch", loss.shape[0])
        yield Plot(f"{run}_loss", f"{group_path}/loss", (epochs,), _text(loss, "long_name"))


def _plane(shape: Iterable[int], sampling: tuple[float, ...] | None, start: tuple[float, ...]) -> tuple[Axis, Axis]:
    """Rows and columns in Å if the sampling is known, otherwise counted in pixels."""
    rows, cols = (int(n) for n in shape)
    if sampling is None or min(sampling) <= 0:
        return Axis("y", "pixel", "row", rows), Axis("x", "pixel", "column", cols)
    y = Axis("y", "angstrom", "y (rows), Å", rows, float(start[0]), float(sampling[0]))
    return y, Axis("x", "angstrom", "x (columns), Å", cols, float(start[1]), float(sampling[1]))


def _depth(slices: int, thickness: tuple[float, ...] | None) -> Axis:
    """Depth of each slice behind the first, Å; slice numbers if that is unknown."""
    if thickness is None or len(thickness) < slices - 1 or slices > MOST_POINTS:
        return _index_axis("z", "slice", slices)
    values = np.cumsum([0.0, *thickness[: slices - 1]])
    return Axis("z", "angstrom", "z (depth), Å", slices, values=tuple(float(value) for value in values))


def _index_axis(name: str, long_name: str, count: int) -> Axis:
    """Numbers from 1; a unit of 1 means dimensionless in NeXus."""
    return Axis(name, "1", long_name, int(count), 1.0)


def _has_axes(data: Any, count: int) -> bool:
    """Whether it is a numeric data set with that number of axes, none of them empty."""
    shape = getattr(data, "shape", None)
    return shape is not None and len(shape) == count and 0 not in shape and data.dtype.kind in "biufc"


def _numbers(data: Any, name: str, count: int | None = None) -> tuple[float, ...] | None:
    """An attribute of finite numbers; None if there is none, or another number of them."""
    value = np.asarray(data.attrs.get(name, ()))
    if value.ndim != 1 or not value.size or value.dtype.kind not in "iuf" or not np.isfinite(value).all():
        return None
    return tuple(float(v) for v in value) if count in (None, len(value)) else None


def _text(data: Any, name: str) -> str:
    """An attribute of one short line of text; empty if there is none."""
    value = data.attrs.get(name, "")
    return value if isinstance(value, str) and value.isprintable() and len(value) <= LONGEST_NAME else ""


def _free_name(name: str, used: Iterable[str]) -> str:
    """A name that NeXus allows (letters, digits, underscores) and no other group has."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name) or "_"
    candidate, number = plain, 1
    while candidate in used or candidate in _OWN_FIELDS:
        number += 1
        candidate = f"{plain}_{number}"
    return candidate
