"""Registration of a data term: a function in a file of its own, decorated with :func:`data_term`.

    @data_term("lsq_cube_root", help="least squares of cube roots", curvature=lambda counts: 2 / 9 * counts ** (-4 / 3))
    def lsq_cube_root(intensity, counts, weights, offset):
        ...
        return loss, derivative

``intensity`` and ``counts`` are arrays (n, p, p) in counts, of numpy or cupy (numpy's functions accept both); weights
(p, p) are 0 for excluded pixels. ``loss`` is summed, whatever its shape, and ``derivative`` is its derivative by
the intensity, (n, p, p); both include the weights. The function is called in single precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from ptylive.engine.backend.multislice.problem import PythonTerm

MARK = "ptylive_data_term"
_Function = TypeVar("_Function", bound=Callable[..., Any])


def data_term(
    name: str,
    *,
    help: str,
    curvature: Callable[[Any], Any],
    constant: Literal["", "loss_offset", "loss_floor"] = "",
    pixel: Callable[[Any, Any, Any], tuple[Any, Any]] | None = None,
) -> Callable[[_Function], _Function]:
    """Declare a function a data term, selected with ``algorithm = name``.

    curvature: d2 loss / dI2 of a pixel at a fit, from its counts (an array above 0, the offset included); it scales
    the steps. constant: the setting that provides the offset; if empty, the offset is 0. pixel: the loss for one pixel,
    from its intensity, counts and offset to loss and derivative without weight, in plain arithmetic that numba can
    compile: with it the term runs in the compiled CPU kernel. Both forms are compared before use.
    """

    def declared(function: _Function) -> _Function:
        setattr(function, MARK, PythonTerm(name, function, curvature, constant, help, pixel))
        return function

    return declared
