"""What a data term says of itself: a function in a file of its own, decorated with :func:`data_term`.

    @data_term("lsq_cube_root", help="least squares of cube roots", curvature=lambda counts: 2 / 9 * counts ** (-4 / 3))
    def lsq_cube_root(intensity, counts, weights, offset):
        ...
        return loss, derivative

``intensity`` and ``counts`` are arrays (n, p, p) in counts, of numpy or cupy (numpy's functions take either), weights
(p, p), 0 where nothing is to be compared. ``loss`` is summed, whatever its shape, and ``derivative`` that by
the intensity, (n, p, p); both with the weights. The function is called in single precision.
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
    """Declare a function a data term, chosen with ``algorithm = name``.

    curvature: d2 loss / dI2 of a pixel at a fit, from its counts (an array above 0, the offset included): it scales
    the steps. constant: the setting the offset comes from; none: it is 0. pixel: the same loss for one pixel, from
    its intensity, counts and offset to loss and derivative without weight, plain arithmetic for numba to compile: with
    it the term runs in the compiled kernel of the processor. Both forms are compared before it is used.
    """

    def declared(function: _Function) -> _Function:
        setattr(function, MARK, PythonTerm(name, function, curvature, constant, help, pixel))
        return function

    return declared
