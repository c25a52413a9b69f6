"""PyPty's helpers that choose measurements or parts of the scan: the preset entries made by a call in a script."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ptylive.schema.errors import MetadataError

MOST_POINTS = 2**26
"""Largest number of scan points in a selection."""


def sub_sequence(params: Mapping[str, Any], left: int, top: int, width: int, height: int, sub: int) -> dict[str, Any]:
    """``create_sub_sequence``: every ``sub``-th point of a rectangle of the scan."""
    _, columns = _scan_size(params)
    rows, across = np.arange(top, top + height, sub), np.arange(left, left + width, sub)
    return {"sequence": np.unique(rows[:, None] * columns + across).tolist()}


def sequence_from_points(
    params: Mapping[str, Any], yf: list[int], xf: list[int], width_roi: int = 20
) -> dict[str, Any]:
    """``create_sequence_from_points``: squares of ``width_roi`` points around positions in the scan."""
    rows, columns = _scan_size(params)
    if len(yf) != len(xf) or len(yf) * width_roi**2 > MOST_POINTS:
        raise MetadataError(f"{len(yf)} rows and {len(xf)} columns of squares", "give one of each for every square")
    around = np.arange(-width_roi // 2, width_roi - width_roi // 2)
    numbers = [((y + around)[:, None] * columns + x + around).ravel() for y, x in zip(yf, xf, strict=True)]
    chosen = np.unique(np.concatenate([*numbers, np.zeros(0, dtype=np.int64)]))
    return {"sequence": chosen[(chosen >= 0) & (chosen < rows * columns)].tolist()}


def probe_chunks(params: Mapping[str, Any], chop_size: int) -> dict[str, Any]:
    """``create_probe_marker_chunks``: a probe for each square of the scan."""
    return {"probe_marker": f"squares:{chop_size}"}


def aberration_chunks(params: Mapping[str, Any], chop_size: int, n_abs: int) -> dict[str, Any]:
    """``create_aberrations_chunks``: ``n_abs`` aberrations, initially 0, for each square of the scan."""
    rows, columns = _scan_size(params)
    squares = -(-rows // chop_size) * -(-columns // chop_size)
    if squares * n_abs > MOST_POINTS:
        raise MetadataError(f"{squares} squares of {n_abs} aberrations", "make them larger")
    return {"aberration_marker": f"squares:{chop_size}", "aberrations_array": [[0.0] * n_abs] * squares}


HELPERS: Mapping[str, Callable[..., dict[str, Any]]] = MappingProxyType(
    {
        "create_sub_sequence": sub_sequence,
        "create_sequence_from_points": sequence_from_points,
        "create_probe_marker_chunks": probe_chunks,
        "create_aberrations_chunks": aberration_chunks,
    }
)
"""Helpers by PyPty's names. The first argument is the preset that receives the results."""


def called(name: str, params: Mapping[str, Any], arguments: list[Any], words: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters that a helper would set. Raises MetadataError for arguments it does not accept."""
    whole = {key: _whole(value, f"{name}: {key}") for key, value in words.items()}
    try:
        return HELPERS[name](params, *(_whole(value, name) for value in arguments), **whole)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise MetadataError(
            f"{name} is called with arguments that PyPty's function does not have", "write the result instead"
        ) from None


def _whole(value: Any, place: str) -> Any:
    """Return integers, or lists of them."""
    if isinstance(value, list):
        return [_whole(item, place) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or abs(value) > MOST_POINTS:
        raise MetadataError(f"{place}: {str(value)[:40]} is not a whole number", "write the number itself")
    return int(value)


def _scan_size(params: Mapping[str, Any]) -> tuple[int, int]:
    size = params.get("scan_size")
    if not isinstance(size, list) or len(size) != 2:
        raise MetadataError("a PyPty helper is called before scan_size is known", "write scan_size into the preset")
    rows, columns = (_whole(points, "scan_size") for points in size)
    return rows, columns
