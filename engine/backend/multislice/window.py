"""What the compiled kernel knows of a window: how large it is, and where the transforms of that size lie.

The transforms are compiled for one size each, and called by their address. So the kernel, which takes much longer to
compile, is compiled once for windows of every size.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ptylive.engine.backend.multislice.fast_sizes import pitch_of
from ptylive.engine.backend.multislice.planes_fft import INNER, compiled_filters, compiled_transforms


class Window(NamedTuple):
    """A square window of ``size`` pixels, and the addresses of its transforms."""

    size: int
    pitch: int
    """Numbers from one row of a plane to the next; those between rows are 0, or hold nothing."""
    forward_at: int
    inverse_at: int
    forward_product_at: int
    inverse_product_at: int
    inverse_scaled_at: int
    forward_scaled_at: int
    filter_window_at: int = 0
    """This one and those below are there where a band is kept only."""
    propagate_at: int = 0
    add_filtered_at: int = 0


_kept: list[Any] = []
"""C functions live as long as the process: compiled code knows their addresses."""


@functools.cache
def window_of(size: int, real: str = "float32", *, banded: bool = False) -> Window:
    """The window of a fast size; its transforms take a second or two to compile, once on a machine.

    real: type of the planes, float32 or float64; what is compiled for one must not be called with the other.
    banded: with the filters that keep a band, which take as long again.
    """
    made = (*compiled_transforms(size, real), *(compiled_filters(size, real) if banded else ()))
    _kept.extend(made)
    return Window(size, pitch_of(size, np.dtype(real).itemsize), *(function.address for function in made))


@intrinsic
def _call(_context: Any, address: Any, given: Any) -> Any:
    """The C function at an address, on numbers and the data of planes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = [context.get_dummy_value()]  # the size, which carries nothing at run time
        for number, kind in enumerate(signature.args[1]):
            value = builder.extract_value(args[1], number)
            is_plane = isinstance(kind, types.Array)
            values.append(context.make_array(kind)(context, builder, value).data if is_plane else value)
        function = ir.FunctionType(ir.VoidType(), [each.type for each in values])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(address, given), codegen


@numba.jit(**INNER)
def forward(window: Window, xr: Any, xi: Any, yr: Any, yi: Any) -> None:
    """Transposed F x of the plane x into y, which is another place; x is kept."""
    _call(window.forward_at, (xr, xi, yr, yi))


@numba.jit(**INNER)
def inverse(window: Window, xr: Any, xi: Any, yr: Any, yi: Any) -> None:
    """Transposed F^H x of the plane x into y, which is another place; x is kept."""
    _call(window.inverse_at, (xr, xi, yr, yi))


@numba.jit(**INNER)
def forward_product(window: Window, x: Any, wr: Any, wi: Any, rows: tuple[int, int], conjugate: Any, y: Any) -> None:
    """As :func:`forward`, of x times w, conjugated where ``conjugate`` is -1.

    rows: number in w at which its window begins, and numbers from one of its rows to the next.
    """
    start, pitch = rows
    w = (wr[start:], wi[start:], np.int64(pitch), x.dtype.type(conjugate))
    _call(window.forward_product_at, (x[0], x[1], w[0], w[1], w[2], w[3], y[0], y[1]))


@numba.jit(**INNER)
def inverse_product(window: Window, x: Any, wr: Any, wi: Any, conjugate: Any, y: Any) -> None:
    """As :func:`inverse`, of x times a wave of the window's size, conjugated where ``conjugate`` is -1."""
    pitch = np.int64(window.pitch)
    _call(window.inverse_product_at, (x[0], x[1], wr, wi, pitch, x.dtype.type(conjugate), y[0], y[1]))


@numba.jit(**INNER)
def inverse_scaled(window: Window, x: Any, factor: Any, y: Any) -> None:
    """As :func:`inverse`, of x times a real plane."""
    _call(window.inverse_scaled_at, (x[0], x[1], factor, y[0], y[1]))


@numba.jit(**INNER)
def forward_scaled(window: Window, x: Any, factor: Any, y: Any) -> None:
    """As :func:`forward`, of x times a real plane."""
    _call(window.forward_scaled_at, (x[0], x[1], factor, y[0], y[1]))


@numba.jit(**INNER)
def filter_window(
    window: Window, xr: Any, xi: Any, rows: tuple[int, int], band: Any, kept: int, spare: Any, y: Any
) -> None:
    """Y = F^H A F x / P^2 of a window x of a larger plane: its first number there, and numbers from row to row.

    band, kept: A over P^2 as :class:`~.kernel_parts.arguments.Model` has it; ``spare`` is used up.
    """
    start, pitch = rows
    x = (xr[start:], xi[start:], np.int64(pitch))
    _call(
        window.filter_window_at,
        (x[0], x[1], x[2], band, np.int64(kept), y[0], y[1], spare[0], spare[1], y[0], y[1]),
    )


@numba.jit(**INNER)
def propagate(
    window: Window,
    x: Any,
    wr: Any,
    wi: Any,
    rows: tuple[int, int],
    ar: Any,
    ai: Any,
    kept: int,
    conjugate: Any,
    spare: Any,
    y: Any,
) -> None:
    """Y = F^H A F (x w), both factors conjugated where ``conjugate`` is -1; ``spare`` is used up, and may be x.

    rows: number in w at which its window begins, and numbers from one of its rows to the next; A as a filter's band.
    """
    start, pitch = rows
    w, sign = (wr[start:], wi[start:], np.int64(pitch)), x.dtype.type(conjugate)
    _call(
        window.propagate_at,
        (
            x[0],
            x[1],
            w[0],
            w[1],
            w[2],
            sign,
            ar,
            ai,
            sign,
            np.int64(kept),
            y[0],
            y[1],
            spare[0],
            spare[1],
            y[0],
            y[1],
        ),
    )


@numba.jit(**INNER)
def add_filtered(
    window: Window, x: Any, w: Any, band: Any, kept: int, spare: Any, more: Any, yr: Any, yi: Any, rows: tuple[int, int]
) -> None:
    """Y += F^H A F (x conj(w)) / P^2, y a window of a larger plane; ``spare`` and ``more`` are used up."""
    start, pitch = rows
    y = (yr[start:], yi[start:], np.int64(pitch))
    _call(
        window.add_filtered_at,
        (
            x[0],
            x[1],
            w[0],
            w[1],
            band,
            np.int64(kept),
            spare[0],
            spare[1],
            more[0],
            more[1],
            y[0],
            y[1],
            y[2],
        ),
    )
