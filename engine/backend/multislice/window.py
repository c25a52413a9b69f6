"""What the compiled kernel knows of a window: how large it is, and where the transforms of that size lie.

The transforms are compiled for one size each, and called by their address. So the kernel, which takes much longer to
compile, is compiled once for windows of every size.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ptylive.engine.backend.multislice.planes_fft import FAST, compiled_transforms


class Window(NamedTuple):
    """A square window of ``size`` pixels, and the addresses of its transforms."""

    size: int
    forward_at: int
    inverse_at: int


_kept: list[Any] = []
"""C functions live as long as the process: compiled code knows their addresses."""


@functools.cache
def window_of(size: int) -> Window:
    """The window of a fast size; its transforms take some three seconds to compile, once on a machine."""
    made = compiled_transforms(size)
    _kept.extend(made)
    return Window(size, *(function.address for function in made))


@intrinsic
def _call(_context: Any, address: Any, xr: Any, xi: Any, yr: Any, yi: Any) -> Any:
    """The C function at an address, on the data of four planes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        arrays = zip(signature.args[1:], args[1:], strict=True)
        planes = [context.make_array(kind)(context, builder, array).data for kind, array in arrays]
        given = [context.get_dummy_value(), *planes]  # the size, which carries nothing at run time
        function = ir.FunctionType(ir.VoidType(), [each.type for each in given])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), given)
        return context.get_dummy_value()

    return types.void(address, xr, xi, yr, yi), codegen


@numba.jit(**FAST)
def forward(window: Window, xr: Any, xi: Any, yr: Any, yi: Any) -> None:
    """Transposed F x of the plane x into y; x is used up."""
    _call(window.forward_at, xr, xi, yr, yi)


@numba.jit(**FAST)
def inverse(window: Window, xr: Any, xi: Any, yr: Any, yi: Any) -> None:
    """Transposed F^H x of the plane x into y; x is used up."""
    _call(window.inverse_at, xr, xi, yr, yi)
