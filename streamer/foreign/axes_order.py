"""Files that store the axes of the scan behind those of the detector, and their recognition by the units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ptylive.schema.model import Array
from ptylive.streamer.foreign.units import angle_mrad, frequency_invA, length_A
from ptylive.streamer.storage.scan_file import CHECK_IT

Order = tuple[int, ...]
IN_ORDER, ROWS_FIRST, REVERSED, SWAPPED = (0, 1, 2, 3), (2, 3, 0, 1), (3, 2, 1, 0), (1, 0, 3, 2)
"""Axes of (Ry, Rx, Qy, Qx), (Qy, Qx, Ry, Rx), (Qx, Qy, Rx, Ry) and (Rx, Ry, Qx, Qy) in the order of the first."""
_NAMES = {3: ("N", "Qy", "Qx"), 4: ("Ry", "Rx", "Qy", "Qx")}
"""Axes of the contract, by their number."""
BY_UNITS = "by their units"
"""How an order is known, in a note."""
LEAST_PITCH_A = 4e4
"""Length from which a step is no scan's, but the pitch of a detector's pixels, which NeXus files state."""


def order_by_units(scales: Sequence[tuple[Any, Any]]) -> Order | None:
    """Order in which three or four axes, each (step, unit), are those of the contract, wherever the scan's are stored;
    None where the units do not decide.

    Two recognised axes of the detector, in one unit, are enough, and so are all those of the scan: two of four, one of
    three.
    """
    spaces = [_space_of([scale]) for scale in scales]
    scan, detector = ([axis for axis, space in enumerate(spaces) if space == named] for named in ("scan", "detector"))
    points = len(scales) - 2
    if points not in (1, 2):
        return None
    if len(detector) == 2:
        if not _in_one_unit(*(scales[axis][1] for axis in detector)):  # a tilt, and a frequency
            return None
        return (*(axis for axis in range(len(scales)) if axis not in detector), *detector)
    if len(scan) == points:
        return (*scan, *(axis for axis in range(len(scales)) if axis not in scan))
    return None


def in_order(frames: Any, scales: Sequence[tuple[Any, Any]]) -> tuple[Any, list[tuple[Any, Any]], tuple[str, ...]]:
    """Frames in the contract's order, the (step, unit) of each of their axes in this order, and a note if it differs
    from that in the file. ``scales``: of the axes as stored, or fewer, which say nothing about the order.
    """
    order = order_by_units(scales) if len(scales) == len(frames.shape) else None
    return put_in_order(frames, scales, order or tuple(range(len(frames.shape))), BY_UNITS)


def put_in_order(
    frames: Any, scales: Sequence[tuple[Any, Any]], order: Order, basis: str, *, guessed: bool = False
) -> tuple[Any, list[tuple[Any, Any]], tuple[str, ...]]:
    """Like :func:`in_order`, with a known position of each axis in the file; ``basis``: how it is known; ``guessed``:
    it may be another one.
    """
    if order == tuple(range(len(order))):
        return frames, list(scales), ()
    doubt = CHECK_IT if guessed or (basis == BY_UNITS and not all_units_known(scales)) else ""
    note = f"{basis} its axes are {_reordered(order)}{doubt}"
    return ReorderedFrames(frames, order), [scales[axis] for axis in order], (note,)


def all_units_known(scales: Sequence[tuple[Any, Any]]) -> bool:
    """Whether the unit of every axis says which space it belongs to.

    Otherwise an order by units is a guess: two lengths may be left over from an image, and belong to the detector.
    """
    return all(_space_of([scale]) is not None for scale in scales)


def _space_of(scales: Sequence[tuple[Any, Any]]) -> str | None:
    if all(length_A(1, unit) is not None for _, unit in scales):
        return None if any((length_A(*scale) or 0.0) >= LEAST_PITCH_A for scale in scales) else "scan"
    if all(frequency_invA(1, unit) is not None or angle_mrad(1, unit) is not None for _, unit in scales):
        return "detector"
    return None


def _in_one_unit(one: Any, other: Any) -> bool:
    """Whether two units of a detector are the same, however they are spelt."""
    return any(convert(1, one) == convert(1, other) is not None for convert in (frequency_invA, angle_mrad))


def _reordered(order: Order) -> str:
    """Name the axes of an array that is read in another order, and the cost of it."""
    names = _NAMES[len(order)]
    listed = ", ".join(names[order.index(axis)] for axis in range(len(order)))
    return f"{listed}: slow to read; ptylive convert reorders them"


class ReorderedFrames:
    """Frames (Ry, Rx, Qy, Qx), or (N, Qy, Qx), of an array with its axes in another order, read piece by piece.

    ``order``: position of each of the axes in the array. A pattern is then spread over the whole file: read in long
    runs, as ``ptylive convert`` does, it costs one pass for each run.
    """

    def __init__(self, array: Any, order: Order) -> None:
        self._array = array
        self._order = order

    @property
    def shape(self) -> tuple[int, ...]:
        """(Ry, Rx, Qy, Qx), or (N, Qy, Qx)."""
        return tuple(int(self._array.shape[axis]) for axis in self._order)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel, in native byte order."""
        dtype: np.dtype[Any] = self._array.dtype
        return dtype.newbyteorder("=")

    def __getitem__(self, selection: Any) -> Array:
        chosen = selection if isinstance(selection, tuple) else (selection,)
        wanted = [slice(None)] * len(self._order)
        single = []
        for axis, index in enumerate(chosen):
            if not isinstance(index, slice):
                single.append(axis)
                index = slice(int(index), int(index) + 1)  # noqa: PLW2901  (an axis of one, until it is moved to its place)
            wanted[self._order[axis]] = index
        part = np.asarray(self._array[tuple(wanted)])
        return part.transpose(self._order).squeeze(axis=tuple(single))
