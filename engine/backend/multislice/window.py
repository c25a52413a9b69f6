"""Properties of a window that the compiled kernel needs: its size, and the addresses of the transforms of that size.

The transforms are compiled for one size each, and called by address. The kernel, which takes much longer to compile, is
thus compiled only once for windows of every size.
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
    """Elements from one row of a plane to the next; padding between rows is 0, or undefined."""
    forward_at: int
    inverse_at: int
    forward_product_at: int
    inverse_product_at: int
    inverse_scaled_at: int
    forward_scaled_at: int
    filter_window_at: int = 0
    """Set only where a band is kept, as are the fields below."""
    propagate_at: int = 0
    add_filtered_at: int = 0


_kept: list[Any] = []
"""C functions are kept for the life of the process: compiled code holds their addresses."""


@functools.cache
def window_of(size: int, real: str = "float32", *, banded: bool = False) -> Window:
    """The window of a fast size; its transforms take a second or two to compile, once per machine.

    real: type of the planes, float32 or float64; code compiled for one must not be called with the other.
    banded: include the filters that keep a band, which take as long again.
    """
    functions = (*compiled_transforms(size, real), *(compiled_filters(size, real) if banded else ()))
    _kept.extend(functions)
    return Window(size, pitch_of(size, np.dtype(real).itemsize), *(function.address for function in functions))


@intrinsic
def _call(_context: Any, address: Any, given: Any) -> Any:
    """Call the C function at an address, with numbers and the data of planes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = [context.get_dummy_value()]  # the size, which has no value at run time
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
    """Write the transposed F x of the plane x into the separate plane y; x is kept."""
    _call(window.forward_at, (xr, xi, yr, yi))


@numba.jit(**INNER)
def inverse(window: Window, xr: Any, xi: Any, yr: Any, yi: Any) -> None:
    """Write the transposed F^H x of the plane x into the separate plane y; x is kept."""
    _call(window.inverse_at, (xr, xi, yr, yi))


@numba.jit(**INNER)
def forward_product(window: Window, x: Any, wr: Any, wi: Any, rows: tuple[int, int], conjugate: Any, y: Any) -> None:
    """As :func:`forward`, for x times w; w is conjugated if ``conjugate`` is -1.

    rows: index in w at which its window begins, and elements from one of its rows to the next.

    With S z = i conj(z), which exchanges the planes of real and imaginary parts, F (x conj(w)) = S F^H (w S x).
    """
    start, pitch = rows
    w = (wr[start:], wi[start:], np.int64(pitch))
    if conjugate == 1:
        _call(window.forward_product_at, (x[0], x[1], w[0], w[1], w[2], y[0], y[1]))
    else:
        _call(window.inverse_product_at, (x[1], x[0], w[0], w[1], w[2], y[1], y[0]))


@numba.jit(**INNER)
def inverse_product(window: Window, x: Any, wr: Any, wi: Any, conjugate: Any, y: Any) -> None:
    """As :func:`inverse`, for x times a wave of the window's size, conjugated if ``conjugate`` is -1."""
    pitch = np.int64(window.pitch)
    if conjugate == 1:
        _call(window.inverse_product_at, (x[0], x[1], wr, wi, pitch, y[0], y[1]))
    else:
        _call(window.forward_product_at, (x[1], x[0], wr, wi, pitch, y[1], y[0]))


@numba.jit(**INNER)
def inverse_scaled(window: Window, x: Any, factor: Any, y: Any) -> None:
    """As :func:`inverse`, for x times a real plane."""
    _call(window.inverse_scaled_at, (x[0], x[1], factor, y[0], y[1]))


@numba.jit(**INNER)
def forward_scaled(window: Window, x: Any, factor: Any, y: Any) -> None:
    """As :func:`forward`, for x times a real plane."""
    _call(window.forward_scaled_at, (x[0], x[1], factor, y[0], y[1]))


@numba.jit(**INNER)
def filter_window(
    window: Window, xr: Any, xi: Any, rows: tuple[int, int], band: Any, kept: int, spare: Any, y: Any
) -> None:
    """Y = F^H A F x / P^2 for a window x of a larger plane; rows: its first index there, and elements from row to row.

    band, kept: A over P^2 as in :class:`~.kernel_parts.arguments.Model`; ``spare`` is overwritten.
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
    """Y = F^H A F (x w), both factors conjugated if ``conjugate`` is -1; ``spare`` is overwritten, and may be x.

    rows: index in w at which its window begins, and elements from one of its rows to the next; A as a filter's band.
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
    """Y += F^H A F (x conj(w)) / P^2, y a window of a larger plane; ``spare`` and ``more`` are overwritten."""
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
