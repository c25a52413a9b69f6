"""The history of a refinement as a film: phase, probe, loss and, if they move, positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ptylive.application.outputs import beside
from ptylive.engine.refine.results.refinement_result import wrapped_phase
from ptylive.engine.refine.run.history import Snapshot, read_snapshot, snapshots
from ptylive.pictures.colours import ColourMap, Levels, levels
from ptylive.pictures.film import check_film, gif_bytes, write_film
from ptylive.pictures.sampling import reduced
from ptylive.pictures.sheet import Cell, sheet
from ptylive.pictures.snapshot import Rgb
from ptylive.schema.errors import InputFileError, MetadataError
from ptylive.schema.model import Array, DoubleArray, FloatArray

LARGEST_PX = 480
"""Longer side of the drawn pictures; larger objects are averaged."""
MOST_PICTURES = 500
"""Largest number of pictures in a film: a longer history is shown by its first, last, and evenly spaced pictures."""
SHORT_PICTURES, SHORT_PIXELS = 100, 2**26
"""Limits for a film that somebody waits for: pictures, and pixels of all slices and modes in all pictures; it then
takes some seconds."""
CURVE_PX = (480, 480)
MOVED_A = 1e-4
"""Positions that have moved by less count as fixed."""
PLOT_SIDE = 64


def film(
    folder: Path,
    path: Path,
    frames_per_s: float = 5.0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write the history in ``folder`` as a GIF or MP4, ``path``.

    The brightness scale of all pictures is that of the last. Raises InputFileError for a folder without history, a
    damaged snapshot or a film format that cannot be written here, PtyliveError if ffmpeg fails, OSError.
    """
    check_film(path)
    return write_film(_pictures(_thinned(snapshots(folder), MOST_PICTURES), on_progress), path, frames_per_s)


def short_film(last: Path, frames_per_s: float = 5.0) -> tuple[bytes, int, int]:
    """A GIF of the history up to the snapshot ``last``; its number of pictures, and the epoch of that snapshot.

    For large objects fewer pictures are drawn, at least two: a page waits for it. Raises InputFileError for a damaged
    snapshot, MetadataError for an object that would take too long.
    """
    end = read_snapshot(last)
    if end.object.size > SHORT_PIXELS // 2:
        message = f"an object of {end.object.size / 1e6:.0f} million pixels takes too long to draw on this page"
        raise MetadataError(message, f"use ptylive film {last.parent}")
    most = min(SHORT_PICTURES, SHORT_PIXELS // end.object.size)
    chosen = _thinned(
        [snapshot_file for snapshot_file in snapshots(last.parent) if snapshot_file.name <= last.name], most
    )
    return gif_bytes(_pictures(chosen, lambda done, total: None), frames_per_s), len(chosen), end.epoch


def _thinned(snapshot_files: list[Path], most: int) -> list[Path]:
    """The first, the last, and evenly spaced snapshots between."""
    if len(snapshot_files) <= most:
        return snapshot_files
    return [
        snapshot_files[index] for index in np.unique(np.linspace(0, len(snapshot_files) - 1, most).round().astype(int))
    ]


def _pictures(snapshot_files: list[Path], on_progress: Callable[[int, int], None]) -> Iterator[Rgb]:
    first, last = read_snapshot(snapshot_files[0]), read_snapshot(snapshot_files[-1])
    displacements = [_displacement(first, last)] if len(first.positions_A) == len(last.positions_A) else []
    longest = max((float(displacement.max()) for displacement in displacements if displacement.size), default=0.0)
    limits = {"phase": levels(_phase(last)[0]), "probe": levels(_light(last), percentiles=(0, 99.9))}
    size: tuple[int, ...] | None = None
    for number, path in enumerate(snapshot_files, 1):
        snapshot = read_snapshot(path)
        page = sheet(_cells(snapshot, first, last, limits, longest if longest > MOVED_A else None))
        size = page.shape if size is None else size
        if page.shape != size:  # a stage with another window
            page = np.asarray(Image.fromarray(page).resize((size[1], size[0])), dtype=np.uint8)
        yield page
        on_progress(number, len(snapshot_files))


def _cells(
    snapshot: Snapshot, first: Snapshot, last: Snapshot, limits: dict[str, Levels], longest_A: float | None
) -> list[Cell]:
    phase, zoom = _phase(snapshot)
    pixel_A = (snapshot.object_sampling_A[0] * zoom, snapshot.object_sampling_A[1] * zoom)
    slices = snapshot.object.shape[1]
    title = "object, phase" if slices == 1 else f"object, phase of {slices} slices"
    loss_text = f"loss {snapshot.loss[-1]:.5g}" if len(snapshot.loss) else "the start"
    cells = [
        Cell(phase, title, (f"after {snapshot.epoch} epochs",), pixel_A=pixel_A, limits=limits["phase"]),
        Cell(_light(snapshot), "probe", (), ColourMap.GRAY, limits=limits["probe"]),
        Cell(_curve(snapshot.loss, last.loss), "loss", (loss_text,), limits=(0.0, 1.0)),
    ]
    if longest_A is not None:
        shown = f"white: {longest_A:.2g} Å"
        cells.append(Cell(_plot(snapshot, first), "positions, moved by", (shown,), limits=(0.0, longest_A)))
    return cells


def _phase(snapshot: Snapshot) -> tuple[FloatArray, float]:
    """Phase summed over slices (Y, X), averaged over object modes, and how many object pixels a drawn pixel covers."""
    total = sum(wrapped_phase(transmission) for transmission in snapshot.object.mean(axis=0))
    phase = np.asarray(total, dtype=np.float32)
    small, _ = reduced(phase, None, LARGEST_PX)
    return small, phase.shape[0] / small.shape[0]


def _light(snapshot: Snapshot) -> FloatArray:
    """Intensity (P, P) of the first probe, summed over its modes."""
    return np.asarray((np.abs(snapshot.probe[0]) ** 2).sum(axis=0), dtype=np.float32)


def _curve(loss: DoubleArray, whole_loss: DoubleArray) -> FloatArray:
    """The loss up to an epoch as a white line on black, with the axes of the whole run; logarithmic if it is > 0."""
    rows, cols = CURVE_PX
    picture = Image.new("L", (cols, rows), 0)
    finite = whole_loss[np.isfinite(whole_loss)]
    if len(finite) and len(loss):
        scale = np.log if finite.min() > 0 else np.asarray
        low, high = float(scale(finite).min()), float(scale(finite).max())
        is_finite = np.isfinite(loss)
        across = np.arange(len(loss))[is_finite] / max(len(whole_loss) - 1, 1)
        up = (scale(loss[is_finite]) - low) / max(high - low, 1e-12)
        points = [
            (12 + x * (cols - 24), rows - 12 - y * (rows - 24)) for x, y in zip(across, np.clip(up, 0, 1), strict=True)
        ]
        pen = ImageDraw.Draw(picture)
        if len(points) > 1:
            pen.line(points, fill=255, width=3)
        if points:
            x, y = points[-1]
            pen.ellipse((x - 6, y - 6, x + 6, y + 6), fill=255)
    return np.asarray(np.asarray(picture) / 255, dtype=np.float32)


def _displacement(first: Snapshot, snapshot: Snapshot) -> Array:
    """Distances (N,) of the positions from the start, without their common shift, Å."""
    displacement = snapshot.positions_A - first.positions_A
    return np.asarray(np.linalg.norm(displacement - displacement.mean(axis=0), axis=1))


def _plot(snapshot: Snapshot, first: Snapshot) -> FloatArray:
    """Map of the distances that positions have moved: the mean in the cells of a grid, Å."""
    if len(snapshot.positions_A) != len(first.positions_A):
        return np.zeros((2, 2), np.float32)
    places = first.positions_A - first.positions_A.min(axis=0)
    extent = float(places.max()) or 1.0
    side = int(np.clip(np.sqrt(len(places)), 2, PLOT_SIDE))
    cell = np.minimum((places / extent * side).astype(int), side - 1)
    index = cell[:, 0] * side + cell[:, 1]
    count = np.bincount(index, minlength=side * side)
    total = np.bincount(index, _displacement(first, snapshot), minlength=side * side)
    return np.asarray((total / np.maximum(count, 1)).reshape(side, side), dtype=np.float32)


def history_folder(output: Path, *, resume: bool) -> Path:
    """Folder for the snapshots of a run that is stored in ``output``: ``<output>.history``.

    An earlier run's folder is renamed to ``….history.1`` or the next free number, unless that run is resumed. Raises
    InputFileError if the name is taken by something other than a folder, or if the folder cannot be renamed.
    """
    folder = beside(output, ".history")
    if folder.exists() and not folder.is_dir():
        raise InputFileError(f"{folder} is not a folder", "remove it, or choose another output")
    if resume or not folder.exists():
        return folder
    free = next(place for number in count(1) if not (place := folder.with_name(f"{folder.name}.{number}")).exists())
    try:
        folder.rename(free)
    except OSError as error:
        raise InputFileError(f"{folder} cannot be moved: {error.strerror or error}", "move it away") from None
    return folder
