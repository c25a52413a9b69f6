"""C functions of addresses, for callers that hold an address only: compiled when first used, not when imported."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numba as nb

from ptylive.streamer.fast.memory import COMPILED


class CFunction:
    """A C function that is compiled, or loaded from numba's cache, when its address or its ctypes function is needed.

    numba's decorator does so at import: on a new machine every command that imports the decoders would wait for it.
    """

    def __init__(self, signature: Any, function: Callable[..., Any]) -> None:
        self._signature, self._function = signature, function

    @cached_property
    def _compiled(self) -> Any:
        return nb.cfunc(self._signature, **COMPILED)(self._function)

    def compile(self) -> None:
        """Compile now what would be compiled at the first use."""
        self._compiled  # noqa: B018

    @property
    def address(self) -> int:
        """Address of the compiled function."""
        return int(self._compiled.address)

    @property
    def ctypes(self) -> Any:
        """The compiled function for calls from Python."""
        return self._compiled.ctypes


def c_function(signature: Any) -> Callable[[Callable[..., Any]], CFunction]:
    """Make a C function of these types of numba from the decorated function."""
    return lambda function: CFunction(signature, function)
